"""The values that a path can find in a saga's context, according to the schemas known at deployment.

A path that can find nothing always gives null, and an undo would be called with null, long after the mistake could be
corrected. Parts that a schema leaves open count as found, so a path that may have a value is never refused.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jsonpath.segments import JSONPathRecursiveDescentSegment, JSONPathSegment
from jsonpath.selectors import IndexSelector, NameSelector

from domain.manifests import cel
from domain.manifests.bindings import segments_of
from domain.manifests.definition import Binding, SagaDefinition, StepDefinition
from domain.values import json_schema
from domain.values.errors import FieldError

# Nesting of subschemas by `allOf`, `anyOf` and `$ref`. Deeper schemas count as open.
_MAX_DEPTH = 40
# Places below a `..`. With more, the path counts as one that finds something.
_MAX_PLACES = 2_000
# Names that a message lists.
_MAX_NAMES = 12
# The fields of `_compensation`, which `domain.sagas.compensation` makes.
UNDO_FACTS = (
    *("blind_cleanup", "dirty_failure", "has_forward_output"),
    *("idempotency_key", "undo_span_id", "forward_span_id"),
)


@dataclass(frozen=True, slots=True)
class _Schema:
    """A value that a JSON Schema describes. References in it start at `root`."""

    schema: Any
    root: Any


# A place has fixed fields, or any value that its schema allows.
_Place = Mapping[str, Any] | _Schema
_OPEN = _Schema(True, {})
_SCALAR = _Schema({"type": ["string", "boolean"]}, {})
# Every name and index.
_ANY = object()
_PLAIN = re.compile(r"^(\.\.)?\['([A-Za-z_][A-Za-z0-9_-]*)'\]$")


def binding_errors(saga: SagaDefinition) -> Iterator[FieldError]:
    """Yield an error for each path that can only give null or an empty list."""
    for index, step in enumerate(saga.steps):
        before = saga.steps[:index]
        yield from _field_errors(f"steps[{index}].with", step.bindings, _context(saga, before))
        if step.undo is not None:
            context = _context(saga, (*before, step)) | {"_compensation": dict.fromkeys(UNDO_FACTS, _SCALAR)}
            yield from _field_errors(f"steps[{index}].compensation.with", step.undo.bindings, context)


def expression_errors(saga: SagaDefinition) -> Iterator[FieldError]:
    """Yield an error for each `when` that reads a place of the context that can never have a value."""
    for index, step in enumerate(saga.steps):
        context = _context(saga, saga.steps[:index])
        for keys in () if step.when is None else cel.reads(step.when, context):
            if (message := _never_there(keys, context)) is not None:
                yield FieldError(f"steps[{index}].when.cel", message)
                break


def _never_there(keys: Sequence[str | int], context: Mapping[str, Any]) -> str | None:
    found: list[_Place] = [context]
    for index, key in enumerate(keys):
        after = [child for place in found for child in _children(place, key)]
        if not after:
            head, rest = _dotted(keys[:index]), _dotted(keys[index:])
            reason = _missing(found, key, head, rest if isinstance(key, int) else f".{rest}")
            return f"reads a value that cannot exist: {reason}"[:400]
        found = after
    return None


def _dotted(keys: Sequence[str | int]) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")


def _context(saga: SagaDefinition, steps: Sequence[StepDefinition]) -> dict[str, Any]:
    input_ = _OPEN if saga.input_schema is None else _Schema(dict(saga.input_schema), dict(saga.input_schema))
    return {"input": input_, "steps": {step.id: _result_of(step) for step in steps}}


def _result_of(step: StepDefinition) -> dict[str, Any]:
    """Return what a step adds to the context: a tool's answer is open, a model's answer has its schema."""
    if step.reasoning is None:
        return {"output": {"data": _OPEN}, "facts": {}}
    schema = dict(step.reasoning.output_schema)
    facts: dict[str, Any] = {}
    for fact in step.reasoning.facts:
        if fact.group is None:
            facts[fact.name] = _OPEN
        else:
            facts.setdefault(fact.group, {})[fact.name] = _OPEN
    return {"output": {"data": _Schema(schema, schema)}, "facts": facts}


def _field_errors(place: str, bindings: Mapping[str, Binding], context: Mapping[str, Any]) -> Iterator[FieldError]:
    for name, binding in bindings.items():
        if binding.path is not None and (message := _nothing_at(binding.path, context)) is not None:
            yield FieldError(f"{place}.{name}.from", message)


def _nothing_at(path: str, context: Mapping[str, Any]) -> str | None:
    """Return why the path can find nothing in the context, or None."""
    found: list[_Place] = [context]
    segments = segments_of(path)
    for index, segment in enumerate(segments):
        if isinstance(segment, JSONPathRecursiveDescentSegment):
            below = _below(found)
            if below is None:
                return None
            found = below
        key = _key(segment)
        after = [child for place in found for child in _children(place, key)]
        if not after:
            head, rest = (_path_text(part) for part in (segments[:index], segments[index:]))
            return f"can only be null: {_missing(found, key, f'${head}', rest)}"[:400]
        found = after
    if all(isinstance(place, _Schema) and _only_null(place.schema, place.root) for place in found):
        return "can only be null: its schema allows no other value there"
    return None


def _key(segment: JSONPathSegment) -> Any:
    # `bindings.path_error` refuses a path with several selectors in one segment.
    (selector,) = segment.selectors
    if isinstance(selector, NameSelector):
        return selector.name
    return selector.index if isinstance(selector, IndexSelector) else _ANY


def _path_text(segments: Sequence[JSONPathSegment]) -> str:
    """Return the path as people write it, with `.name` where possible."""
    return "".join(_PLAIN.sub(lambda found: f"{found[1] or '.'}{found[2]}", str(segment)) for segment in segments)


def _missing(found: list[_Place], key: Any, head: str, rest: str) -> str:
    names = sorted({name for place in found for name in _names(place)})
    known = f"it has {', '.join(names[:_MAX_NAMES])}" if names else "it has no known names"
    missing = key if isinstance(key, str) else f"[{key}]" if isinstance(key, int) else f"place {rest}"
    advice = f"; a step's answer is below {head}.data: try {head}.data{rest}" if names == ["data"] else ""
    return f"{head} has no {missing} ({known}){advice}"


def _names(place: _Place) -> Sequence[str]:
    if not isinstance(place, _Schema):
        return tuple(place)
    schema = place.schema
    if isinstance(schema, dict) and isinstance(reference := schema.get("$ref"), str):
        schema = _target(place.root, reference)
    properties = schema.get("properties") if isinstance(schema, dict) else None
    return tuple(properties) if isinstance(properties, dict) else ()


def _below(found: list[_Place]) -> list[_Place] | None:
    """Return all places at and below these, or None if there may be too many to list."""
    places: list[_Place] = []
    waiting = list(found)
    while waiting:
        place = waiting.pop()
        if len(places) == _MAX_PLACES or (isinstance(place, _Schema) and not _is_closed(place.schema)):
            return None
        places.append(place)
        waiting.extend(_children(place, _ANY))
    return places


def _is_closed(schema: Any) -> bool:
    """Return whether the schema says anything about its values. Below an open schema, the places are endless."""
    return isinstance(schema, dict) and bool(schema.keys() - {"title", "description", "$schema", "default", "examples"})


def _children(place: _Place, key: Any) -> list[_Place]:
    if not isinstance(place, _Schema):
        found = place.values() if key is _ANY else [place[key]] if key in place else []
        return list(found)
    child = _child(place.schema, place.root, key, 0)
    return [] if child is None else [_Schema(child, place.root)]


def _child(schema: Any, root: Any, key: Any, depth: int) -> Any:
    """Return the schema of the value at this name or index, or None if there can be no value."""
    if schema is False:
        return None
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return True
    parts = []
    if isinstance(reference := schema.get("$ref"), str):
        parts.append(_child(_target(root, reference), root, key, depth + 1))
    # Drafts before 2019-09 ignore the keywords beside a $ref.
    if not parts or not _is_old(root):
        parts.append(_own(schema, root, key))
        parts += [_child(part, root, key, depth + 1) for part in _listed(schema, "allOf")]
        for word in ("anyOf", "oneOf"):
            if branches := _listed(schema, word):
                found = [child for branch in branches if (child := _child(branch, root, key, depth + 1)) is not None]
                parts.append({"anyOf": found} if found else None)
    if any(part is None for part in parts):
        return None
    limits = [part for part in parts if part is not True]
    return True if not limits else limits[0] if len(limits) == 1 else {"allOf": limits}


def _own(schema: dict[str, Any], root: Any, key: Any) -> Any:
    """Return the child's schema according to the keywords of this schema alone."""
    options = [child for child in (_property(schema, root, key), _item(schema, key)) if child is not None]
    if (values := _values(schema)) is not None:
        inside = [value for whole in values for value in _inside(whole, key)]
        options = [{"enum": inside}] if inside and options else []
    if not options:
        return None
    return True if any(each is True for each in options) else options[0] if len(options) == 1 else {"anyOf": options}


def _property(schema: dict[str, Any], root: Any, key: Any) -> Any:
    if isinstance(key, int) or not _may_be(schema, "object"):
        return None
    properties = schema.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    patterns = schema.get("patternProperties")
    patterns = patterns if isinstance(patterns, dict) else {}
    rest = schema.get("additionalProperties", True)
    if key is _ANY:
        options = [each for each in (*properties.values(), *patterns.values(), rest) if each is not False]
        return {"anyOf": options} if options else None
    if key in properties:
        return None if properties[key] is False else properties[key]
    if any(_matches(pattern, key) for pattern in patterns):
        return True
    if schema.get("unevaluatedProperties") is False and not _mentions(schema, root, key, 0):
        return None
    return None if rest is False else rest


def _item(schema: dict[str, Any], key: Any) -> Any:
    if isinstance(key, str) or not _may_be(schema, "array"):
        return None
    items = schema.get("items", True)
    first = schema.get("prefixItems", items if isinstance(items, list) else [])
    first = first if isinstance(first, list) else []
    rest = schema.get("additionalItems", True) if isinstance(items, list) else items
    most = schema.get("maxItems")
    if most == 0:
        return None
    if key is _ANY or key < 0:
        options = [each for each in (*first, rest) if each is not False]
        return {"anyOf": options} if options else None
    if isinstance(most, int | float) and key >= most:
        return None
    found = first[key] if key < len(first) else rest
    return None if found is False else found


def _may_be(schema: dict[str, Any], kind: str) -> bool:
    types = schema.get("type", kind)
    return kind in (types if isinstance(types, list) else [types])


def _values(schema: dict[str, Any]) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return values if isinstance(values, list) else None


def _inside(value: Any, key: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values()) if key is _ANY else [value[key]] if key in value else []
    if isinstance(value, list) and not isinstance(key, str):
        return value if key is _ANY else value[key : key + 1 or None]
    return []


def _mentions(schema: Any, root: Any, key: str, depth: int) -> bool:
    """Return whether a schema for the same object names the key."""
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return depth > _MAX_DEPTH
    if depth and ("additionalProperties" in schema or "unevaluatedProperties" in schema):
        return True
    if "patternProperties" in schema or key in (schema.get("properties") or {}):
        return True
    inner = [part for word in ("allOf", "anyOf", "oneOf") for part in _listed(schema, word)]
    inner += [schema[word] for word in ("if", "then", "else") if word in schema]
    inner += list((schema.get("dependentSchemas") or {}).values())
    if isinstance(reference := schema.get("$ref"), str):
        inner.append(_target(root, reference))
    return any(_mentions(part, root, key, depth + 1) for part in inner)


def _only_null(schema: Any, root: Any, depth: int = 0) -> bool:
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return False
    values = _values(schema)
    if values is not None and all(value is None for value in values):
        return True
    if schema.get("type") in ("null", ["null"]):
        return True
    if isinstance(reference := schema.get("$ref"), str) and _only_null(_target(root, reference), root, depth + 1):
        return True
    if any(_only_null(part, root, depth + 1) for part in _listed(schema, "allOf")):
        return True
    unions = (_listed(schema, word) for word in ("anyOf", "oneOf"))
    return any(branches and all(_only_null(each, root, depth + 1) for each in branches) for branches in unions)


def _target(root: Any, reference: str) -> Any:
    try:
        return json_schema.resolve(root, reference)
    except ValueError:
        # The check of the schema itself reports this error.
        return True


def _listed(schema: dict[str, Any], word: str) -> list[Any]:
    parts = schema.get(word)
    return parts if isinstance(parts, list) else []


def _is_old(root: Any) -> bool:
    drafts = ("draft-03", "draft-04", "draft-06", "draft-07")
    return isinstance(root, dict) and any(draft in str(root.get("$schema")) for draft in drafts)


def _matches(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error:
        # The pattern is of another dialect, so it may match.
        return True

"""The JSON Schema of a reviewer's or a model's answer: the check of the schema itself, and of answers by it.

Neither schemas nor answers can be trusted, and a check must not block the process. A few references that name each
other twice would mean endless work. So the size of a schema is counted before its use.
"""

import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from typing import Any, NamedTuple, NoReturn
from urllib.parse import unquote

import jsonschema_rs

from domain.values import canonical_json
from domain.values.errors import FieldError
from domain.values.schema_dialects import BY_NAME, VALUES, modern

# Values in a schema, each $ref counted as a copy of its target: ten times a long form.
MAX_PLACES = 2_000
# References inside references. The schema of a form nests a few.
MAX_REFERENCES = 32
# Places of the schema times values of the answer. A place costs up to 30 µs for a value where nothing fits, so a check
# takes some seconds at worst. A form of 100 places may have answers of 2,000 values.
MAX_WORK = 200_000
# Characters of a text that are as much work as one value, because patterns run over each character.
TEXT_UNIT = 100
# Bytes of one compiled pattern. `^\S{1,64}$` takes an eighth of it.
MAX_PATTERN = 1_000_000
# Bytes of all distinct compiled patterns of one schema. A megabyte takes some 20 ms, in which no other thread of the
# process runs. Any caller may post a schema, and two thousand patterns blocked the process for six seconds.
MAX_PATTERNS = 10_000_000
MAX_FIELD_ERRORS = 20

# References by name, which are not supported: counting would have to resolve them exactly as the validator does.
_DYNAMIC = ("$dynamicRef", "$recursiveRef")
_DEFINITIONS = ("$defs", "definitions")
# Keywords that do not affect validation.
_ANNOTATIONS = (*_DEFINITIONS, "$schema", "$id", "$comment", "title", "description", "examples", "default")
# Keywords that lead into named parts of the value; and those that lead into parts without a known name.
_INTO = {"properties": None, "patternProperties": "*", "$defs": None, "definitions": None, "dependentSchemas": None}
_INTO_ANY = {
    **dict.fromkeys(("additionalProperties", "unevaluatedProperties", "propertyNames"), "{}"),
    **dict.fromkeys(("items", "prefixItems", "additionalItems", "unevaluatedItems", "contains"), "[]"),
    **dict.fromkeys(VALUES, "="),
}
# Formats of later drafts, which are asserted in older drafts too.
_FORMATS = (
    *("date", "date-time", "time", "duration", "email", "idn-email", "hostname", "idn-hostname", "ipv4", "ipv6", "uri"),
    *(
        "uri-reference",
        "uri-template",
        "iri",
        "iri-reference",
        "uuid",
        "json-pointer",
        "relative-json-pointer",
        "regex",
    ),
)
# Characters of the listed choices in a field error: about a page.
MAX_CHOICES = 4_000


def schema_errors(schema: dict[str, Any], place: str) -> Iterator[FieldError]:
    count = 0
    try:
        places(schema)
        count = len(_patterns(schema))
        validator(schema, largest_pattern=_share(count))
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        message = f"is not a usable JSON Schema: {_first_line(error)}"
        if _share(count) < MAX_PATTERN:
            message += f" (it has {count} different patterns, which limits the size of each: use fewer or shorter ones)"
        yield FieldError(place, message)


def value_errors(schema: dict[str, Any], value: object, place: str) -> Iterator[FieldError]:
    """Yield what is wrong with the value by a usable schema. `place` is the name of the value."""
    if found := list(islice(canonical_json.field_errors(value, place), MAX_FIELD_ERRORS)):
        yield from found
        return
    if places(schema) * weight(value) > MAX_WORK:
        yield FieldError(place, "is too large to check by its schema: send fewer or shorter values")
        return
    for error in islice(validator(schema).iter_errors(value), MAX_FIELD_ERRORS):
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.instance_path)
        yield FieldError(f"{place}{path}"[: canonical_json.MAX_PATH], _message(error))


def _message(error: jsonschema_rs.ValidationError) -> str:
    """Name the allowed values. The library names two of an enum, and none of a choice that is written as `oneOf`."""
    values = _choices(error.kind)
    if not values:
        return error.message[:500]
    listed, room = [], MAX_CHOICES
    for text in map(canonical_json.encode, values):
        room -= len(text) + 2
        if room < 0:
            break
        listed.append(text)
    more = f", or {len(values) - len(listed)} others" if len(listed) < len(values) else ""
    return f"is not one of the allowed values: {', '.join(listed)}{more}"


def _choices(kind: Any) -> list[Any]:
    kind_name = type(kind).__name__
    if kind_name.endswith("Enum"):
        return list(kind.options)
    if kind_name.endswith("Constant"):
        return [kind.expected_value]
    if kind_name.endswith(("AnyOf", "OneOfNotValid")):
        branches = [[_choices(error.kind) for error in errors] for errors in kind.context]
        # Only if each branch is a choice of values, and nothing else.
        if all(len(branch) == 1 and branch[0] for branch in branches):
            return [value for branch in branches for value in branch[0]]
    return []


def places(schema: dict[str, Any]) -> int:
    """Return the size of the schema with every reference copied. Raises `ValueError` if it is endless or unknown.

    A reference that leads back to itself is not copied again. It applies to another part of the value, and the value is
    counted separately. Only one way may lead to each part, because two double the work with each level.
    """
    schema = modern(schema)
    count = 0
    waiting = [_SchemaPlace(schema, (), {"#": (0, [])})]
    while waiting:
        node, path, inside = waiting.pop()
        count += 1
        if count > MAX_PLACES:
            raise ValueError(f"it has more than {MAX_PLACES} places, each $ref counted as a copy: use a smaller schema")
        if isinstance(node, list):
            waiting.extend(_SchemaPlace(item, path, inside) for item in node)
        elif isinstance(node, dict):
            for name, part in node.items():
                waiting.extend(_parts(name, part, path, inside))
            if (reference := _reference(node, is_root=node is schema)) is not None:
                if reference in inside:
                    _check_recursion(reference, path, *inside[reference])
                    continue
                if len(inside) > MAX_REFERENCES:
                    raise ValueError(f"{reference[:200]} is behind {MAX_REFERENCES} others: refer to it directly")
                target = resolve(schema, reference)
                waiting.append(_SchemaPlace(target, path, {**inside, reference: (len(path), [])}))
    return count


class _SchemaPlace(NamedTuple):
    """A part of the schema, for the part of the value at `path`.

    `inside` holds the references that led there, each with the length of its path and the paths that return to it.
    """

    node: Any
    path: tuple[str, ...]
    inside: dict[str, tuple[int, list[tuple[str, ...]]]]


def _parts(name: str, part: Any, path: tuple[str, ...], inside: Any) -> Iterator[_SchemaPlace]:
    if name in _INTO and isinstance(part, dict):
        # The object that contains the parts is a place too.
        yield _SchemaPlace(None, path, inside)
        for key, item in part.items():
            yield _SchemaPlace(item, (*path, _INTO[name] or (key if name == "properties" else f"{name}/{key}")), inside)
    elif name in _INTO_ANY:
        yield _SchemaPlace(part, (*path, _INTO_ANY[name]), inside)
    else:
        yield _SchemaPlace(part, path, inside)


def _check_recursion(reference: str, path: tuple[str, ...], start: int, back: list[tuple[str, ...]]) -> None:
    way = path[start:]
    if not way:
        raise ValueError(f"{reference[:200]} leads back to itself without going into a part of the value")
    for other in back:
        if all(a == b or "*" in (a, b) for a, b in zip(way, other, strict=False)):
            advice = "write out as many levels as are needed"
            raise ValueError(f"{reference[:200]} leads back to itself in two ways for one part: {advice}")
    back.append(way)


def _patterns(schema: dict[str, Any]) -> set[str]:
    """Return the distinct patterns, including texts in an example that only look like one."""
    found: set[str] = set()
    waiting: list[Any] = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, dict):
            waiting.extend(node.values())
            found |= {text for text in (node.get("pattern"),) if isinstance(text, str)}
            properties = node.get("patternProperties")
            found.update(properties if isinstance(properties, dict) else ())
    return found


def _share(count: int) -> int:
    """Return the bytes that each of `count` compiled patterns may take."""
    return min(MAX_PATTERN, MAX_PATTERNS // max(count, 1))


def _reference(node: dict[str, Any], *, is_root: bool) -> str | None:
    if any(name in node for name in _DYNAMIC) or (isinstance(node.get("$id"), str) and not is_root):
        raise ValueError("$dynamicRef, $recursiveRef and $id inside are not supported: use $ref with #/$defs/…")
    reference = node.get("$ref")
    return reference if isinstance(reference, str) else None


def resolve(schema: dict[str, Any], reference: str) -> Any:
    """Return the part of the schema that a `$ref` names. Raises `ValueError`."""
    if reference != "#" and not reference.startswith("#/"):
        raise ValueError(f"{reference[:200]} does not lead to a place in this schema (#/…), and nothing is fetched")
    found: Any = schema
    for part in unquote(reference).split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        try:
            found = found[int(name)] if isinstance(found, list) else found[name]
        except (KeyError, IndexError, TypeError, ValueError):
            raise ValueError(f"{reference[:200]} leads nowhere") from None
    return found


def names(schema: dict[str, Any]) -> frozenset[str]:
    """Return the fields that a usable schema of an object names, including those in references and combinations."""
    found: set[str] = set()
    waiting: list[Any] = [schema]
    for _ in range(MAX_REFERENCES):
        node = waiting.pop(0) if waiting else None
        if not isinstance(node, dict):
            continue
        found |= set(node.get("properties") or ())
        for word in ("allOf", "anyOf", "oneOf"):
            waiting += node.get(word) or []
        if isinstance(reference := node.get("$ref"), str):
            waiting.append(resolve(schema, reference))
    return frozenset(found)


def is_of_object(schema: dict[str, Any]) -> bool:
    """Return whether a usable schema allows only objects, by its own `type` or that of a top-level reference."""
    waiting: list[Any] = [schema]
    for _ in range(MAX_REFERENCES):
        node = waiting.pop(0) if waiting else None
        if not isinstance(node, dict):
            continue
        if node.get("type") == "object":
            return True
        parts = node.get("allOf")
        waiting += parts if isinstance(parts, list) else []
        if isinstance(reference := node.get("$ref"), str):
            waiting.append(resolve(schema, reference))
    return False


def inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a usable schema without references, for a model or a form: some providers and libraries ignore references.

    A reference that leads back to itself becomes a schema that allows any value.
    """
    root = modern(schema)
    found = _inlined(root, root, frozenset({"#"}))
    assert isinstance(found, dict)
    return {name: value for name, value in found.items() if name not in _DEFINITIONS}


def _inlined(node: Any, root: dict[str, Any], inside: frozenset[str]) -> Any:
    if isinstance(node, list):
        return [_inlined(item, root, inside) for item in node]
    if not isinstance(node, dict):
        return node
    found: dict[str, Any] = {}
    for name, value in node.items():
        if name in _DEFINITIONS:
            continue
        if name in BY_NAME and isinstance(value, dict):
            found[name] = {key: _inlined(item, root, inside) for key, item in value.items()}
        elif name != "$ref":
            found[name] = value if name in VALUES else _inlined(value, root, inside)
    if isinstance(reference := node.get("$ref"), str):
        recursive = reference in inside
        target = {} if recursive else _inlined(resolve(root, reference), root, inside | {reference})
        return _joined(target, found)
    return found


def _joined(target: Any, beside: dict[str, Any]) -> Any:
    """Merge a `$ref`'s target and the keywords beside it, or join them by `allOf` if they contradict each other."""
    if not beside:
        return target
    if isinstance(target, dict) and all(
        name in _ANNOTATIONS or target.get(name, value) == value for name, value in beside.items()
    ):
        return {**target, **beside}
    return beside | {"allOf": [target, *beside.get("allOf", ())]}


def weight(value: object) -> int:
    """Return the work to check the value against one place of a schema."""
    units, waiting = 0, [value]
    while waiting:
        value = waiting.pop()
        units += 1
        if isinstance(value, str):
            units += len(value) // TEXT_UNIT
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            waiting.extend(value)
            waiting.extend(value.values())
    return units


def validator(
    schema: dict[str, Any], registry: jsonschema_rs.Registry | None = None, *, largest_pattern: int = MAX_PATTERN
) -> jsonschema_rs.Validator:
    # References are never fetched. Patterns run on an engine without backtracking.
    patterns = jsonschema_rs.RegexOptions(size_limit=largest_pattern)
    return jsonschema_rs.validator_for(
        modern(schema),
        retriever=_refuse,
        registry=registry,
        pattern_options=patterns,
        validate_formats=True,
        formats={} if _knows_all_formats(schema) else _formats(),
    )


def _knows_all_formats(schema: dict[str, Any]) -> bool:
    return re.search(r"draft-0[467]", str(schema.get("$schema"))) is None


@cache
def _formats() -> dict[str, Callable[[str], bool]]:
    """Return the checks of the newest draft."""
    return {
        name: jsonschema_rs.validator_for({"type": "string", "format": name}, validate_formats=True).is_valid
        for name in _FORMATS
    }


def _refuse(uri: str) -> NoReturn:
    raise ValueError(f"{uri} is outside the schema, and references are not fetched")


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:500]

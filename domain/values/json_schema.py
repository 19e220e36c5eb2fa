"""The JSON Schema of what somebody must answer, a reviewer or a model: checked when it is posted or deployed, and when
the answer comes.

Neither can be trusted, and checking an answer must not keep anyone waiting: a few lines of references that name each
other twice would mean work without end. So what a schema may ask for is counted before it is used.
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

# Values in a schema, each $ref counted as a copy of what it names: ten times a long form.
MAX_PLACES = 2_000
# References inside of references. What a form is drawn from nests a few.
MAX_REFERENCES = 32
# Places of the schema times values of the answer. A place costs up to 30 µs for a value where nothing fits, so this
# bounds a check to some seconds at the very worst; a form of 100 places may have answers of 2,000 values.
MAX_WORK = 200_000
# Characters of a text that are as much work as one value: patterns are run over each.
TEXT_UNIT = 100
# Bytes of one compiled pattern: `^\S{1,64}$` has an eighth of it.
MAX_PATTERN = 1_000_000
# Of all that differ in one schema (the same one is compiled once). A megabyte takes some 20 ms, in which no other
# thread of the process runs: two thousand patterns, which anyone may post, stopped it for six seconds.
MAX_PATTERNS = 10_000_000
MAX_FIELD_ERRORS = 20

# Keywords that lead elsewhere by a name. Counting would have to resolve them exactly as the validator does.
_NAMED = ("$dynamicRef", "$recursiveRef")
_DEFINITIONS = ("$defs", "definitions")
# Keywords that say something to people only, or of where the schema is from.
_SAID = (*_DEFINITIONS, "$schema", "$id", "$comment", "title", "description", "examples", "default")
# Keywords that lead into a part of the value, each part by a name; and into parts that are not known by name.
_INTO = {"properties": None, "patternProperties": "*", "$defs": None, "definitions": None, "dependentSchemas": None}
_INTO_ANY = {
    **dict.fromkeys(("additionalProperties", "unevaluatedProperties", "propertyNames"), "{}"),
    **dict.fromkeys(("items", "prefixItems", "additionalItems", "unevaluatedItems", "contains"), "[]"),
    **dict.fromkeys(VALUES, "="),
}
# Formats that came with later drafts, asserted in older ones too.
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
# Characters of what a value may be, in a fault: a page.
MAX_CHOICES = 4_000


def schema_errors(schema: dict[str, Any], place: str) -> Iterator[FieldError]:
    count = 0
    try:
        places(schema)
        count = len(_patterns(schema))
        validator(schema, largest_pattern=_share(count))
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        field_error = f"is not a JSON Schema that can be used: {_first_line(error)}"
        if _share(count) < MAX_PATTERN:
            field_error += f" (it has {count} different patterns: the more there are, the shorter each has to be)"
        yield FieldError(place, field_error)


def value_errors(schema: dict[str, Any], value: object, place: str) -> Iterator[FieldError]:
    """What is wrong with the value by a usable schema; `place` is what the value is called."""
    if found := list(islice(canonical_json.field_errors(value, place), MAX_FIELD_ERRORS)):
        yield from found
        return
    if places(schema) * weight(value) > MAX_WORK:
        yield FieldError(place, "is too large for what its schema asks: send fewer or shorter values")
        return
    for error in islice(validator(schema).iter_errors(value), MAX_FIELD_ERRORS):
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.instance_path)
        yield FieldError(f"{place}{path}"[: canonical_json.MAX_PATH], _message(error))


def _message(error: jsonschema_rs.ValidationError) -> str:
    """The library names two of the values that may stand there, and none of a choice that is written as `oneOf`."""
    values = _choices(error.kind)
    if not values:
        return error.message[:500]
    said, room = [], MAX_CHOICES
    for text in map(canonical_json.encode, values):
        room -= len(text) + 2
        if room < 0:
            break
        said.append(text)
    more = f", or {len(values) - len(said)} others" if len(said) < len(values) else ""
    return f"is none of the values that it may have: {', '.join(said)}{more}"


def _choices(kind: Any) -> list[Any]:
    named = type(kind).__name__
    if named.endswith("Enum"):
        return list(kind.options)
    if named.endswith("Constant"):
        return [kind.expected_value]
    if named.endswith(("AnyOf", "OneOfNotValid")):
        ways = [[_choices(error.kind) for error in errors] for errors in kind.context]
        # Only where each way is a choice of values, and nothing else.
        if all(len(way) == 1 and way[0] for way in ways):
            return [value for way in ways for value in way[0]]
    return []


def places(schema: dict[str, Any]) -> int:
    """How large the schema is once every reference is a copy. Raises `ValueError` for what is endless or unknown.

    A reference that leads back to itself is no further copy: it is for another part of the value, which is counted with
    the value. Each part has to be led to in one way only: two would mean twice the work with each level.
    """
    schema = modern(schema)
    count = 0
    waiting = [_SchemaPlace(schema, (), {"#": (0, [])})]
    while waiting:
        node, path, inside = waiting.pop()
        count += 1
        if count > MAX_PLACES:
            raise ValueError(f"it has more than {MAX_PLACES} places, each $ref counted as a copy of what it names")
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
    """`path`: which part of the value it is for. `inside`: the references that led there, each with the length that the
    path had, and the paths by which it was come back to."""

    node: Any
    path: tuple[str, ...]
    inside: dict[str, tuple[int, list[tuple[str, ...]]]]


def _parts(name: str, part: Any, path: tuple[str, ...], inside: Any) -> Iterator[_SchemaPlace]:
    if name in _INTO and isinstance(part, dict):
        # The object that holds the parts is a place too.
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
    """Those that differ; also what only looks like one, in an example, say."""
    found: set[str] = set()
    waiting: list[Any] = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, dict):
            waiting.extend(node.values())
            found |= {text for text in (node.get("pattern"),) if isinstance(text, str)}
            named = node.get("patternProperties")
            found.update(named if isinstance(named, dict) else ())
    return found


def _share(count: int) -> int:
    """Bytes that each of so many patterns may have once it is compiled."""
    return min(MAX_PATTERN, MAX_PATTERNS // max(count, 1))


def _reference(node: dict[str, Any], *, is_root: bool) -> str | None:
    if any(name in node for name in _NAMED) or (isinstance(node.get("$id"), str) and not is_root):
        raise ValueError("$dynamicRef, $recursiveRef and $id inside are not supported: use $ref with #/$defs/…")
    reference = node.get("$ref")
    return reference if isinstance(reference, str) else None


def resolve(schema: dict[str, Any], reference: str) -> Any:
    """The place in the schema that a `$ref` names. Raises `ValueError`."""
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
    """The fields that a usable schema of an object speaks of, also where it refers to another or joins several."""
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
    """Whether a usable schema takes objects alone, by its own `type` or that of what its top refers to."""
    waiting: list[Any] = [schema]
    for _ in range(MAX_REFERENCES):
        node = waiting.pop(0) if waiting else None
        if not isinstance(node, dict):
            continue
        if node.get("type") == "object":
            return True
        joined = node.get("allOf")
        waiting += joined if isinstance(joined, list) else []
        if isinstance(reference := node.get("$ref"), str):
            waiting.append(resolve(schema, reference))
    return False


def inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """A usable schema without references, to be shown to a model or as a form: not every provider and library follows
    them. What leads back to itself may be anything there."""
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
        again = reference in inside
        target = {} if again else _inlined(resolve(root, reference), root, inside | {reference})
        return _joined(target, found)
    return found


def _joined(target: Any, beside: dict[str, Any]) -> Any:
    """One schema of what a `$ref` names and what stands beside it: that may only say more, or the same."""
    if not beside:
        return target
    if isinstance(target, dict) and all(
        name in _SAID or target.get(name, value) == value for name, value in beside.items()
    ):
        return {**target, **beside}
    return beside | {"allOf": [target, *beside.get("allOf", ())]}


def weight(value: object) -> int:
    """How much work the value is for one place of a schema."""
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
    # References are never fetched, and patterns run on an engine without backtracking.
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
    """As the newest draft has them."""
    return {
        name: jsonschema_rs.validator_for({"type": "string", "format": name}, validate_formats=True).is_valid
        for name in _FORMATS
    }


def _refuse(uri: str) -> NoReturn:
    raise ValueError(f"{uri} is outside the schema, and references are not fetched")


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:500]

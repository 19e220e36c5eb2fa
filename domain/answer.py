"""The JSON Schema of what somebody must answer, a reviewer or a model: checked when it is posted or deployed, and when
the answer comes.

Neither can be trusted, and checking an answer must not keep anyone waiting: a few lines of references that name each
other twice would mean work without end. So what a schema may ask for is counted before it is used.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any, NoReturn
from urllib.parse import unquote

import jsonschema_rs

from domain import json_value
from domain.errors import Fault

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
MAX_FAULTS = 20

# Keywords that lead elsewhere by a name. Counting would have to resolve them exactly as the validator does.
_NAMED = ("$dynamicRef", "$recursiveRef")
_DEFINITIONS = ("$defs", "definitions")
# Keywords that hold schemas by names of the author's.
_BY_NAME = (*_DEFINITIONS, "properties", "patternProperties", "dependentSchemas")
# Keywords that say something to people only, or of where the schema is from.
_SAID = (*_DEFINITIONS, "$schema", "$id", "$comment", "title", "description", "examples", "default")
# Keywords that hold values, in which nothing is a keyword.
_VALUES = ("const", "enum", "default", "examples")


def schema_faults(schema: dict[str, Any], place: str) -> Iterator[Fault]:
    count = 0
    try:
        places(schema)
        count = len(_patterns(schema))
        validator(schema, largest_pattern=_share(count))
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        fault = f"is not a JSON Schema that can be used: {_first_line(error)}"
        if _share(count) < MAX_PATTERN:
            fault += f" (it has {count} different patterns: the more there are, the shorter each has to be)"
        yield Fault(place, fault)


def value_faults(schema: dict[str, Any], value: object, place: str) -> Iterator[Fault]:
    """What is wrong with the value by a usable schema; `place` is what the value is called."""
    if found := list(islice(json_value.faults(value, place), MAX_FAULTS)):
        yield from found
        return
    if places(schema) * weight(value) > MAX_WORK:
        yield Fault(place, "is too large for what its schema asks: send fewer or shorter values")
        return
    for error in islice(validator(schema).iter_errors(value), MAX_FAULTS):
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.instance_path)
        yield Fault(f"{place}{path}"[: json_value.MAX_PATH], error.message[:500])


def places(schema: dict[str, Any]) -> int:
    """How large the schema is once every reference is a copy. Raises `ValueError` for what is endless or unknown."""
    if "draft-04" in str(schema.get("$schema")):
        raise ValueError("draft 4 is too old: use a later one, the newest is 2020-12")
    count = 0
    waiting: list[tuple[Any, tuple[str, ...]]] = [(schema, ())]
    while waiting:
        node, inside = waiting.pop()
        count += 1
        if count > MAX_PLACES:
            raise ValueError(f"it has more than {MAX_PLACES} places, each $ref counted as a copy of what it names")
        if isinstance(node, list):
            waiting.extend((item, inside) for item in node)
        elif isinstance(node, dict):
            waiting.extend((item, inside) for item in node.values())
            if (reference := _reference(node, is_root=node is schema)) is not None:
                if reference in inside:
                    raise ValueError(f"{reference[:200]} leads back to itself: write out as many levels as are needed")
                if len(inside) == MAX_REFERENCES:
                    raise ValueError(f"{reference[:200]} is behind {MAX_REFERENCES} others: refer to it directly")
                waiting.append((resolve(schema, reference), (*inside, reference)))
    return count


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
    """A usable schema without references, to be shown to a model: not every provider and library follows them."""
    found = _inlined(schema, schema)
    assert isinstance(found, dict)
    return {name: value for name, value in found.items() if name not in _DEFINITIONS}


def _inlined(node: Any, root: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_inlined(item, root) for item in node]
    if not isinstance(node, dict):
        return node
    found: dict[str, Any] = {}
    for name, value in node.items():
        if name in _BY_NAME and isinstance(value, dict):
            found[name] = {key: _inlined(item, root) for key, item in value.items()}
        elif name != "$ref":
            found[name] = value if name in _VALUES else _inlined(value, root)
    if isinstance(reference := node.get("$ref"), str):
        target = _inlined(resolve(root, reference), root)
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
    return jsonschema_rs.validator_for(schema, retriever=_refuse, registry=registry, pattern_options=patterns)


def _refuse(uri: str) -> NoReturn:
    raise ValueError(f"{uri} is outside the schema, and references are not fetched")


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:500]

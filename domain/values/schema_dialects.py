"""Conversion of draft 4 and of OpenAPI's `nullable` to a later draft of JSON Schema."""

from typing import Any

_LIMITS = (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum"))
# Keywords whose keys are the author's names; and keywords whose content is a plain value, not a schema.
BY_NAME = ("$defs", "definitions", "properties", "patternProperties", "dependentSchemas")
VALUES = ("const", "enum", "default", "examples", "example")
_UNIONS = ("anyOf", "oneOf", "allOf", "$ref")
_DRAFT_7 = "http://json-schema.org/draft-07/schema#"


def modern(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the same schema in a later draft. Raises `ValueError` if it is ambiguous."""
    old = "draft-04" in str(schema.get("$schema"))
    try:
        found = _modern(schema, old=old, root=True)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    assert isinstance(found, dict)
    return found | {"$schema": _DRAFT_7} if old else found


def _modern(node: Any, *, old: bool, root: bool = False) -> Any:
    if isinstance(node, list):
        return [_modern(item, old=old) for item in node]
    if not isinstance(node, dict):
        return node
    found: dict[str, Any] = {}
    for name, value in node.items():
        if name in BY_NAME and isinstance(value, dict):
            found[name] = {key: _modern(part, old=old) for key, part in value.items()}
        elif old and name == "id" and isinstance(value, str):
            if not root:
                raise ValueError("id inside is not supported: use $ref with #/definitions/…")
        else:
            found[name] = value if name in VALUES else _modern(value, old=old)
    for exclusive, limit in _LIMITS:
        if isinstance(found.get(exclusive), bool):
            _exclude(found, exclusive, limit)
    return _nullable(found) if found.get("nullable") is True else found


def _exclude(schema: dict[str, Any], exclusive: str, limit: str) -> None:
    if schema.pop(exclusive):
        if limit not in schema:
            raise ValueError(f"{exclusive} is true without a {limit} beside it: write {exclusive} as a number")
        schema[exclusive] = schema.pop(limit)


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    del schema["nullable"]
    type_ = schema.get("type")
    if isinstance(type_, str | list):
        types = [type_] if isinstance(type_, str) else type_
        schema["type"] = types if "null" in types else [*types, "null"]
    if isinstance(schema.get("enum"), list) and None not in schema["enum"]:
        schema["enum"] = [*schema["enum"], None]
    if "const" in schema or any(word in schema for word in _UNIONS):
        annotations: dict[str, Any] = {
            name: schema.pop(name)
            for name in ("$schema", "$defs", "definitions", "title", "description", "default")
            if name in schema
        }
        return {**annotations, "anyOf": [schema, {"type": "null"}]}
    return schema

"""JSON Schema keywords that decide whether a path can have a value."""

from typing import Any

import pytest

from domain.manifests.deploy_checks import field_errors
from domain.manifests.manifest import parse, read

WORKER = {"worker": "w", "worker_version": "1"}


def reaches(schema: dict[str, Any], path: str) -> bool:
    step = {"id": "act", "kind": "commit", **WORKER, "tools": {"allow": ["act"]}, "with": {"it": {"from": path}}}
    saga = {"kind": "saga", "name": "s", "version": "1", "input_schema": schema, "steps": [step]}
    return not list(field_errors(parse(saga)))


NESTED: dict[str, Any] = {"type": "object", "properties": {"x": {}}, "additionalProperties": False}
OPEN_BUT = {"type": "object", "unevaluatedProperties": False}


@pytest.mark.parametrize(
    ("schema", "path", "may"),
    [
        ({"anyOf": [False, {"type": "object"}]}, "$.input.x", True),
        ({"properties": {"l": {"type": "array", "maxItems": 0}}}, "$.input.l[0]", False),
        ({"properties": {"l": {"type": "array", "maxItems": 2}}}, "$.input.l[2]", False),
        ({"properties": {"l": {"type": "array", "maxItems": 2}}}, "$.input.l[1]", True),
        ({"properties": {"o": {"const": {"x": 1}}}}, "$.input.o.x", True),
        ({"properties": {"o": {"const": {"x": 1}}}}, "$.input.o.y", False),
        ({"properties": {"l": {"enum": [[1, 2]]}}}, "$.input.l[1]", True),
        ({"properties": {"l": {"enum": [[1, 2]]}}}, "$.input.l[-1]", True),
        ({"properties": {"l": {"enum": [[1, 2]]}}}, "$.input.l[2]", False),
        ({"properties": {"l": {"enum": [[1, 2], "text"]}}}, "$.input.l[*]", True),
        ({"properties": {"l": {"enum": ["text"]}}}, "$.input.l.x", False),
        ({"properties": {"n": {"const": None}}}, "$.input.n", False),
        ({"properties": {"n": {"allOf": [{"type": "null"}]}}}, "$.input.n", False),
        ({"properties": {"n": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "null"}}}, "$.input.n", False),
        ({**OPEN_BUT, "allOf": [True]}, "$.input.x", False),
        ({**OPEN_BUT, "allOf": [NESTED]}, "$.input.x", True),
        ({**OPEN_BUT, "allOf": [{"patternProperties": {"^x": {}}}]}, "$.input.x", True),
        ({**OPEN_BUT, "$ref": "#/$defs/o", "$defs": {"o": {"properties": {"x": {}}}}}, "$.input.x", True),
        ({"type": "object", "patternProperties": {"^x": {}}, "additionalProperties": False}, "$.input.x", True),
        ({"type": "object", "patternProperties": {"^x": {}}, "additionalProperties": False}, "$.input.y", False),
        # A pattern of another dialect may match.
        ({"type": "object", "patternProperties": {r"^\p{L}$": {}}, "additionalProperties": False}, "$.input.y", True),
    ],
)
def test_a_keyword(schema: dict[str, Any], path: str, may: bool) -> None:
    assert reaches(schema, path) is may


def test_a_broken_reference_is_only_the_schemas_error() -> None:
    step = {
        "id": "act",
        "kind": "commit",
        **WORKER,
        "tools": {"allow": ["act"]},
        "with": {"it": {"from": "$.input.n.x"}},
    }
    schema = {"type": "object", "properties": {"n": {"$ref": "#/nowhere"}}}
    saga = {"kind": "saga", "name": "s", "version": "1", "input_schema": schema, "steps": [step]}
    definition, found = read(saga)
    assert definition is not None
    assert [field_error.path for field_error in found] == ["input_schema"]
    assert list(field_errors(definition)) == []

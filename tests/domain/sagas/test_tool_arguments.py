"""Arguments that a tool requires, by its own schema, and would not get."""

from typing import Any

import pytest

from domain.sagas.tool_arguments import unfilled

PLAIN: dict[str, Any] = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "note": {"type": "string"}, "any": {}},
    "required": ["id"],
}


@pytest.mark.parametrize(
    ("schema", "arguments", "told"),
    [
        (PLAIN, {"id": "x"}, None),
        (PLAIN, {"id": "x", "note": None}, None),
        (PLAIN, {"id": None}, "requires 'id', which is null"),
        (PLAIN, {}, "requires 'id', which is missing"),
        (PLAIN | {"required": ["any"]}, {"any": None}, None),
        ({"properties": {"id": {"type": ["string", "null"]}}, "required": ["id"]}, {"id": None}, None),
        (
            {"properties": {"id": {"anyOf": [{"type": "string"}, {"type": "null"}]}}, "required": ["id"]},
            {"id": None},
            None,
        ),
        ({"$ref": "#/$defs/A", "$defs": {"A": PLAIN}}, {"id": None}, "requires 'id', which is null"),
        ({"allOf": [PLAIN, {"required": ["note"]}]}, {"id": "x"}, "requires 'note', which is missing"),
        # Filled with the call's own key.
        ({"required": ["idempotency_key", "warden_idempotency_key"]}, {}, None),
        # Not one that anybody could read: the tool itself has to say what is wrong.
        ({"required": "id"}, {}, None),
        ({"required": ["id"], "properties": {"id": {"type": "nonsense"}}}, {"id": None}, None),
        ({"$ref": "#/nowhere"}, {}, None),
        ({}, {}, None),
    ],
)
def test_what_is_required_and_missing(schema: dict[str, Any], arguments: dict[str, Any], told: str | None) -> None:
    assert unfilled(schema, arguments, ()) == told


def test_a_null_that_is_meant() -> None:
    assert unfilled(PLAIN, {"id": None}, {"id"}) is None

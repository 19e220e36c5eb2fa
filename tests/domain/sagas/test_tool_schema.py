"""A tool's own schema: what is kept of it for a held call, and what it says of the arguments."""

from typing import Any

import pytest

from domain.sagas.tool_schema import domain_error, usable
from domain.values import canonical_json

NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def test_the_engine_fills_the_key() -> None:
    form, why = usable({"required": ["n", "idempotency_key"]}, {"n": 1})
    assert (form, why) == ({"required": ["n"]}, None)
    assert usable({"type": "object"}, {}) == ({"type": "object"}, None)


@pytest.mark.parametrize(
    ("schema", "arguments", "why"),
    [
        ({"title": "x" * canonical_json.MAX_BYTES}, {}, "is too large, or is not JSON that can be stored"),
        ({"title": "\x00"}, {}, "is too large, or is not JSON that can be stored"),
        ({"$ref": "http://x.test/schema"}, {}, "is not a usable JSON Schema"),
        ({"anyOf": [{"const": n} for n in range(900)]}, {"n": list(range(900))}, "are too large to check"),
    ],
)
def test_an_unusable_schema_is_left_out(schema: dict[str, Any], arguments: dict[str, Any], why: str) -> None:
    form, reason = usable(schema, arguments)
    assert form is None
    assert reason is not None
    assert why in reason


def test_what_the_tool_would_reject() -> None:
    error = domain_error("pay", NUMBER, {"n": "one"})
    assert error is not None
    assert error.code == "ARGUMENTS_INVALID"
    assert error.message.startswith("the tool 'pay' cannot be called with these arguments: arguments.n: ")
    assert error.details is not None
    assert [each["path"] for each in error.details["errors"]] == ["arguments.n"]
    assert domain_error("pay", NUMBER, {"n": 1}) is None


def test_a_null_that_is_meant() -> None:
    assert domain_error("pay", NUMBER, {"n": None}) is not None
    assert domain_error("pay", NUMBER, {"n": None}, ["n"]) is None

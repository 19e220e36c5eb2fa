"""Starting a saga: its input is checked before anything is written."""

from dataclasses import replace
from typing import Any

import pytest

from domain.values.errors import Invalid
from services.kernel.unit_of_work import Database
from services.manifests.definitions import deploy
from services.sagas.lifecycle import StartRequest, start_saga
from tests.services.saga_world import WORKER, step
from tests.services.world import ADMIN, AGENT, one

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "order": {"type": "string", "pattern": "^A-"},
        "lines": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["order"],
    "additionalProperties": False,
}
GOOD = StartRequest("default", "s", "1", {"order": "A-1", "lines": [1, 2]}, idempotency_key="key-1")


@pytest.fixture(autouse=True)
def deployed(database: Database) -> None:
    deploy(database, ADMIN, WORKER, replace=False)
    checked = step("a", **{"with": {"n": {"from": "$.input.order"}}})
    saga = {"kind": "saga", "name": "s", "version": "1", "steps": [checked], "input_schema": SCHEMA}
    deploy(database, ADMIN, saga, replace=False)


@pytest.mark.parametrize(
    ("given", "places"),
    [
        ({}, {"input"}),
        ({"order": "B-1", "lines": [1, "2"]}, {"input.order", "input.lines[1]"}),
        ({"order": "A-1", "colour": "red"}, {"input"}),
    ],
)
def test_an_input_that_does_not_fit_starts_nothing(database: Database, given: dict[str, Any], places: set[str]) -> None:
    with pytest.raises(Invalid) as refused:
        start_saga(database, AGENT, replace(GOOD, input=given))
    assert {field_error.path for field_error in refused.value.field_errors} == places
    assert one(database, "SELECT count(*) FROM sagas") == 0
    # The key is free: nothing was started with it.
    assert start_saga(database, AGENT, GOOD)[1] is True


def test_a_repeated_start_returns_the_first_saga(database: Database) -> None:
    """As it was without a schema: the saga is the one of the key."""
    trace_id, _ = start_saga(database, AGENT, GOOD)
    assert start_saga(database, AGENT, replace(GOOD, input={})) == (trace_id, False)
    assert start_saga(database, AGENT, replace(GOOD, input={}, idempotency_key=None, trace_id=trace_id)) == (
        trace_id,
        False,
    )

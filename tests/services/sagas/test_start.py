"""Starting a saga: its input is checked before anything is written."""

from dataclasses import replace
from typing import Any

import pytest

from domain.values.errors import Invalid
from services.kernel.unit_of_work import Store
from services.manifests.definitions import deploy
from services.sagas.lifecycle import Start, start_saga
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
GOOD = Start("default", "s", "1", {"order": "A-1", "lines": [1, 2]}, idempotency_key="key-1")


@pytest.fixture(autouse=True)
def deployed(store: Store) -> None:
    deploy(store, ADMIN, WORKER, replace=False)
    checked = step("a", **{"with": {"n": {"from": "$.input.order"}}})
    saga = {"kind": "saga", "name": "s", "version": "1", "steps": [checked], "input_schema": SCHEMA}
    deploy(store, ADMIN, saga, replace=False)


@pytest.mark.parametrize(
    ("given", "places"),
    [
        ({}, {"input"}),
        ({"order": "B-1", "lines": [1, "2"]}, {"input.order", "input.lines[1]"}),
        ({"order": "A-1", "colour": "red"}, {"input"}),
    ],
)
def test_an_input_that_does_not_fit_starts_nothing(store: Store, given: dict[str, Any], places: set[str]) -> None:
    with pytest.raises(Invalid) as refused:
        start_saga(store, AGENT, replace(GOOD, input=given))
    assert {fault.path for fault in refused.value.faults} == places
    assert one(store, "SELECT count(*) FROM sagas") == 0
    # The key is free: nothing was started with it.
    assert start_saga(store, AGENT, GOOD)[1] is True


def test_what_was_started_before_is_told_whatever_is_sent(store: Store) -> None:
    """As it was without a schema: the saga is the one of the key."""
    trace_id, _ = start_saga(store, AGENT, GOOD)
    assert start_saga(store, AGENT, replace(GOOD, input={})) == (trace_id, False)
    assert start_saga(store, AGENT, replace(GOOD, input={}, idempotency_key=None, trace_id=trace_id)) == (
        trace_id,
        False,
    )

"""What a person decides on can be carried out: a call that cannot be made fails before anybody is asked, and an edit
that could not be carried out is refused, and the step still held."""

from typing import Any
from uuid import UUID

import pytest

from domain.sagas.outcome import Failed, NotSent, ToolFound
from domain.sagas.step import Error
from domain.values.errors import Invalid
from services.kernel.unit_of_work import Store
from services.pauses.lifecycle import get_pause
from services.reviews.decisions import Wish, decide_many, decide_pause
from services.reviews.step_decisions import rerun_step
from services.sagas.lifecycle import cancel_saga
from tests.services.saga_world import (
    approve_held,
    current_ref,
    pending_pauses,
    start,
    statuses,
    step,
    step_of,
    tools,
    wait,
    watch_of,
    work,
)
from tests.services.world import OPERATOR, REVIEWER, approve, at_once

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer", "maximum": 100}, "to": {"type": "string"}, "idempotency_key": {}},
    "required": ["n", "idempotency_key"],
    "additionalProperties": False,
}
AWAY = NotSent(Error("MCP_UNAVAILABLE", "the server is away"))


def held(store: Store, schema: dict[str, Any] = SCHEMA, n: object = 1, **more: Any) -> UUID:
    trace_id = start(store, step("a", hitl=True, **more), n=n)
    used = tools()
    used.schemas["do_a"] = schema
    work(store, trace_id, used)
    assert used.calls == []
    return trace_id


def faults(store: Store, trace_id: UUID, arguments: dict[str, Any], door: str = "pause") -> dict[str, str]:
    """Of an approval with these, by place; the step is held as before."""
    watch_id = watch_of(store, trace_id)
    before = get_pause(store, REVIEWER, watch_id)
    command = approve(arguments=arguments, revision=before.revision)
    if door == "bulk":
        (outcome,) = decide_many(store, REVIEWER, [Wish(watch_id, command)])
    else:
        (outcome,) = at_once([lambda: decide_pause(store, REVIEWER, watch_id, command)])
    assert isinstance(outcome, Invalid)
    assert get_pause(store, REVIEWER, watch_id) == before
    assert statuses(store, trace_id) == ("AWAITING_HUMAN", "AWAITING_HUMAN")
    return {fault.path: fault.message for fault in outcome.faults}


@pytest.mark.parametrize("door", ["pause", "bulk"])
def test_an_edit_that_the_tool_would_not_take(store: Store, door: str) -> None:
    """Each place is named; what fits is called, as it was edited. The engine's own argument is nobody's to give."""
    trace_id = held(store)
    schema = get_pause(store, REVIEWER, watch_of(store, trace_id)).arguments_schema
    assert schema == SCHEMA | {"required": ["n"]}
    assert set(faults(store, trace_id, {"n": "two", "to": 3}, door)) == {"arguments.n", "arguments.to"}
    assert set(faults(store, trace_id, {"too": "x"}, door)) == {"arguments"}
    assert set(faults(store, trace_id, {"n": 101}, door)) == {"arguments.n"}
    approve_held(store, trace_id, arguments={"n": 100, "to": "x"})
    used = tools()
    work(store, trace_id, used)
    assert [call.arguments for call in used.calls] == [{"n": 100, "to": "x"}]


@pytest.mark.parametrize("door", ["pause", "bulk"])
def test_an_edit_that_the_policy_says_no_to(store: Store, door: str) -> None:
    """Also where it cannot be judged."""
    trace_id = held(store, {}, policy={"name": "limit", "cel": "arguments.n <= input.n + 1"})
    assert faults(store, trace_id, {"n": 3}, door) == {
        "arguments": "policy 'limit' says no: nothing is decided, the step is still held"
    }
    assert set(faults(store, trace_id, {"m": 1}, door)) == {"arguments"}
    approve_held(store, trace_id, arguments={"n": 2})
    used = tools()
    work(store, trace_id, used)
    assert [call.arguments for call in used.calls] == [{"n": 2}]


def test_a_call_that_cannot_be_made_is_asked_of_nobody(store: Store) -> None:
    trace_id = held(store, n="one")
    assert statuses(store, trace_id) == ("FAILED", "FAILED")
    error = step_of(store, trace_id, "a").error
    assert error is not None
    assert error.code == "ARGUMENTS_INVALID"
    assert "'do_a'" in error.message
    assert [each["path"] for each in error.details["errors"]] == ["arguments.n"]
    assert pending_pauses(store) == 0


def test_every_hold_has_the_schema_of_its_time(store: Store) -> None:
    trace_id = held(store)
    rerun_step(store, REVIEWER, current_ref(store, trace_id), None, None)
    used = tools()
    used.schemas["do_a"] = {"required": ["n"], "type": "object"}
    work(store, trace_id, used)
    assert get_pause(store, REVIEWER, watch_of(store, trace_id)).arguments_schema == used.schemas["do_a"]


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"n": {"$ref": "https://example.com/n"}}},
        {"properties": {"n": {"pattern": "("}}},
        {"description": "x" * 300_000},
        {"description": "\x00"},
        {"required": "n"},
    ],
)
def test_a_schema_that_cannot_be_used(store: Store, schema: dict[str, Any]) -> None:
    """It is nobody's fault here: the step is held, and the reviewer reads that an edit is not checked."""
    trace_id = held(store, schema)
    pause = get_pause(store, REVIEWER, watch_of(store, trace_id))
    assert pause.context is not None
    assert pause.arguments_schema is None
    assert pause.context["arguments_unchecked"].startswith("its schema ")
    approve_held(store, trace_id, arguments={"n": "two"})


def test_a_server_that_is_away_is_waited_for(store: Store) -> None:
    """As for a call; meanwhile the step says why it waits."""
    trace_id = start(store, step("a", hitl=True))
    used = tools()
    used.schemas["do_a"] = [AWAY, AWAY, ToolFound(SCHEMA)]
    for tries in (1, 2):
        work(store, trace_id, used)
        waiting = step_of(store, trace_id, "a")
        assert (waiting.status, waiting.error) == (
            "PENDING",
            Error(*("MCP_UNAVAILABLE", "the server is away"), {"tries": tries}),
        )
        wait(store, trace_id)
    work(store, trace_id, used)
    assert (step_of(store, trace_id, "a").status, step_of(store, trace_id, "a").error) == ("AWAITING_HUMAN", None)


@pytest.mark.parametrize(
    ("found", "code"),
    [([AWAY] * 5, "MCP_UNAVAILABLE"), ([Failed(Error("TOOL_NOT_FOUND", "none has it"))], "TOOL_NOT_FOUND")],
)
def test_a_tool_that_is_not_there_is_asked_of_nobody(store: Store, found: list[Any], code: str) -> None:
    trace_id = start(store, step("a", hitl=True))
    used = tools()
    used.schemas["do_a"] = list(found)
    for _ in found[1:]:
        work(store, trace_id, used)
        wait(store, trace_id)
    work(store, trace_id, used)
    error = step_of(store, trace_id, "a").error
    assert error is not None
    assert (error.code, statuses(store, trace_id), pending_pauses(store)) == (code, ("FAILED", "FAILED"), 0)


def test_cancelled_while_its_tool_is_looked_for(store: Store) -> None:
    trace_id = start(store, step("a", hitl=True))
    used = tools()
    used.schemas["do_a"] = [AWAY]
    work(store, trace_id, used)
    cancel_saga(store, OPERATOR, trace_id, "no more")
    work(store, trace_id, used)
    assert (statuses(store, trace_id), step_of(store, trace_id, "a").error) == (("FAILED", "SKIPPED"), None)

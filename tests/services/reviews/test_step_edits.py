"""Edits of held steps: a call that cannot be made fails before a review, and an edit is checked at once."""

from typing import Any
from uuid import UUID

import pytest

from domain.sagas.outcome import Failed, NotSent, ToolFound
from domain.sagas.step import Error
from domain.values.errors import Invalid
from services.kernel.unit_of_work import Database
from services.reviews.decisions import decide_many
from services.reviews.step_decisions import rerun_step
from services.sagas.lifecycle import cancel_saga
from tests.services.by_watch_id import decide_pause, decision_on, get_pause
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


def held(database: Database, schema: dict[str, Any] = SCHEMA, n: object = 1, **more: Any) -> UUID:
    trace_id = start(database, step("a", hitl=True, **more), n=n)
    used = tools()
    used.schemas["do_a"] = schema
    work(database, trace_id, used)
    assert used.calls == []
    return trace_id


def field_errors(database: Database, trace_id: UUID, arguments: dict[str, Any], door: str = "pause") -> dict[str, str]:
    """Return the errors of an approval with these arguments, by place; the step stays held."""
    watch_id = watch_of(database, trace_id)
    before = get_pause(database, REVIEWER, watch_id)
    command = approve(arguments=arguments, revision=before.revision)
    if door == "bulk":
        (outcome,) = decide_many(database, REVIEWER, [decision_on(watch_id, command)])
    else:
        (outcome,) = at_once([lambda: decide_pause(database, REVIEWER, watch_id, command)])
    assert isinstance(outcome, Invalid)
    assert get_pause(database, REVIEWER, watch_id) == before
    assert statuses(database, trace_id) == ("AWAITING_HUMAN", "AWAITING_HUMAN")
    return {field_error.path: field_error.message for field_error in outcome.field_errors}


@pytest.mark.parametrize("door", ["pause", "bulk"])
def test_an_edit_that_the_tool_would_not_take(database: Database, door: str) -> None:
    """Each place is named. A valid edit is called as it is. The engine's own argument cannot be set."""
    trace_id = held(database)
    schema = get_pause(database, REVIEWER, watch_of(database, trace_id)).arguments_schema
    assert schema == SCHEMA | {"required": ["n"]}
    assert set(field_errors(database, trace_id, {"n": "two", "to": 3}, door)) == {"arguments.n", "arguments.to"}
    assert set(field_errors(database, trace_id, {"too": "x"}, door)) == {"arguments"}
    assert set(field_errors(database, trace_id, {"n": 101}, door)) == {"arguments.n"}
    approve_held(database, trace_id, arguments={"n": 100, "to": "x"})
    used = tools()
    work(database, trace_id, used)
    assert [call.arguments for call in used.calls] == [{"n": 100, "to": "x"}]


@pytest.mark.parametrize("door", ["pause", "bulk"])
def test_an_edit_that_the_policy_says_no_to(database: Database, door: str) -> None:
    """This includes an edit that cannot be evaluated."""
    trace_id = held(database, {}, policy={"name": "limit", "cel": "arguments.n <= input.n + 1"})
    assert field_errors(database, trace_id, {"n": 3}, door) == {
        "arguments": "policy 'limit' says no: nothing is decided, the step is still held"
    }
    assert set(field_errors(database, trace_id, {"m": 1}, door)) == {"arguments"}
    approve_held(database, trace_id, arguments={"n": 2})
    used = tools()
    work(database, trace_id, used)
    assert [call.arguments for call in used.calls] == [{"n": 2}]


def test_a_call_that_cannot_be_made_opens_no_review(database: Database) -> None:
    trace_id = held(database, n="one")
    assert statuses(database, trace_id) == ("FAILED", "FAILED")
    error = step_of(database, trace_id, "a").error
    assert error is not None
    assert error.code == "ARGUMENTS_INVALID"
    assert "'do_a'" in error.message
    assert [each["path"] for each in error.details["errors"]] == ["arguments.n"]
    assert pending_pauses(database) == 0


def test_every_hold_has_the_schema_of_its_time(database: Database) -> None:
    trace_id = held(database)
    rerun_step(database, REVIEWER, current_ref(database, trace_id), None, None)
    used = tools()
    used.schemas["do_a"] = {"required": ["n"], "type": "object"}
    work(database, trace_id, used)
    assert get_pause(database, REVIEWER, watch_of(database, trace_id)).arguments_schema == used.schemas["do_a"]


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
def test_a_schema_that_cannot_be_used(database: Database, schema: dict[str, Any]) -> None:
    """No one made a mistake: the step is held, and the reviewer reads that an edit is not checked."""
    trace_id = held(database, schema)
    pause = get_pause(database, REVIEWER, watch_of(database, trace_id))
    assert pause.context is not None
    assert pause.arguments_schema is None
    assert pause.context["arguments_unchecked"].startswith("its schema ")
    approve_held(database, trace_id, arguments={"n": "two"})


def test_a_server_that_is_away_is_waited_for(database: Database) -> None:
    """As for a call; meanwhile the step says why it waits."""
    trace_id = start(database, step("a", hitl=True))
    used = tools()
    used.schemas["do_a"] = [AWAY, AWAY, ToolFound(SCHEMA)]
    for tries in (1, 2):
        work(database, trace_id, used)
        waiting = step_of(database, trace_id, "a")
        assert (waiting.status, waiting.error) == (
            "PENDING",
            Error(*("MCP_UNAVAILABLE", "the server is away"), {"tries": tries}),
        )
        wait(database, trace_id)
    work(database, trace_id, used)
    assert (step_of(database, trace_id, "a").status, step_of(database, trace_id, "a").error) == ("AWAITING_HUMAN", None)


@pytest.mark.parametrize(
    ("found", "code"),
    [([AWAY] * 5, "MCP_UNAVAILABLE"), ([Failed(Error("TOOL_NOT_FOUND", "none has it"))], "TOOL_NOT_FOUND")],
)
def test_a_missing_tool_opens_no_review(database: Database, found: list[Any], code: str) -> None:
    trace_id = start(database, step("a", hitl=True))
    used = tools()
    used.schemas["do_a"] = list(found)
    for _ in found[1:]:
        work(database, trace_id, used)
        wait(database, trace_id)
    work(database, trace_id, used)
    error = step_of(database, trace_id, "a").error
    assert error is not None
    assert (error.code, statuses(database, trace_id), pending_pauses(database)) == (code, ("FAILED", "FAILED"), 0)


def test_cancelled_during_its_tool_look_up(database: Database) -> None:
    trace_id = start(database, step("a", hitl=True))
    used = tools()
    used.schemas["do_a"] = [AWAY]
    work(database, trace_id, used)
    cancel_saga(database, OPERATOR, trace_id, "no more")
    work(database, trace_id, used)
    assert (statuses(database, trace_id), step_of(database, trace_id, "a").error) == (("FAILED", "SKIPPED"), None)

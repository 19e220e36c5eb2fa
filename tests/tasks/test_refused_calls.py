"""Tools that act, and whose answer something on the way replaces by its own: what the saga says, by the real engine."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from domain.sagas.saga import Saga, SagaStatus
from services.kernel.unit_of_work import Database
from services.manifests.definitions import deploy
from services.sagas.lifecycle import StartRequest, start_saga
from services.sagas.repository import lock
from tasks import sagas
from tasks.runtime import tool_calls
from tests.adapters.by_hand import PAY, Answer, ByHand, error, paid, result, status
from tests.services.world import ADMIN, AGENT


@pytest.fixture
def server() -> Iterator[ByHand]:
    repeatable = {**PAY, "name": "put", "annotations": {"idempotentHint": True}}
    server = ByHand(PAY, repeatable, {**PAY, "name": "refund"})
    yield server
    server.receiver.close()


def go_on(trace_id: UUID) -> None:
    sagas.advance_sagas(trace_id.hex)
    tool_calls().drain()


def run(database: Database, server: ByHand, *steps: dict[str, Any]) -> Saga:
    """As far as it goes without waiting."""
    source = {"name": "by-hand", "transport": "streamable_http", "url": server.source.url}
    deploy(database, ADMIN, {"kind": "worker", "name": "w", "version": "1", "tool_sources": [source]}, replace=True)
    deploy(database, ADMIN, {"kind": "saga", "name": "s", "version": "1", "steps": list(steps)}, replace=True)
    trace_id = start_saga(database, AGENT, StartRequest("default", "s", "1", {}))[0]
    go_on(trace_id)
    with database.transaction() as uow:
        stored = lock(uow, trace_id)
    assert stored is not None
    return stored.saga


def step(id_: str, tool: str = "pay", *, undo: bool = False) -> dict[str, Any]:
    worker = {"worker": "w", "worker_version": "1"}
    made = {"id": id_, "kind": "commit", **worker, "with": {}, "tools": {"allow": [tool]}}
    return made | ({"compensation": {**worker, "with": {}, "tools": ["refund"]}} if undo else {})


def names(server: ByHand) -> list[str]:
    bodies = [json.loads(request.body) for request in server.receiver.requests if request.body]
    return [body["params"]["name"] for body in bodies if body["method"] == "tools/call"]


JSON = {"content_type": "application/json"}


@pytest.mark.parametrize(
    "answer",
    [
        *[status(code, b"refused by the gateway") for code in (400, 401, 404, 422, 429, 500)],
        *[status(code, error(-32603, "upstream request timeout"), **JSON) for code in (200, 500, 504)],
    ],
)
def test_a_call_that_may_have_been_carried_out_is_made_once(database: Database, server: ByHand, answer: Answer) -> None:
    server.others["ping"] = lambda exchange, message: result(exchange, message, {})
    server.answers = [paid, answer]
    saga = run(database, server, step("first", undo=True), step("second", undo=True))
    assert names(server) == ["pay", "pay"]
    assert saga.needs_operator
    found = saga.steps[1].error
    assert found is not None
    assert found.code == "OUTCOME_UNKNOWN"


def test_what_the_gateway_said_is_kept_for_the_operator(database: Database, server: ByHand) -> None:
    server.answers = [status(422, b"refused by the gateway")]
    found = run(database, server, step("only")).steps[0].error
    assert found is not None
    assert found.details == {"answer": "refused by the gateway"}


def test_a_lost_session_is_repeated_once_in_all(database: Database, server: ByHand) -> None:
    server.answers = [status(404), status(404), paid]
    saga = run(database, server, step("only"))
    assert names(server) == ["pay", "pay"]
    assert saga.needs_operator


def test_an_undo_that_may_have_been_carried_out_is_made_once(database: Database, server: ByHand) -> None:
    no = {"isError": True, "content": [{"type": "text", "text": "no money"}]}
    server.answers = [paid, lambda exchange, message: result(exchange, message, no), status(429)]
    saga = run(database, server, step("first", undo=True), step("second"))
    assert names(server) == ["pay", "pay", "refund"]
    assert saga.status is SagaStatus.COMPENSATING
    assert saga.needs_operator


def test_an_idempotent_call_is_made_again_with_the_same_key(database: Database, server: ByHand) -> None:
    server.answers = [status(422)]
    saga = run(database, server, step("only", "put"))
    assert not saga.needs_operator
    server.answers = [paid]
    with database.transaction() as uow:
        uow.conn.exec_driver_sql("UPDATE sagas SET due_at = now()")
    go_on(saga.trace_id)
    calls = [json.loads(request.body) for request in server.receiver.requests if b"tools/call" in request.body]
    keys = [call["params"]["_meta"]["sagahold/idempotency-key"] for call in calls]
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_a_tool_that_did_its_work_completes_its_step(database: Database, server: ByHand) -> None:
    odd = ({"structuredContent": [1]}, {"content": [{"type": "text", "text": "null"}]}, {"isError": None})
    server.answers = [lambda exchange, message, value=value: result(exchange, message, value) for value in odd]
    saga = run(database, server, step("a"), step("b"), step("c"))
    assert saga.status is SagaStatus.COMPLETED
    assert [each.output for each in saga.steps] == [[1], None, {"text": "", "content": []}]


def test_credentials_that_are_refused_fail_the_step_at_once(database: Database, server: ByHand) -> None:
    server.others["initialize"] = status(401)
    saga = run(database, server, step("only"))
    assert saga.status is SagaStatus.FAILED
    assert saga.error is not None
    assert (saga.error.code, "HTTP 401" in saga.error.message) == ("MCP_UNAVAILABLE", True)


@pytest.mark.parametrize("code", [301, 302, 307, 308])
def test_a_redirect_to_elsewhere_is_not_tried_again(database: Database, server: ByHand, code: int) -> None:
    server.answers = [status(code, location="http://127.0.0.1:9/mcp")]
    saga = run(database, server, step("only"))
    assert names(server) == ["pay"]
    assert saga.status is SagaStatus.FAILED
    assert saga.error is not None
    assert (saga.error.code, "redirects to elsewhere" in saga.error.message) == ("MCP_UNAVAILABLE", True)

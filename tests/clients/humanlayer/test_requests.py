"""Refused and repeated requests, as the clients send them."""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import httpx
import pytest

from cli.devstack import Stack
from services.kernel.unit_of_work import Database
from tests.clients.clock import age
from tests.clients.desk import Desk

Clients = Callable[..., httpx.Client]
CALL: dict[str, Any] = {
    "run_id": "run-1",
    "call_id": "call-1",
    "spec": {"fn": "wire_money", "kwargs": {"to": "ACME", "amount": 9000}, "channel": None, "reject_options": None},
    "status": None,
}
CONTACT: dict[str, Any] = {"run_id": "run-1", "call_id": "call-1", "spec": {"msg": "Which vendor?"}}


@pytest.fixture
def agent(desk: Desk) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {desk.agent_key}"}
    with httpx.Client(base_url=f"{desk.url}/compat/humanlayer/v1", headers=headers) as client:
        yield client


def with_spec(**spec: Any) -> dict[str, Any]:
    return {**CALL, "spec": {**CALL["spec"], **spec}}


def ask(agent: httpx.Client, body: dict[str, Any] = CALL) -> dict[str, Any]:
    answer: dict[str, Any] = agent.post("/function_calls", json=body).raise_for_status().json()
    return answer


def status(agent: httpx.Client, call_id: str = "call-1", table: str = "function_calls") -> dict[str, Any]:
    found: dict[str, Any] = agent.get(f"/{table}/{call_id}").raise_for_status().json()["status"]
    return found


def error_of(response: httpx.Response) -> tuple[int, str, str]:
    body = response.json()
    return response.status_code, body["code"], body["detail"]


def test_the_answer_is_the_call_with_its_status(agent: httpx.Client) -> None:
    made = agent.post("/function_calls", json=CALL)
    assert made.status_code == 201
    asked = made.json()["status"]["requested_at"]
    pending = {"requested_at": asked, "responded_at": None, "approved": None, "comment": None}
    assert made.json() == {**CALL, "status": {**pending, "reject_option_name": None, "slack_message_ts": None}}
    assert agent.get("/function_calls/call-1").json() == made.json()


def test_an_id_stands_for_one_request(agent: httpx.Client, desk: Desk, client_for: Clients) -> None:
    """Function calls and questions have ids of their own, and so has each key."""
    ask(agent)
    assert agent.post("/function_calls", json={**CALL, "run_id": "run-2"}).status_code == 200
    assert error_of(agent.post("/function_calls", json=with_spec(kwargs={"amount": 1})))[:2] == (409, "CONFLICT")
    assert agent.post("/contact_requests", json=CONTACT).status_code == 201
    other = client_for("agent")
    headers = {"Authorization": other.headers["Authorization"]}
    assert agent.get("/function_calls/call-1", headers=headers).status_code == 404
    assert agent.post("/function_calls", json=CALL, headers=headers).status_code == 201
    assert len(desk.pending(3)) == 3


def test_an_unknown_id(agent: httpx.Client) -> None:
    for table, call_id in product(("function_calls", "contact_requests"), ("call-2", "%00", "%ED%A0%80", "x" * 300)):
        assert error_of(agent.get(f"/{table}/{call_id}"))[:2] == (404, "NOT_FOUND")


@pytest.mark.parametrize("table", ["function_calls", "human_contacts"])
def test_no_agent_decides_or_escalates(agent: httpx.Client, desk: Desk, client_for: Clients, table: str) -> None:
    """Nor does a key of another role, on its own request or on another's."""
    admin = {"Authorization": client_for("admin").headers["Authorization"]}
    reviewer = {"Authorization": desk.http.headers["Authorization"]}
    for headers in ({}, admin):
        agent.post("/function_calls", json=CALL, headers=headers).raise_for_status()
        agent.post("/contact_requests", json=CONTACT, headers=headers).raise_for_status()
    body = {"approved": True, "response": "yes", "comment": "by the agent"}
    answers = [agent.post(f"/agent/{table}/call-1/respond", json=body, headers=by) for by in ({}, admin, reviewer)]
    assert [error_of(answer)[:2] for answer in answers] == [(403, "FORBIDDEN"), (403, "FORBIDDEN"), (404, "NOT_FOUND")]
    assert "never decides" in error_of(answers[1])[2]
    refused = error_of(agent.post(f"/agent/{table}/call-1/escalate_email", json={"escalation_msg": "urgent"}))
    assert refused[:2] == (403, "FORBIDDEN")
    assert "set `escalate`" in refused[2]
    assert len(desk.pending(4)) == 4


# A request that nothing is held for, and the place of its error.
UNUSABLE: list[tuple[Any, str]] = [
    ([], ""),
    ({**CALL, "call_id": None}, "call_id"),
    ({**CALL, "call_id": "x" * 151}, "call_id"),
    ({**CALL, "call_id": "order/1042"}, "call_id"),
    ({**CALL, "call_id": "order?1042"}, "call_id"),
    ({**CALL, "call_id": ".."}, "call_id"),
    ({**CALL, "spec": None}, "spec"),
    ({**CALL, "status": {"approved": True}}, "status"),
    ({**CALL, "run_id": 7}, "run_id"),
    (with_spec(fn=" "), "spec.fn"),
    (with_spec(fn=None), "spec.fn"),
    (with_spec(kwargs="ACME"), "spec.kwargs"),
    (with_spec(state={"x": "x" * 140_000}), "spec"),
    (
        with_spec(channel={"slack": {"channel_or_user_id": "C1", "allowed_responder_ids": ["U1"]}}),
        "spec.channel.slack.allowed_responder_ids",
    ),
    (with_spec(channel={"email": {"address": "nobody@example.org"}}), "spec.channel.email.address"),
    (with_spec(reject_options=[{"name": "a"}, {"name": "a"}]), "spec.reject_options[1].name"),
]


def test_an_unusable_request_holds_nothing(agent: httpx.Client, desk: Desk) -> None:
    for body, place in UNUSABLE:
        code, kind, detail = error_of(agent.post("/function_calls", json=body))
        assert (code, kind) == (422, "VALIDATION_FAILED"), body
        assert detail.startswith(f"{place}"), detail
    assert desk.all() == []


def test_without_a_key(agent: httpx.Client) -> None:
    response = httpx.get(f"{agent.base_url}function_calls/call-1")
    assert error_of(response)[:2] == (401, "UNAUTHENTICATED")


def test_an_approval_is_handed_out_until_it_ends(agent: httpx.Client, desk: Desk, stack_database: Database) -> None:
    """Each answer is the same, then a rejection: a process that starts again must not run what has become old."""
    ask(agent)
    watch_id = desk.decide("approve", comment="Fine.")
    first = status(agent)
    assert (first["approved"], first["comment"], status(agent)) == (True, "Fine.", first)
    assert ask(agent)["status"] == first
    (pause,) = desk.all()
    assert pause["decision"]["validUntil"] > pause["consumption"]["consumedAt"]
    age(stack_database, watch_id, 900)
    late = status(agent)
    assert late["approved"] is False
    assert late["comment"].endswith("Request a new one.")


def test_an_approval_that_was_not_fetched_in_time(agent: httpx.Client, desk: Desk, stack_database: Database) -> None:
    ask(agent)
    age(stack_database, desk.decide("approve"), 900)
    assert status(agent)["approved"] is False
    assert "consumption" not in desk.all()[0]


def test_an_approval_that_was_used_elsewhere(agent: httpx.Client, desk: Desk) -> None:
    ask(agent)
    watch_id = desk.decide("approve")
    headers = {"Authorization": f"Bearer {desk.agent_key}", "Idempotency-Key": "elsewhere"}
    httpx.post(f"{desk.url}/api/pause/{watch_id}/consume", json={}, headers=headers).raise_for_status()
    found = status(agent)
    assert found["approved"] is False
    assert "with another Idempotency-Key" in found["comment"]


def test_an_approval_with_a_reason_to_reject(agent: httpx.Client, desk: Desk) -> None:
    """A contradiction is no approval. Without a reason chosen, an approval needs no response."""
    options = [{"name": "late", "title": "Too late", "description": "The month is closed"}]
    ask(agent, with_spec(reject_options=options))
    (pause,) = desk.pending()
    reason = pause["responseSchema"]["properties"]["option"]["oneOf"]
    assert reason == [{"const": "late", "title": "Too late: The month is closed"}]
    desk.decide("approve", response={"option": "late"})
    assert status(agent) | {"requested_at": "", "responded_at": ""} == {
        "requested_at": "",
        "responded_at": "",
        "approved": False,
        "comment": "The reviewer approved, but also chose the reason 'late' for a rejection. Request a new decision.",
        "reject_option_name": "late",
        "slack_message_ts": None,
    }
    ask(agent, {**with_spec(reject_options=options), "call_id": "call-2"})
    desk.decide("approve")
    assert status(agent, "call-2")["approved"] is True


def test_a_pause_that_only_names_the_door(agent: httpx.Client, desk: Desk) -> None:
    """The agent may send any metadata to the API itself. Arguments that it did not submit here are an edit."""
    body = {
        "action": "x",
        "arguments": {"amount": 1},
        "externalId": "function_call:call-1",
        "metadata": {"door": "humanlayer", "submission": "text", "client": "text"},
    }
    headers = {"Authorization": f"Bearer {desk.agent_key}"}
    httpx.post(f"{desk.url}/api/pause", json=body, headers=headers).raise_for_status()
    desk.decide("approve")
    assert status(agent)["approved"] is False


def test_an_address_narrows_who_decides(
    stack: Stack, agent: httpx.Client, desk: Desk, namespace: str, client_for: Clients
) -> None:
    admin = client_for("admin", ["*"])
    person = {"email": f"ann@{namespace}.example", "name": "Ann", "role": "reviewer", "namespaces": [namespace]}
    admin.post("/v1/people", json=person).raise_for_status()
    ask(agent, with_spec(channel={"email": {"address": person["email"].upper(), "context_about_user": "the boss"}}))
    (pause,) = desk.pending()
    assert pause["waitingFor"]["assignees"] == [person["email"]]
    assert desk.http.post(f"/api/pause/{pause['watchId']}/approve", json={}).status_code == 403


def test_a_token_of_slack_is_kept_nowhere(agent: httpx.Client, desk: Desk) -> None:
    answer = ask(agent, with_spec(channel={"slack": {"channel_or_user_id": "C1", "bot_token": "xoxb-secret"}}))
    assert "xoxb" not in str(answer)
    assert "xoxb" not in str(desk.pending())


def test_positional_arguments_are_not_shown(agent: httpx.Client, desk: Desk) -> None:
    """The client does not send them, and the page says so."""
    ask(agent, with_spec(kwargs={}))
    (pause,) = desk.pending()
    assert "does not send positional arguments" in pause["agentContext"]["context"]["note"]


def test_a_question_has_a_form(agent: httpx.Client, desk: Desk) -> None:
    options = [{"name": "acme", "title": "ACME", "prompt_fill": "Take ACME."}]
    asked = {**CONTACT, "spec": {"msg": "Which vendor?", "subject": "Order 7", "response_options": options}}
    agent.post("/contact_requests", json=asked).raise_for_status()
    (pause,) = desk.pending()
    assert pause["agentContext"]["action"] == "Order 7"
    assert pause["agentContext"]["context"] == {"question": "Which vendor?", "subject": "Order 7"}
    path = f"/api/pause/{pause['watchId']}/approve"
    assert [desk.http.post(path, json=body).status_code for body in ({}, {"response": {}})] == [422, 422]
    assert status(agent, table="contact_requests")["response"] is None
    desk.decide("approve", response={"option": "acme", "text": "But only once."})
    found = status(agent, table="contact_requests")
    assert (found["response"], found["response_option_name"]) == ("But only once.", "acme")
    # A choice beside a rejection is no answer.
    agent.post("/contact_requests", json={**asked, "call_id": "call-2"}).raise_for_status()
    desk.decide("reject", comment="Ask later.", response={"option": "acme"})
    found = status(agent, "call-2", "contact_requests")
    assert (found["response"], found["response_option_name"]) == ("There is no answer. Ask later.", None)

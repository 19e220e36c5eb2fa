"""A whole stack with a collector: spans of requests, sagas, models, webhooks and notifications."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from cli.devstack import Stack
from domain.values.version import VERSION
from tests.adapters.receiver import Receiver, Request
from tests.api.conftest import Team, team, until  # noqa: F401
from tests.collector import CLIENT, SERVER, Collector, Sent
from tests.conftest import ALONE
from tests.sagas import Sagas, deploy, reason_step, row, saga, span, step, undo, worker

SECRET = "hunter2-and-more"
CALLER = "00-" + "c" * 32 + "-" + "d" * 16 + "-01"
STARTER = "00-" + "e" * 32 + "-" + "f" * 16 + "-01"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture(scope="module")
def stack(collector: Collector) -> Iterator[Stack]:
    """Spans leave it when its processes end, or when there are very many."""
    environ = ALONE | collector.environ | {"OTEL_BSP_SCHEDULE_DELAY": "600000"}
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder), environ=environ) as running:
        yield running


@dataclass(frozen=True)
class Story:
    """The work that was done and its spans."""

    team: Team
    done: dict[str, Any]
    undone: dict[str, Any]
    repeated: dict[str, Any]
    hook: Request
    pauses: dict[str, str]
    spans: list[Sent]

    def of(self, trace_id: str, prefix: str = "") -> list[Sent]:
        found = [sent for sent in self.spans if sent.trace_id == trace_id and sent.name.startswith(prefix)]
        return sorted(found, key=lambda sent: sent.span.start_time_unix_nano)


@pytest.fixture(scope="module")
def story(stack: Stack, collector: Collector, team: Team) -> Iterator[Story]:  # noqa: F811
    """With the secret in every place that a secret may be in."""
    with Receiver() as hooks, Receiver() as chat:
        url = f"{hooks.url}/{SECRET}?key={SECRET}"
        made = team.admin.post("/v1/webhooks/endpoints", json={"url": url, "namespaces": [team.namespace]})
        assert made.status_code == 201, made.text
        _person(team, f"json://user:{SECRET}@127.0.0.1:{chat.port}/{SECRET}?+x={SECRET}")
        sagas = Sagas(team.agent, team.reviewer)
        _deploy(team)
        wanted = {"name": "thinks", "version": "1", "input": {"value": SECRET}}
        started = team.agent.post("/v1/sagas/start", json=wanted, headers={"traceparent": STARTER})
        trace_id = started.json()["trace_id"]
        draft = span(sagas.when(trace_id, "AWAITING_HUMAN"), "draft")
        chat.wait_for(1)
        answer = team.reviewer.post(f"/v1/sagas/{trace_id}/steps/{draft}/approve", json={}, headers=_caller())
        assert answer.status_code == 202, answer.text
        done = sagas.when(trace_id, "COMPLETED")
        undone = sagas.when(sagas.start("fails", input={"value": SECRET}), "COMPENSATED")
        repeated = _repeated(team, sagas)
        pauses = _pauses(team)
        key = team.agent.headers["Authorization"].removeprefix("Bearer ")
        for path in ("/healthz", f"/r/{SECRET}", f"/api/pause/{key}?key={SECRET}", f"/v1/sagas?q={SECRET}"):
            team.agent.get(path, headers=_caller())
        hooks.wait_for(1)
        # They wait for no batch to be due.
        for name in ("web", "worker"):
            stack.stop_process(name)
        yield Story(team, done, undone, repeated, hooks.requests[0], pauses, collector.spans())


def _repeated(team: Team, sagas: Sagas) -> dict[str, Any]:  # noqa: F811
    """Its undo fails twice."""
    failed = sagas.when(sagas.start("undo-fails", input={"value": SECRET}), "FAILED", needs_operator=True)
    undone = span(failed, "one", undo=True)
    again = team.operator.post(f"/v1/sagas/{failed['trace_id']}/steps/{undone}/retry-compensation", json={})
    assert again.status_code == 202, again.text
    until(lambda: row(sagas.read(failed["trace_id"]), "one", undo=True)["attempt"] == 2)
    return sagas.when(failed["trace_id"], "FAILED", needs_operator=True)


def _pauses(team: Team) -> dict[str, str]:  # noqa: F811
    """Resolve one pause outside a saga in each way, and return its watchId by status."""
    new = {"action": SECRET, "arguments": {"value": SECRET}, "context": {"step_id": SECRET, "saga": {"name": SECRET}}}
    ended = {status: team.pause(**new)["watchId"] for status in ("approved", "rejected", "cancelled")}
    ended["expired"] = team.pause(**new, expiresIn=1)["watchId"]
    for verb, status in (("approve", "approved"), ("reject", "rejected")):
        body = {"comment": SECRET, "revision": 1}
        assert team.reviewer.post(f"/api/pause/{ended[status]}/{verb}", json=body).status_code == 200
    assert team.agent.post(f"/api/pause/{ended['cancelled']}/cancel", json={}).status_code == 200
    until(lambda: team.agent.get(f"/api/pause/{ended['expired']}").json()["status"] == "expired")
    return ended


def _caller() -> dict[str, str]:
    return {"traceparent": CALLER, "User-Agent": SECRET}


def _person(team: Team, channel: str) -> None:  # noqa: F811
    new = {"email": f"{team.namespace}@example.com", "name": "A", "role": "reviewer", "namespaces": [team.namespace]}
    answer = team.admin.post("/v1/people", json=new | {"channels": [channel]})
    assert answer.status_code == 201, answer.text


def _deploy(team: Team) -> None:  # noqa: F811
    secret = {"value": {"value": SECRET}}
    draft = reason_step(
        "draft",
        f"{SECRET} about {{{{ topic }}}}.",
        tools={"allow": ["meta", "fail"]},
        output_schema={"type": "object", "properties": {"title": {"type": "string", "description": SECRET}}},
        hitl=True,
        mock=[
            {"call": "meta", "arguments": {"idempotency_key": SECRET}},
            {"call": "fail", "arguments": {"message": SECRET}},
            {"submit": {"title": SECRET}},
        ],
    )
    look = step("look", "meta", **{"with": {"idempotency_key": {"value": SECRET}}})
    fail = step("two", "fail", **{"with": {"message": {"from": "$.input.value"}}})
    for document in (
        worker(team.namespace) | {"provider": "mock", "model_name": "m1", "system_prompt": SECRET},
        saga(team.namespace, "thinks", look, draft, step("send", **{"with": secret})),
        saga(team.namespace, "undo-fails", step("one", compensation=undo("fail")), fail),
        saga(team.namespace, "fails", step("one", compensation=undo()), fail),
    ):
        deploy(team.admin, document)


def test_a_saga_is_one_trace_under_its_own_ids(story: Story) -> None:
    steps = story.of(story.done["trace_id"], "step ")
    assert [sent.name for sent in steps] == ["step look", "step draft", "step send"]
    assert [sent.span_id for sent in steps] == [each["step_span_id"] for each in story.done["steps"]]
    assert {sent.parent for sent in steps} == {""}
    look, draft, _ = steps
    assert (look.service, look.span.kind, look.failed) == ("sagahold-worker", CLIENT, False)
    assert look.attributes == {
        "sagahold.saga": "thinks",
        "sagahold.saga.version": "1",
        "sagahold.namespace": story.team.namespace,
        "sagahold.step": "look",
        "sagahold.attempt": 1,
        "sagahold.outcome": "OK",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "meta",
    }
    assert look.version == VERSION
    told = story.done["context"]["steps"]["look"]["output"]["data"]["meta"]["traceparent"]
    assert told == f"00-{look.trace_id}-{look.span_id}-01"
    assert (draft.attributes["gen_ai.request.model"], draft.attributes["gen_ai.response.model"]) == ("m1", "m1")


def test_who_started_a_saga_is_linked_to_its_trace(story: Story) -> None:
    (begun,) = story.of(story.done["trace_id"], "start ")
    (request,) = story.of("e" * 32)
    assert (begun.name, begun.parent, begun.links) == ("start thinks", "", [("e" * 32, "f" * 16)])
    assert (request.name, request.parent) == ("POST /v1/sagas/start", "f" * 16)
    assert request.links == [(story.done["trace_id"], begun.span_id)]
    (other,) = story.of(story.undone["trace_id"], "start ")
    assert other.links == []


def test_a_hold_is_a_span(story: Story) -> None:
    (hold,) = story.of(story.done["trace_id"], "hold ")
    draft, send = story.of(story.done["trace_id"], "step ")[1:]
    assert (hold.name, hold.parent, hold.failed) == ("hold draft", "", False)
    assert hold.attributes == {
        "sagahold.saga": "thinks",
        "sagahold.saga.version": "1",
        "sagahold.namespace": story.team.namespace,
        "sagahold.step": "draft",
        "sagahold.watch_id": row(story.done, "draft")["watch_id"],
        "sagahold.outcome": "approved",
    }
    # Two clocks of one machine: the database's, and the worker's.
    began, ended = hold.span.start_time_unix_nano, hold.span.end_time_unix_nano
    assert draft.span.start_time_unix_nano < began < ended < send.span.end_time_unix_nano


@pytest.mark.parametrize("status", ["approved", "rejected", "cancelled", "expired"])
def test_a_bare_pause_is_a_span(story: Story, status: str) -> None:
    """From its creation to its end, in a trace that has the digits of its id."""
    watch_id = story.pauses[status]
    (hold,) = story.of(watch_id.removeprefix("wch_"))
    assert (hold.name, hold.parent, hold.failed) == ("hold", "", False)
    assert hold.attributes == {
        "sagahold.namespace": story.team.namespace,
        "sagahold.watch_id": watch_id,
        "sagahold.outcome": status,
    }
    assert hold.span.start_time_unix_nano < hold.span.end_time_unix_nano


def test_what_a_model_asks_and_calls_is_within_its_step(story: Story) -> None:
    (draft,) = story.of(story.done["trace_id"], "step draft")
    within = [sent for sent in story.spans if sent.parent == draft.span_id]
    within.sort(key=lambda sent: sent.span.start_time_unix_nano)
    assert {sent.trace_id for sent in within} == {draft.trace_id}
    assert [(sent.name, sent.failed) for sent in within] == [
        ("chat script", False),
        ("execute_tool meta", False),
        ("chat script", False),
        ("execute_tool fail", True),
        ("chat script", False),
    ]
    chats = [sent for sent in within if sent.name == "chat script"]
    assert {sent.attributes["gen_ai.provider.name"] for sent in chats} == {"mock"}
    assert {sent.attributes["gen_ai.response.model"] for sent in chats} == {"script"}
    used = sum(int(sent.attributes.get("gen_ai.usage.output_tokens", 0)) for sent in within)
    assert used == draft.attributes["gen_ai.usage.output_tokens"] > 0


def test_what_fails_says_so_by_its_code(story: Story) -> None:
    (two,) = story.of(story.undone["trace_id"], "step two")
    assert two.failed
    assert not two.span.status.message
    assert two.attributes["error.type"] == two.attributes["sagahold.outcome"] == "TOOL_INVOKE_FAILED"
    (undone,) = story.of(story.undone["trace_id"], "undo")
    assert undone.span_id == row(story.undone, "one", undo=True)["step_span_id"]
    assert not undone.failed


def test_of_two_executions_each_has_a_span(story: Story) -> None:
    """The first has the step's own id; a second span of that id would be taken for the same one."""
    first, second = story.of(story.repeated["trace_id"], "undo one")
    assert first.span_id == row(story.repeated, "one", undo=True)["step_span_id"] != second.span_id
    assert [each.attributes["sagahold.attempt"] for each in (first, second)] == [1, 2]


def test_a_request_is_a_part_of_its_callers_trace(story: Story) -> None:
    approve, review, pause, listed = story.of("c" * 32)
    assert (approve.service, approve.span.kind, approve.parent) == ("sagahold-web", SERVER, "d" * 16)
    route = "/v1/sagas/{trace_id}/steps/{step_span_id}/approve"
    assert approve.name == f"POST {route}"
    assert approve.attributes == {
        "http.request.method": "POST",
        "http.route": route,
        "http.response.status_code": 202,
        "url.path": approve.attributes["url.path"],
        "url.scheme": "http",
        "network.protocol.version": "1.1",
    }
    assert (review.attributes["url.path"], pause.attributes["url.path"]) == ("/r/…", "/api/pause/hitl_…")
    assert (pause.attributes["http.response.status_code"], pause.failed) == (400, False)
    assert listed.attributes["url.path"] == "/v1/sagas"
    assert "GET /healthz" not in {sent.name for sent in story.spans}


def test_a_webhooks_receiver_gets_its_span(story: Story) -> None:
    (sent,) = [
        sent for sent in story.spans if sent.attributes.get("sagahold.webhook.id") == story.hook.headers["webhook-id"]
    ]
    assert story.hook.headers["traceparent"] == f"00-{sent.trace_id}-{sent.span_id}-01"
    assert (sent.name, sent.span.kind, sent.parent) == ("POST webhook", CLIENT, "")
    told = {name: sent.attributes[name] for name in ("server.address", "http.response.status_code")}
    assert told == {"server.address": "127.0.0.1", "http.response.status_code": 200}


def test_a_message_to_people(story: Story) -> None:
    (sent, *_) = [sent for sent in story.spans if sent.name == "send notification"]
    assert sent.attributes.keys() == {"sagahold.notification.id"}
    assert not sent.failed


def test_no_secret_is_in_any_of_it(story: Story, collector: Collector) -> None:
    key = story.team.agent.headers["Authorization"].removeprefix("Bearer ")
    for request in collector.requests:
        for secret in (SECRET, key):
            assert secret.encode() not in request.body
    assert json.dumps(story.done).count(SECRET) > 3, "it was nowhere"
    assert SECRET in urlsplit(story.hook.line.split()[1]).query

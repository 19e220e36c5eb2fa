"""The TypeScript SDK against the server: expiry, validity, edits, odd arguments, each step by itself, webhooks."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from cli.devstack.waiting import wait_until
from tests.adapters.receiver import Receiver
from tests.clients.desk import WITHIN, Desk
from tests.clients.node_agent import Agent, lines

pytestmark = pytest.mark.timeout(600)
Start = Callable[..., Agent]

CALL = """
import { Client, SagaholdError, requireApproval } from "@sagahold/client";
const [given, { apiKey, ...options }, dies] = process.argv.slice(2).map((each) => JSON.parse(each));
const client = new Client({
  apiKey,
  fetch: (address, init) => {
    if (dies && address.endsWith("/consume")) process.kill(process.pid, "SIGKILL");
    return fetch(address, init);
  },
});
async function act(received) {
  console.log(JSON.stringify({ received }));
}
try {
  await requireApproval(act, { action: "Act", key: "k", client, ...options })(given);
} catch (error) {
  if (!(error instanceof SagaholdError)) throw error;
  const { name, message, status, decision } = error;
  console.log(JSON.stringify({ name, message, status, comment: decision?.comment }));
}
"""


@pytest.fixture
def act(start: Start) -> Start:
    """`act(arguments, dies=False, **options)`: start a process that makes one held call."""

    def run(given: object = None, *, dies: bool = False, **options: object) -> Agent:
        return start(CALL, json.dumps(given or {}), json.dumps(options), json.dumps(dies))

    return run


def said(agent: Agent) -> dict[str, Any]:
    (line,) = lines(agent.ended())
    assert isinstance(line, dict)
    return line


def test_an_edit_must_fit_and_then_runs(desk: Desk, act: Start) -> None:
    agent = act({"order": "A-1", "cents": 12_900}, review={"approvals": 1})
    (pending,) = desk.pending()
    assert (pending["approvalValidFor"], pending["metadata"]["door"]) == (900, "js-sdk")
    for wrong in ({"order": "A-1"}, {"order": "A-1", "cents": "1"}, {"order": "A-1", "cents": 1, "to": "me"}):
        refused = desk.http.post(f"/api/pause/{pending['watchId']}/approve", json={"arguments": wrong})
        assert refused.status_code == 422, refused.text
    edited = {"order": "A-1", "cents": 9_900.5}
    desk.decide("approve", arguments=edited, comment="not late", revision=1)
    assert said(agent) == {"received": edited}
    assert said(act({"order": "A-1", "cents": 12_900}))["name"] == "AlreadyUsed"


def test_rejected(desk: Desk, act: Start) -> None:
    agent = act()
    desk.decide("reject", comment="not today")
    error = said(agent)
    assert (error["name"], error["comment"]) == ("Rejected", "not today")
    assert "was rejected by test reviewer: not today. Do not run it." in error["message"]


def test_expired(desk: Desk, act: Start) -> None:
    assert said(act(expiresIn=1))["name"] == "Expired"
    assert said(act(expiresIn=1))["name"] == "Expired"
    assert len(desk.all()) == 1


def test_an_approval_that_was_not_used_in_time(desk: Desk, act: Start) -> None:
    agent = act(validFor=1, dies=True)
    watch_id = desk.decide("approve")
    agent.ended(-9)
    until = desk.http.get(f"/api/pause/{watch_id}").json()["decision"]["validUntil"]
    assert wait_until(lambda: datetime.now(UTC) > datetime.fromisoformat(until), WITHIN)
    error = said(act(validFor=1))
    assert error["name"] == "ApprovalExpired"
    assert f"valid only until {until}" in error["message"]


ODD: dict[str, Any] = {
    "floats": [0.1, -0.5, 5e-324, 1e-7, 1e-6, 123456.789],
    "integers": [0, -1, 2**53 - 1, -(2**53) + 1],
    "texts": ["é€😀", "\u2028\u2029", "\x01\x1f\x7f", '"\\/', "\ufeff", "דּ"],
    "names": {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "ö": 7, "": 8},
    "nested": {"a": [[], {}, [None, True, False, {"b": [1.5]}]]},
}


def test_odd_arguments_have_the_digest_of_the_server(desk: Desk, act: Start) -> None:
    agent = act({"value": ODD, "other": 1})
    desk.decide("approve")
    assert said(agent) == {"received": {"value": ODD, "other": 1}}
    agent = act({"value": ODD, "other": 0})
    desk.decide("approve", arguments={"value": ODD, "other": 2.5})  # these come from the server
    assert said(agent) == {"received": {"value": ODD, "other": 2.5}}


def test_of_two_processes_with_one_key_one_runs(desk: Desk, act: Start) -> None:
    agents = [act(), act()]
    desk.decide("approve")
    found = [said(agent) for agent in agents]
    assert sorted(each.get("name", "ran") for each in found) == ["AlreadyUsed", "ran"]
    assert len(desk.all()) == 1


def test_a_key_that_the_server_forgot_still_finds_its_pause(
    desk: Desk, act: Start, stack_database: Any, namespace: str
) -> None:
    """The server keeps an Idempotency-Key for a day after the decision."""
    agent = act()
    desk.decide("approve")
    assert said(agent) == {"received": {}}
    with stack_database.transaction() as uow:
        uow.conn.exec_driver_sql("DELETE FROM idempotency_keys WHERE namespace = %s", (namespace,))
    assert said(act())["name"] == "AlreadyUsed"
    assert len(desk.all()) == 1


STEPS = """
import assert from "node:assert/strict";
import { AlreadyUsed, Client, RequestError, StillPending } from "@sagahold/client";
const client = new Client();
const code = (expected) => (error) => error instanceof RequestError && error.code === expected;
const fields = { arguments: { v: 1 }, context: { why: "x" }, priority: 3, tags: ["a"], expiresIn: null, validFor: 60 };
const made = await client.request("Deploy", { ...fields, key: "step-by-step" });
assert.deepEqual(await client.request("Deploy", { ...fields, key: "step-by-step" }), made);
await assert.rejects(client.request("Other", { key: "step-by-step" }), code("IDEMPOTENCY_KEY_REUSED"));
await assert.rejects(client.request(""), (error) => error.errors[0].path === "action");
await assert.rejects(client.wait(made, { timeout: 0 }), StillPending);
await assert.rejects(client.consume(made), StillPending);
const events = client.events(made);
assert.equal((await events.next()).value.type, "pause.created");
console.log("waits");
assert.equal((await events.next()).value.type, "pause.approved");
assert.ok((await events.next()).done);
const pause = await client.wait(made);
await assert.rejects(client.outcome(pause, "succeeded"), code("NOT_CONSUMED"));
const all = async (filters) => {
  const found = [];
  for await (const each of client.list(filters)) found.push(each.watchId);
  return found;
};
assert.deepEqual(await all({ consumed: false, status: "approved", limit: 1 }), [made.watchId]);
const used = await client.consume(pause);
await assert.rejects(client.consume(pause), AlreadyUsed);
const done = await client.outcome(used, "unknown", { note: "no answer", result: { tries: 3 } });
assert.deepEqual(done.outcome.result, { tries: 3 });
assert.deepEqual(await client.get(made.watchId), done);
await assert.rejects(client.outcome(used, "failed"), code("OUTCOME_CONFLICT"));
assert.deepEqual(await all({ consumed: false, status: "approved" }), []);
const others = [];
for (let number = 0; number < 3; number += 1) others.unshift((await client.request(`Deploy ${number}`)).watchId);
assert.deepEqual(await all({ limit: 2 }), [...others, made.watchId]);
assert.equal((await client.cancel(others[0], "no longer needed")).decision.comment, "no longer needed");
"""


def test_each_step_by_itself(desk: Desk, start: Start) -> None:
    agent = start(STEPS)
    assert agent.line() == "waits\n"
    desk.decide("approve")
    assert agent.ended() == ""


@pytest.mark.parametrize(("role", "status"), [("", 401), ("reviewer", 403)])
def test_a_key_that_may_not_ask(desk: Desk, act: Start, role: str, status: int) -> None:
    own = desk.http.headers["Authorization"].removeprefix("Bearer ") if role else "hitl_wrong"
    error = said(act(apiKey=own))
    assert (error["name"], error["status"]) == ("RequestError", status)
    assert desk.all() == []


def test_an_agent_that_sees_other_pauses_uses_none(desk: Desk, start: Start, client_for: Any) -> None:
    other: httpx.Client = client_for("agent")
    made = other.post("/api/pause", json={"action": "Deploy"}).json()["watchId"]
    program = """
    import { Client } from "@sagahold/client";
    await new Client().get(process.argv[2]).catch((error) => console.log(error.status));
    """
    assert start(program, made).ended() == "404\n"


VERIFY = """
import { readFileSync } from "node:fs";
import { verifyWebhook } from "@sagahold/client";
const [file, headers, secret] = process.argv.slice(2);
const event = await verifyWebhook(readFileSync(file), JSON.parse(headers), secret);
console.log(JSON.stringify([event.id, event.type, event.data.watchId]));
"""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def test_a_webhook_of_the_server_is_verified(
    desk: Desk, start: Start, receiver: Receiver, client_for: Any, namespace: str, tmp_path: Any
) -> None:
    agent: httpx.Client = client_for("agent")
    secret = agent.get("/v1/webhooks/signing-secret", params={"namespace": namespace}).json()["secret"]
    agent.post("/api/pause", json={"action": "Déploy 😀", "callbackUrl": receiver.url}).raise_for_status()
    watch_id = desk.decide("approve")
    (request,) = [each for each in receiver.wait_for(1) if b'"pause.approved"' in each.body]
    (tmp_path / "body").write_bytes(request.body)
    printed = lines(start(VERIFY, tmp_path / "body", json.dumps(dict(request.headers)), secret).ended())
    assert printed == [[request.headers["webhook-id"], "pause.approved", watch_id]]

"""First part of the demo: pauses that are approved, rejected and expired, reported from the actual responses."""

import time
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from rich.text import Text

from cli.client import Server
from cli.demo.agent import Agent, AgentOutcome
from cli.demo.deviation import Deviation, expect
from cli.demo.narrator import Narrator
from cli.demo.receiver import ReceivedMessage, Receiver
from cli.devstack.waiting import wait_until
from cli.views.output import span, status
from domain.identity.access import Role

# Each step takes milliseconds, and the expiry its second and a sweep or two. A busy machine takes longer.
STEP_SECONDS = 60.0
EXPIRES_IN = 1
DEPLOY = {
    "action": "Deploy to production (v2.4.1)",
    "context": {"environment": "prod", "commit": "a3f9b2e"},
    "arguments": {"service": "shop", "version": "2.4.1"},
}
CLEAN_UP = {"action": "Delete 4,812 inactive accounts", "context": {"database": "crm-prod", "backup": "none"}}
MAIL = {"action": "Send the outage mail to 20,310 customers", "context": {"sent_by": "support agent"}}


class Story:
    """Pauses on the demo's stack. `credentials` holds a key for each role, as `sagahold up` writes them."""

    def __init__(self, narrator: Narrator, url: str, credentials: Mapping[str, str], receiver: Receiver) -> None:
        self._narrator = narrator
        self._receiver = receiver
        self._agent = Agent(url, credentials["agent_key"])
        people = {str(role): credentials[f"{role}_key"] for role in (Role.REVIEWER, Role.OPERATOR)}
        self._people = Server(url, people, "the demo's stack")

    def run(self) -> None:
        """Run this part. Raises `Deviation` at an unexpected result, or `Failure` at an error response."""
        self._receiver.secret = self._agent.signing_secret()
        self._narrator.chapter("A person approves")
        self._decided(DEPLOY, "approve", "approved", "Tests are green")
        self._narrator.chapter("A person rejects")
        rejected = self._decided(CLEAN_UP, "reject", "rejected", "Take a backup first")
        self._narrator.chapter("No one decides")
        self._unanswered()
        self._narrator.chapter("An attacker forges a webhook")
        self._forged(rejected)
        expect("the number of webhooks", len({message.id for message in self._receiver.verified}), 3)

    def _decided(self, draft: Mapping[str, Any], verb: str, outcome: str, comment: str) -> ReceivedMessage:
        pause = self._posted(draft, expiresIn=600)
        waiting = self._agent.wait(pause["watchId"])
        self._await_long_poll()
        self._narrator.line("", f"GET {_route(pause)}?wait=60 waits for the decision")
        found = self._people.request(Role.REVIEWER, "GET", "/api/pause", query={"status": "pending"}).document["items"]
        expect("the reviewer's list", [item["watchId"] for item in found], [pause["watchId"]])
        read = ", ".join(f"{name} {value}" for name, value in found[0]["agentContext"]["context"].items())
        self._narrator.line("reviewer", f"reads: {read}")
        sent = time.perf_counter()
        path = f"/api/pause/{pause['watchId']}/{verb}"
        decided = self._people.request(Role.REVIEWER, "POST", path, body={"comment": comment}).document
        expect("the status after the decision", decided["status"], outcome)
        self._narrator.line("", f"POST {_route(pause)}/{verb}: “{decided['decision']['comment']}”")
        self._expect_outcome(waiting, outcome, sent, "the decision was sent")
        return self._delivered(outcome, pause["watchId"], sent)

    def _unanswered(self) -> None:
        pause = self._posted(MAIL, expiresIn=EXPIRES_IN)
        sent = time.perf_counter()
        self._expect_outcome(self._agent.wait(pause["watchId"]), "expired", sent, "the request")
        self._delivered("expired", pause["watchId"], sent)

    def _forged(self, rejected: ReceivedMessage) -> None:
        """Send a captured rejection again, changed into an approval."""
        body = rejected.body.replace(b"rejected", b"approved")
        expect("the forged message's type", httpx.Response(200, content=body).json()["type"], "pause.approved")
        before = len(self._receiver.refused)
        answer = httpx.post(self._receiver.url, content=body, headers=_signature(rejected), trust_env=False)
        expect("the receiver's answer to a forged webhook", answer.status_code, 400)
        expect("the number of refused webhooks", len(self._receiver.refused), before + 1)
        self._narrator.line("attacker", "sends the second webhook again, changed to “approved”")
        self._narrator.line("webhook", f"{answer.status_code}, the signature does not match the body")

    def _posted(self, draft: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        self._narrator.line("agent", f"POST /api/pause “{draft['action']}”")
        pause = self._agent.pause(**draft, **more, callbackUrl=self._receiver.url)
        expect("the status of a new pause", pause["status"], "pending")
        self._narrator.line(
            "", Text(f"{pause['watchId']} ").append(status("pending")).append(f", {span(more['expiresIn'])} to go")
        )
        return pause

    def _await_long_poll(self) -> None:
        if not wait_until(lambda: self._long_polls() >= 1, STEP_SECONDS):
            raise Deviation("the server does not hold the agent's long poll")

    def _long_polls(self) -> float:
        text = self._people.request(Role.OPERATOR, "GET", "/metrics").text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return next(sample.value for sample in samples if sample.name == "sagahold_long_polls")

    def _expect_outcome(self, waiting: "Future[AgentOutcome]", outcome: str, since: float, what: str) -> None:
        try:
            found = waiting.result(STEP_SECONDS)
        except FutureTimeoutError:
            raise Deviation(f"the waiting agent received no decision within {STEP_SECONDS:.0f} s") from None
        expect("the status that the waiting agent received", found.status, outcome)
        then = "continues" if found.continues else "stops"
        took = f"{_took(found.at - since)} after {what}"
        self._narrator.line("agent", status(found.status).append(f" received {took}; {then}", style="default"))

    def _delivered(self, outcome: str, watch_id: str, since: float) -> ReceivedMessage:
        message = self._receiver.wait_for(f"pause.{outcome}", watch_id)
        self._narrator.line("webhook", f"{message.event['type']} after {_took(message.at - since)}, signature verified")
        self._narrator.line("", Text(message.id, style="dim"))
        return message


def _route(pause: Mapping[str, Any]) -> str:
    return f"/api/pause/wch_…{pause['watchId'][-6:]}"


def _signature(message: ReceivedMessage) -> dict[str, str]:
    return {name: value for name, value in message.headers.items() if name.startswith(("webhook-", "content-type"))}


def _took(seconds: float) -> str:
    return f"{seconds * 1_000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"

"""The demo's agent: it knows a URL and its own key, and goes on only when it is told so."""

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from cli.client import Server
from domain.identity.access import Role
from domain.pauses.pause import Status

# The longest that one request is held, as in the README. Seconds.
HELD_SECONDS = 60


@dataclass(frozen=True, slots=True)
class AgentOutcome:
    """What the agent learnt, and when (`time.perf_counter`)."""

    status: str
    at: float

    @property
    def goes_on(self) -> bool:
        return self.status == Status.APPROVED


class Agent:
    def __init__(self, url: str, key: str) -> None:
        self._server = Server(url, {Role.AGENT: key}, "the demo's stack")

    def pause(self, **draft: Any) -> dict[str, Any]:
        """Post the action; returns the pause."""
        return self._server.ask(Role.AGENT, "POST", "/api/pause", body=draft).document

    def wait(self, watch_id: str) -> "Future[AgentOutcome]":
        """Wait for the decision in a thread of its own; it ends with the process if no decision ever comes."""
        told: Future[AgentOutcome] = Future()
        threading.Thread(target=self._wait, args=(watch_id, told), daemon=True).start()
        return told

    def signing_secret(self) -> str:
        found = self._server.ask(Role.AGENT, "GET", "/v1/webhooks/signing-secret").document
        return str(found["secret"])

    def _wait(self, watch_id: str, told: "Future[AgentOutcome]") -> None:
        try:
            while True:
                query = {"wait": HELD_SECONDS}
                answer = self._server.ask(Role.AGENT, "GET", f"/api/pause/{watch_id}", query=query, held=HELD_SECONDS)
                at = time.perf_counter()
                status = answer.document["status"]
                if status != Status.PENDING:
                    told.set_result(AgentOutcome(status, at))
                    return
        except Exception as error:
            told.set_exception(error)

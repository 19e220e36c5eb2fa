"""The demo's agent, which knows a URL and its key, and continues only after an approval."""

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from cli.client import Server
from domain.identity.access import Role
from domain.pauses.pause import Status

# The length of one long poll, as in the README. Seconds.
HELD_SECONDS = 60


@dataclass(frozen=True, slots=True)
class AgentOutcome:
    """The status that the agent received, and when (`time.perf_counter`)."""

    status: str
    at: float

    @property
    def continues(self) -> bool:
        return self.status == Status.APPROVED


class Agent:
    def __init__(self, url: str, key: str) -> None:
        self._server = Server(url, {Role.AGENT: key}, "the demo's stack")

    def pause(self, **draft: Any) -> dict[str, Any]:
        """Post the action and return the pause."""
        return self._server.request(Role.AGENT, "POST", "/api/pause", body=draft).document

    def wait(self, watch_id: str) -> "Future[AgentOutcome]":
        """Wait for the decision in a daemon thread, which ends with the process if no decision comes."""
        outcome: Future[AgentOutcome] = Future()
        threading.Thread(target=self._wait, args=(watch_id, outcome), daemon=True).start()
        return outcome

    def signing_secret(self) -> str:
        found = self._server.request(Role.AGENT, "GET", "/v1/webhooks/signing-secret").document
        return str(found["secret"])

    def _wait(self, watch_id: str, outcome: "Future[AgentOutcome]") -> None:
        try:
            while True:
                query = {"wait": HELD_SECONDS}
                answer = self._server.request(
                    Role.AGENT, "GET", f"/api/pause/{watch_id}", query=query, held=HELD_SECONDS
                )
                at = time.perf_counter()
                status = answer.document["status"]
                if status != Status.PENDING:
                    outcome.set_result(AgentOutcome(status, at))
                    return
        except Exception as error:
            outcome.set_exception(error)

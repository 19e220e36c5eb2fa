"""A reviewer of one namespace, and the agent's key there, for tests of clients."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from cli.devstack import Stack
from cli.devstack.waiting import wait_until

# A start of an interpreter, a long poll, and a busy machine.
WITHIN = 240.0


@dataclass(frozen=True)
class Desk:
    """A reviewer of one namespace."""

    url: str
    agent_key: str
    http: httpx.Client

    @property
    def environ(self) -> dict[str, str]:
        return {"SAGAHOLD_URL": self.url, "SAGAHOLD_API_KEY": self.agent_key}

    def pending(self, count: int = 1) -> list[dict[str, Any]]:
        """Wait for that many pending pauses, and return them."""
        assert wait_until(lambda: len(self._pending()) >= count, WITHIN)
        return self._pending()

    def _pending(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.http.get("/api/pause", params={"status": "pending"}).json()["items"]
        return found

    def all(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.http.get("/api/pause").raise_for_status().json()["items"]
        return found

    def decide(self, verdict: str, **body: Any) -> str:
        """Decide the one pending pause, and return its id."""
        (pause,) = self.pending()
        self.http.post(f"/api/pause/{pause['watchId']}/{verdict}", json=body).raise_for_status()
        return str(pause["watchId"])


def restart_web(stack: Stack, meanwhile: Callable[[], object], within: float = 0) -> None:
    """Stop the web process, do something, and start it again. `within`: the seconds until it is killed."""
    stack.stop_process("web", within)
    try:
        meanwhile()
    finally:
        stack.start_process("web")

    def answers() -> bool:
        try:
            return httpx.get(f"{stack.url}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    assert wait_until(answers, WITHIN)

"""An agent's key and a reviewer, in a namespace of the test."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import sagahold

from cli.devstack import Stack
from cli.devstack.waiting import wait_until

# A start of an interpreter, a long poll, and a busy machine.
WITHIN = 120.0


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


@pytest.fixture
def desk(stack: Stack, client_for: Callable[..., httpx.Client]) -> Desk:
    agent_key = client_for("agent").headers["Authorization"].removeprefix("Bearer ")
    return Desk(stack.url, agent_key, client_for("reviewer"))


@pytest.fixture
def client(desk: Desk) -> Iterator[sagahold.Client]:
    with sagahold.Client(desk.url, desk.agent_key) as made:
        yield made


@pytest.fixture
def environ(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment from which a decorated function makes its client."""
    for name, value in desk.environ.items():
        monkeypatch.setenv(name, value)

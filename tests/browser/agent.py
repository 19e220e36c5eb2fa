"""The agent whose actions are reviewed in the browser: a plain HTTP client that waits for its answer."""

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import httpx

from cli.devstack import Stack


@dataclass(frozen=True, slots=True)
class Told:
    """The pause as the agent learnt it, and when (`time.monotonic`)."""

    document: dict[str, Any]
    at: float


def client_of(stack: Stack, namespace: str, role: str, name: str) -> httpx.Client:
    """With a new key of that name; for what is shared by several tests, or shown to people."""
    new = {"name": name, "role": role, "namespaces": [namespace]}
    admin = {"Authorization": f"Bearer {stack.credentials['admin_key']}"}
    key = httpx.post(f"{stack.url}/v1/keys", json=new, headers=admin).raise_for_status().json()["key"]
    return httpx.Client(base_url=stack.url, headers={"Authorization": f"Bearer {key}"}, timeout=70)


class Agent:
    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def post(self, action: str, **more: Any) -> str:
        """A new pause's watchId."""
        answer = self._client.post("/api/pause", json={"action": action, **more})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["watchId"])

    def read(self, watch_id: str, **query: Any) -> dict[str, Any]:
        document: dict[str, Any] = self._client.get(f"/api/pause/{watch_id}", params=query).raise_for_status().json()
        return document

    def wait(self, watch_id: str) -> "Future[Told]":
        """Wait in one long poll after another, as agents do."""
        told: Future[Told] = Future()

        def hold() -> None:
            try:
                while (document := self.read(watch_id, wait=30))["status"] == "pending":
                    pass
                told.set_result(Told(document, time.monotonic()))
            except Exception as error:
                told.set_exception(error)

        threading.Thread(target=hold, daemon=True).start()
        return told

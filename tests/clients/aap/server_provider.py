"""A plugin for the tests of `agentapprovalprotocol`: their in-memory provider becomes this server.

It replaces `agentapprovalprotocol.testing.FakeProvider` before the tests import it. Each provider gets a namespace, an
agent's key and a reviewer's key of its own. Its requests go to the door, and its decisions are a reviewer's.
"""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
from agentapprovalprotocol import AsyncClient, Client, testing

URL, ADMIN_KEY = os.environ["SAGAHOLD_URL"], os.environ["SAGAHOLD_ADMIN_KEY"]
# The fields that the server adds to what an adapter submits.
STATE = {"id", "status", "created_at", "deadline_at", "decision", "consumption"}
# Those that the body, decoded again, no longer has.
FRAMING = {"content-encoding", "content-length", "transfer-encoding"}
VERDICTS = {"approved": "approve", "denied": "reject"}
# The least that a namespace takes.
LEAST_VALIDITY = timedelta(seconds=1)
Intercept = Callable[[httpx.Request], httpx.Response | None]


class Stored:
    """One request; each attribute asks the door for its present state."""

    def __init__(self, request_id: str, agent: httpx.Client) -> None:
        self.id = request_id
        self._agent = agent

    def _read(self) -> dict[str, Any]:
        found: dict[str, Any] = self._agent.get(f"/aap/v1/requests/{self.id}").raise_for_status().json()
        return found

    @property
    def body(self) -> dict[str, Any]:
        return {name: value for name, value in self._read().items() if name not in STATE}

    @property
    def status(self) -> str:
        return str(self._read()["status"])

    @property
    def consumed_at(self) -> str | None:
        consumed: str | None = self._read().get("consumption", {}).get("consumed_at")
        return consumed

    @property
    def outcome(self) -> dict[str, Any] | None:
        reported: dict[str, Any] | None = self._read().get("consumption", {}).get("outcome")
        return reported


class ServerProvider(testing.FakeProvider):
    """The tests' controls, with this server behind them. The inherited methods only build clients and sign."""

    def __init__(
        self, auto: str | None = "approved", validity: timedelta | None = None, intercept: Intercept | None = None
    ) -> None:
        self.auto, self.intercept = auto, intercept
        namespace = f"aap-{uuid4().hex}"
        admin = _http(ADMIN_KEY)
        self._agent, self._reviewer = (_new_key(admin, role, namespace) for role in ("agent", "reviewer"))
        self._short = validity is not None and validity <= LEAST_VALIDITY
        if self._short:
            limits = {"review": None, "approval_valid_for": int(LEAST_VALIDITY.total_seconds())}
            admin.put(f"/v1/namespaces/{namespace}", json=limits).raise_for_status()

    @property
    def requests(self) -> dict[str, Stored]:
        """All requests that the server has, the oldest first."""
        pauses = self._reviewer.get("/api/pause", params={"limit": 100}).raise_for_status().json()["items"]
        ids = (_request_id(pause) for pause in sorted(pauses, key=lambda pause: pause["createdAt"]))
        return {id_: Stored(id_, self._agent) for id_ in ids}

    def decide(self, request_id: str, status: str = "approved", note: str | None = None) -> None:
        self._decide(self.requests[request_id], status, note)

    def client(self, **options: Any) -> Client:
        http = httpx.Client(transport=httpx.MockTransport(self.handle))
        return Client(f"{URL}/aap", _token(self._agent), http=http, **options)

    def async_client(self, **options: Any) -> AsyncClient:
        return AsyncClient(f"{URL}/aap", _token(self._agent), http=self.async_http(), **options)

    def handle(self, request: httpx.Request) -> httpx.Response:
        if self.intercept and (replaced := self.intercept(request)) is not None:
            return replaced
        return self._handle(request)

    async def handle_async(self, request: httpx.Request) -> httpx.Response:
        # No thread, as in theirs: a test waits 10 ms for a wake-up in the background, so the loop must not go on here.
        return self.handle(request)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        """Send the request to the server. With `auto` a new request is decided and read again."""
        response = self._send(request)
        if response.status_code == 201 and self.auto:
            self._decide(self.requests[response.json()["id"]], self.auto, None)
            # The server answers a repeated creation with the present state.
            response = self._send(request)
            if self._short:
                _wait_for(response.json()["decision"]["expires_at"])
        return response

    def _send(self, request: httpx.Request) -> httpx.Response:
        sent = {"headers": request.headers, "content": request.content}
        got = self._agent.request(request.method, request.url, **sent)
        headers = [(name, value) for name, value in got.headers.multi_items() if name.lower() not in FRAMING]
        return httpx.Response(got.status_code, headers=headers, content=got.content)

    def _decide(self, stored: Stored, status: str, note: str | None) -> None:
        comment = {"comment": note} if note else {}
        decided = self._reviewer.post(f"/api/pause/wch_{UUID(stored.id).hex}/{VERDICTS[status]}", json=comment)
        # Their provider keeps the first decision, and so does the server.
        if decided.status_code != 409:
            decided.raise_for_status()


def _http(key: str) -> httpx.Client:
    return httpx.Client(base_url=URL, headers={"Authorization": f"Bearer {key}"}, timeout=240)


def _new_key(admin: httpx.Client, role: str, namespace: str) -> httpx.Client:
    new = {"name": f"test {role}", "role": role, "namespaces": [namespace]}
    return _http(admin.post("/v1/keys", json=new).raise_for_status().json()["key"])


def _token(agent: httpx.Client) -> str:
    return agent.headers["Authorization"].removeprefix("Bearer ")


def _request_id(pause: dict[str, Any]) -> str:
    return str(UUID(pause["watchId"].removeprefix("wch_")))


def _wait_for(instant: str) -> None:
    while datetime.now(UTC) < datetime.fromisoformat(instant):
        time.sleep(0.05)


testing.FakeProvider = ServerProvider

"""One test's part of a running stack: a namespace, a receiver of its webhooks, and clients that note every promise."""

import contextlib
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import httpx

from cli.devstack import Stack
from tests.adapters.receiver import Exchange, Receiver
from tests.faults.truth import CALLBACK, ENDPOINT, Truth

# No request may hang: statements, locks and connects all have limits well below. Seconds, on a busy machine.
ANSWER_WITHIN = 90.0
# The deadline of every other wait: long enough for a busy machine. Seconds.
PATIENCE = 150.0
PROCESSES = ("web", "worker", "beat")
# A worker logs this for each result that comes after another worker has taken over.
DROPPED = "dropped the result of superseded work"


class Scene:
    """`with Scene(stack) as scene:` everything that it started in threads has ended after the block.

    Without `endpoint` only the pauses' callback URLs get webhooks.
    """

    def __init__(self, stack: Stack, *, endpoint: bool = True) -> None:
        self.stack = stack
        self.namespace = f"fault-{uuid4().hex[:12]}"
        self._logged = {name: stack.log(name).stat().st_size for name in PROCESSES}
        self.receiver = Receiver(self._receive)
        self.url = self.receiver.url_as(self.receiver.host, CALLBACK)
        self.held, self.release = threading.Event(), threading.Event()
        self.held.set()
        self.release.set()
        self._received = threading.Condition()
        self._told: set[str] = set()
        self._stack = contextlib.ExitStack()
        self._stack.callback(self.receiver.close)
        self._stack.callback(self.release.set)
        self._threads = self._stack.enter_context(ThreadPoolExecutor(600))
        self.admin = self._client(stack.credentials["admin_key"])
        self.agent = self._client(self._new_key("agent"))
        self.reviewer = self._client(self._new_key("reviewer"))
        own = self.admin.get("/v1/webhooks/signing-secret", params={"namespace": self.namespace}).raise_for_status()
        secrets = {CALLBACK: own.json()["secret"]}
        if endpoint:
            secrets[ENDPOINT] = self._subscribe()
        self.truth = Truth(stack.database_url, self.namespace, self.receiver, secrets)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def pause(self, **fields: Any) -> str:
        """Post one, until it is accepted; its watchId."""
        body = {"action": "deploy", "callbackUrl": self.url} | fields
        key = {"Idempotency-Key": uuid4().hex}
        answer = self.insist(lambda: self.agent.post("/api/pause", json=body, headers=key))
        assert answer.status_code in (200, 201), answer.text
        return self.truth.accepted(answer.json())

    def decide(self, watch_id: str, verb: str = "approve", *, by: httpx.Client | None = None) -> httpx.Response:
        """Send one decision until it is answered."""
        path = f"/api/pause/{watch_id}/{verb}"
        answer = self.insist(lambda: (by or self.reviewer).post(path, json={"comment": f"{verb} {uuid4().hex}"}))
        self.truth.answered(verb, answer)
        return answer

    def outcome(self, watch_id: str) -> str:
        """An agent that waits as long as it takes, as the documentation tells it to."""
        path = f"/api/pause/{watch_id}"
        while True:
            answer = self.insist(lambda: self.agent.get(path, params={"wait": 10}, timeout=10 + ANSWER_WITHIN))
            assert answer.status_code == 200, answer.text
            if answer.json()["status"] != "pending":
                return self.truth.read(answer.json())

    def start(self, work: Callable[..., Any], *arguments: Any, **named: Any) -> "Future[Any]":
        return self._threads.submit(work, *arguments, **named)

    def insist(self, send: Callable[[], httpx.Response], within: float = PATIENCE) -> httpx.Response:
        """Again while the server is away or asks to come back; any other answer, and any hanging one, is the last."""
        until = time.monotonic() + within
        while True:
            try:
                answer = send()
            except (httpx.NetworkError, httpx.RemoteProtocolError):
                self.truth.missed()
            else:
                if answer.status_code != 503:
                    return answer
                self.truth.refused(answer)
            assert time.monotonic() < until, f"no answer within {within} s"
            threading.Event().wait(0.2)

    def log(self, name: str) -> str:
        """Return what that process has logged since the scene began."""
        logged, before = self.stack.log(name).read_bytes(), self._logged[name]
        # A restart begins a new file after some megabytes.
        return logged[before if before <= len(logged) else 0 :].decode()

    def check_logs(self) -> None:
        """An absence that mends itself is worth a warning, not a traceback."""
        for name in PROCESSES:
            log = self.log(name)
            assert "Traceback" not in log, f"{name}: {log[log.index('Traceback') - 500 :][:1500]}"

    def hold_first(self) -> None:
        """The receiver keeps the first outcome's request open, sets `held`, and answers it after `release`."""
        self.release.clear()
        self.held.clear()

    def until_held(self) -> None:
        assert self.held.wait(PATIENCE), "no delivery began"

    def until_told(self, watch_id: str) -> None:
        """The outcome came to the callback URL."""
        with self._received:
            assert self._received.wait_for(lambda: watch_id in self._told, PATIENCE), f"no webhook about {watch_id}"

    def _receive(self, exchange: Exchange) -> None:
        request = exchange.read()
        event = json.loads(request.body)
        outcome = event["type"] != "pause.created"
        with self._received:
            held = outcome and not self.held.is_set()
            if held:
                self.held.set()
        if held:
            self.release.wait()
        exchange.reply()
        if outcome and CALLBACK in request.line:
            with self._received:
                self._told.add(event["data"]["watchId"])
                self._received.notify_all()

    def create_and_decide(self, enough: threading.Event) -> int:
        """A client's whole work, over and over; how many pauses it made.

        It goes on when it has its webhook: the load that it makes is no more than the stack can carry.
        """
        made = 0
        while not enough.is_set():
            watch_id = self.pause()
            waiting = self.start(self.outcome, watch_id)
            self.decide(watch_id, ("approve", "reject")[made % 2])
            waiting.result()
            self.until_told(watch_id)
            made += 1
        return made

    def keep_reading(self, enough: threading.Event) -> None:
        """A client that asks also while all others wait for their webhooks, because a server is away."""
        while not enough.is_set():
            self.insist(lambda: self.agent.get("/api/pause", params={"limit": 1}))

    def _client(self, key: str) -> httpx.Client:
        return self._stack.enter_context(
            httpx.Client(
                base_url=self.stack.url,
                headers={"Authorization": f"Bearer {key}"},
                timeout=ANSWER_WITHIN,
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=50),
                trust_env=False,
            )
        )

    def _subscribe(self) -> str:
        new = {"url": self.receiver.url_as(self.receiver.host, ENDPOINT), "namespaces": [self.namespace]}
        secret: str = self.admin.post("/v1/webhooks/endpoints", json=new).raise_for_status().json()["secret"]
        return secret

    def _new_key(self, role: str) -> str:
        new = {"name": f"test {role}", "role": role, "namespaces": [self.namespace]}
        key: str = self.admin.post("/v1/keys", json=new).raise_for_status().json()["key"]
        return key


def until(what: str, holds: Callable[[], bool], within: float = PATIENCE) -> None:
    """Wait for something outside that has no event of its own."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {within} s"
        threading.Event().wait(0.05)

"""A scene with sagas: a ledger that can freeze, people who decide, and the check of each saga's outcome."""

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

from cli.devstack import Stack
from tests.adapters.odd_server import answers, free_port
from tests.faults.scene import Scene, until
from tests.faults.slow_ledger import Ledger
from tests.faults.truth import ENDPOINT, SETTLES_WITHIN

# From the failure until each saga has ended or waits for a person. Longer means an error, also on a busy machine.
SAGAS_SETTLE_WITHIN = 400.0
CALL_SECONDS = 120
_FINAL = {"COMPLETED": "saga.completed", "COMPENSATED": "saga.compensated", "FAILED": "saga.failed"}


class SagaScene(Scene):
    """Beside the tool source `ledger` there is `late`, of the same ledger but by a server of its own.

    Attributes:
        sources: as a worker's manifest names them.
    """

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack)
        self.operator = self._client(self._new_key("operator"))
        self.sources: dict[str, dict[str, Any]] = {}
        self.ledger = Ledger(Path(self._stack.enter_context(tempfile.TemporaryDirectory())))
        self._servers = {name: self._stack.enter_context(self._serve(name)) for name in ("ledger", "late")}
        self._stack.callback(self.ledger.release)
        self._failure_at = time.monotonic()

    @contextmanager
    def _serve(self, name: str) -> Iterator[psutil.Popen]:
        port = free_port()
        arguments = ["-m", "tests.faults.slow_ledger", str(self.ledger.place), str(port)]
        with (self.stack.data.logs / f"mcp-{name}-{self.namespace}.log").open("w") as log:
            process = psutil.Popen([sys.executable, *arguments], stdout=log, stderr=subprocess.STDOUT)
        try:
            until(f"{name} listens", lambda: answers(port))
            self.deploy_worker(name, transport="streamable_http", url=f"http://127.0.0.1:{port}/mcp")
            yield process
        finally:
            process.kill()
            process.wait(90)

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """That server takes connections, as the kernel does it, and says nothing."""
        self._servers[name].send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._servers[name].send_signal(signal.SIGCONT)

    def deploy_worker(self, name: str, **source: Any) -> None:
        self.sources[name] = {"name": name, **source}
        self.deploy({"kind": "worker", "name": name, "tool_sources": [self.sources[name]]})

    def deploy_saga(self, name: str, *steps: dict[str, Any]) -> None:
        self.deploy({"kind": "saga", "name": name, "steps": list(steps)})

    def deploy(self, manifest: dict[str, Any]) -> None:
        answer = self.admin.post("/v1/manifests", json=manifest | {"version": "1", "namespace": self.namespace})
        assert answer.status_code == 200, answer.text

    def start_saga(self, name: str, **input_: Any) -> str:
        """Until it is accepted; its trace id."""
        wanted = {"name": name, "version": "1", "input": input_, "idempotency_key": uuid4().hex}
        answer = self.insist(lambda: self.agent.post("/v1/sagas/start", json=wanted))
        assert answer.status_code == 202, answer.text
        return str(answer.json()["trace_id"])

    def saga(self, trace_id: str) -> dict[str, Any]:
        answer = self.insist(lambda: self.agent.get(f"/v1/sagas/{trace_id}"))
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def step(self, trace_id: str, id_: str, *, undo: bool = False) -> dict[str, Any]:
        """Empty while it is not planned."""
        steps: list[dict[str, Any]] = self.saga(trace_id)["steps"]
        found = (step for step in steps if (step["step_id"], step["compensates_span_id"] is not None) == (id_, undo))
        return next(found, {})

    def order(self, by: str, trace_id: str, span: str, verb: str, **body: Any) -> dict[str, Any]:
        """A person's word about a step, sent until it is answered."""
        client = {"reviewer": self.reviewer, "operator": self.operator}[by]
        answer = self.insist(lambda: client.post(f"/v1/sagas/{trace_id}/steps/{span}/{verb}", json=body))
        assert answer.status_code == 202, answer.text
        said: dict[str, Any] = answer.json()
        return said

    def resolve(self, trace_id: str, step: dict[str, Any], *, done: bool) -> None:
        said = {"outcome": "done" if done else "not_done", "evidence": "the ledger's file"}
        self.order("operator", trace_id, step["step_span_id"], "resolve", **said)

    def for_review(self) -> list[tuple[str, str]]:
        """Trace and span of the steps that wait for a person."""
        answer = self.insist(lambda: self.reviewer.get("/v1/sagas/pending-review", params={"limit": 100}))
        assert answer.status_code == 200, answer.text
        return [(step["saga_trace_id"], step["step_span_id"]) for step in answer.json()["items"]]

    def mark_failure(self) -> None:
        """From now on it is counted how long things take to settle."""
        self._failure_at = time.monotonic()

    def settle(self, what: str) -> None:
        """Wait until each saga has ended or waits for a person and its webhooks have come; then check these."""
        rest = self._until_none(self._restless)
        told = self._until_none(self._untold)
        rows = self.truth.rows("SELECT id, status, needs_operator FROM sagas WHERE namespace = %s")
        print(
            f"{what}: {len(rows)} sagas, settled {rest:.1f} s after the failure, all webhooks about them {told:.1f} s"
        )
        for row in rows:
            self._check_told(row)

    def _until_none(self, left: Callable[[], dict[str, int]]) -> float:
        """Return the seconds from the failure until no work was left."""
        while found := left():
            waited = time.monotonic() - self._failure_at
            assert waited < SAGAS_SETTLE_WITHIN, f"stuck {waited:.0f} s after the failure: {found}"
            time.sleep(0.1)
        return time.monotonic() - self._failure_at

    def _restless(self) -> dict[str, int]:
        resting = "ended_at IS NOT NULL OR needs_operator OR status = 'AWAITING_HUMAN'"
        found = {
            "sagas on their way": self.truth.count("sagas", f"NOT ({resting})"),
            "due sagas": self.truth.count("sagas", "due_at IS NOT NULL"),
            "leases": self.truth.count("sagas", "lease_token IS NOT NULL"),
        }
        return {name: count for name, count in found.items() if count}

    def _untold(self) -> dict[str, int]:
        count = self.truth.count("webhook_deliveries", "status = 'pending'")
        return {"pending deliveries": count} if count else {}

    def _check_told(self, row: dict[str, Any]) -> None:
        """Check that each message about the saga's status was sent once."""
        trace_id, status = row["id"].replace("-", ""), row["status"]
        if row["needs_operator"]:
            assert self.told(trace_id, "saga.needs_operator"), row
            listed = self.operator.get("/v1/sagas", params={"trace_id": trace_id, "needs_operator": "true"}).json()
            assert [saga["trace_id"] for saga in listed["items"]] == [trace_id]
        elif status == "AWAITING_HUMAN":
            assert self.told(trace_id, "saga.awaiting_human"), row
            assert trace_id in {held for held, _ in self.for_review()}
        else:
            assert len(self.told(trace_id, _FINAL[status])) == 1, row

    def told(self, trace_id: str, type_: str) -> set[str]:
        """The ids of the webhooks of that type about that saga which came."""
        came = [request for request in list(self.receiver.requests) if ENDPOINT in request.line]
        about = (request for request in came if trace_id.encode() in request.body and type_.encode() in request.body)
        return {request.headers["webhook-id"] for request in about}

    def reads_as(self, trace_id: str, status: str) -> dict[str, Any]:
        """Wait for it to come to that."""
        until(f"{trace_id} is {status}", lambda: self.saga(trace_id)["status"] == status, SETTLES_WITHIN)
        return self.saga(trace_id)


def step(id_: str, tool: str, customer: str = "$.input.customer", *, source: str = "ledger", **more: Any) -> Any:
    common = {"id": id_, "name": id_, "kind": "commit", "worker": source, "worker_version": "1"}
    bindings = {} if tool == "decline" else {"customer": {"from": customer}}
    return common | {"tools": {"allow": [tool]}, "with": bindings, "timeout_seconds": CALL_SECONDS} | more


def undo(tool: str, customer: str = "$.input.customer", *, source: str = "ledger") -> dict[str, Any]:
    common = {"worker": source, "worker_version": "1", "timeout_seconds": CALL_SECONDS}
    return {"compensation": common | {"tools": [tool], "with": {"customer": {"from": customer}}}}

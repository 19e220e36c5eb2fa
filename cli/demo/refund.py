"""The second act: a refund over the limit, as a saga on a tool server that really writes into a ledger."""

import json
import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from adapters.yaml_text import read_documents
from cli.client import Server
from cli.demo.deviation import Deviation, expect
from cli.demo.telling import Telling
from cli.output import status
from cli.stack.procfile import PROCFILE
from cli.stack.waiting import wait_until
from domain.access import Role

# A saga of a few calls takes well under a second, but for the first one, which starts the tool server.
SAGA_SECONDS = 30.0
_EXAMPLE = PROCFILE.parent / "examples" / "refund"
_POLICY = "policies/sane.cel"


class RefundStory:
    """`ledger`: where the tool server is to keep its SQLite file."""

    def __init__(self, screen: Console, url: str, credentials: Mapping[str, str], ledger: Path) -> None:
        self._telling = Telling(screen)
        self._ledger = ledger
        self._server = Server(url, {role: credentials[f"{role}_key"] for role in Role}, "the demo's stack")

    def tell(self) -> None:
        """Raises `Deviation`, or `Failure` of an answer, as soon as something goes otherwise than it must."""
        self._deploy()
        self._telling.chapter("A refund over the limit, approved")
        self._run(250, "approve", "COMPLETED", ["send_email", "refund"])
        self._telling.chapter("Another one, rejected")
        self._run(900, "reject", "COMPENSATED", ["send_email", "withdraw_email"])

    def _deploy(self) -> None:
        (worker,) = read_documents((_EXAMPLE / "worker.yaml").read_text())
        worker["tool_sources"][0]["env"]["LEDGER_DB"] = str(self._ledger)
        (saga,) = read_documents((_EXAMPLE / "saga.yaml").read_text())
        self._telling.chapter("A saga is deployed")
        for manifest in (worker, saga):
            bundle = {"manifest": manifest, "artifacts": {_POLICY: (_EXAMPLE / _POLICY).read_text()}}
            answer = self._server.ask(Role.ADMIN, "POST", "/v1/manifests", body=bundle).document
            self._telling.line("admin", f"{answer['message']}")

    def _run(self, amount: int, verb: str, outcome: str, tools: list[str]) -> None:
        before = len(self._entries())
        customer = f"customer-{amount}@example.com"
        start = {"name": "refund", "version": "1", "input": {"customer": customer, "amount": amount}}
        trace = self._server.ask(Role.AGENT, "POST", "/v1/sagas/start", body=start).document["trace_id"]
        self._telling.line("agent", f"starts saga refund: {amount} for {customer}")
        held = self._held(trace)
        self._telling.line("", Text("").append(status("AWAITING_HUMAN")).append(f" at step {held['step_id']!r}"))
        self._telling.line("reviewer", f"reads: {json.dumps(held['review_payload'])}")
        sent = time.perf_counter()
        path = f"/v1/sagas/{trace}/steps/{held['step_span_id']}/{verb}"
        expect("the answer", self._server.ask(Role.REVIEWER, "POST", path, body={}).document["status"], "queued")
        self._telling.line("", f"POST …/{held['step_span_id']}/{verb}: queued")
        saga = self._ended(trace)
        took = f"{(time.perf_counter() - sent) * 1_000:.0f} ms"
        expect("the saga's status", saga["status"], outcome)
        self._telling.line("saga", Text("").append(status(outcome)).append(f" {took} after the decision"))
        entries = self._entries()[before:]
        expect("what the ledger says", [tool for tool, _ in entries], tools)
        for tool, arguments in entries:
            given = json.loads(arguments)
            about = [str(given[name]) for name in ("amount", "subject") if name in given]
            self._telling.line("ledger", f"{tool}: {', '.join(about)}")

    def _held(self, trace: str) -> dict[str, Any]:
        def pending() -> list[dict[str, Any]]:
            query = {"trace_id": trace}
            found = self._server.ask(Role.REVIEWER, "GET", "/v1/sagas/pending-review", query=query)
            return list(found.document["items"])

        return dict(self._until(pending, f"saga {trace} is not held")[0])

    def _ended(self, trace: str) -> dict[str, Any]:
        def ended() -> dict[str, Any] | None:
            found = self._server.ask(Role.AGENT, "GET", f"/v1/sagas/{trace}").document
            return dict(found) if found["ended_at"] is not None else None

        return dict(self._until(ended, f"saga {trace} does not end"))

    def _until(self, look: Callable[[], Any], otherwise: str) -> Any:
        found: list[Any] = []

        def looked() -> bool:
            found[:] = [look()]
            return bool(found[0])

        if not wait_until(looked, SAGA_SECONDS):
            raise Deviation(f"{otherwise} within {SAGA_SECONDS:.0f} s")
        return found[0]

    def _entries(self) -> list[tuple[str, str]]:
        if not self._ledger.exists():
            return []
        connection = sqlite3.connect(self._ledger)
        try:
            return connection.execute("SELECT tool, arguments FROM entries ORDER BY id").fetchall()
        finally:
            connection.close()

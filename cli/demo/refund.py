"""Second part of the demo: a refund over the limit, as a saga on a tool server that writes to a ledger."""

import json
import time

from rich.text import Text

from cli.demo.deviation import expect
from cli.demo.narrator import Narrator
from cli.demo.sagas import Sagas
from cli.views.output import status


class RefundStory:
    def __init__(self, narrator: Narrator, sagas: Sagas) -> None:
        self._narrator, self._sagas = narrator, sagas

    def run(self) -> None:
        """Run this part. Raises `Deviation` at an unexpected result, or `Failure` at an error response."""
        self._narrator.chapter("A saga is deployed")
        for message in self._sagas.deploy("refund"):
            self._narrator.line("admin", message)
        self._narrator.chapter("A refund over the limit, approved")
        self._run(250, "approve", "COMPLETED", ["send_email", "refund"])
        self._narrator.chapter("Another refund, rejected")
        self._run(900, "reject", "COMPENSATED", ["send_email", "withdraw_email"])

    def _run(self, amount: int, verb: str, outcome: str, tools: list[str]) -> None:
        line = self._narrator.line
        before = len(self._sagas.entries())
        customer = f"customer-{amount}@example.com"
        trace = self._sagas.start("refund", {"customer": customer, "amount": amount})
        line("agent", f"starts saga refund: {amount} for {customer}")
        held = self._sagas.held(trace)
        line("", Text("").append(status("AWAITING_HUMAN")).append(f" at step {held['step_id']!r}"))
        line("reviewer", f"reads: {json.dumps(held['review_payload'])}")
        sent = time.perf_counter()
        expect("the answer", self._sagas.decide(held, verb, {}), "queued")
        line("", f"POST …/{held['step_span_id']}/{verb}: queued")
        saga = self._sagas.ended(trace)
        took = f"{(time.perf_counter() - sent) * 1_000:.0f} ms"
        expect("the saga's status", saga["status"], outcome)
        line("saga", Text("").append(status(outcome)).append(f" {took} after the decision"))
        entries = self._sagas.entries()[before:]
        expect("the ledger", [tool for tool, _ in entries], tools)
        for tool, given in entries:
            about = [str(given[name]) for name in ("amount", "subject") if name in given]
            line("ledger", f"{tool}: {', '.join(about)}")

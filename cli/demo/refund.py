"""The second act: a refund over the limit, as a saga on a tool server that really writes into a ledger."""

import json
import time

from rich.text import Text

from cli.demo.deviation import expect
from cli.demo.sagas import Sagas
from cli.demo.telling import Narrator
from cli.views.output import status


class RefundStory:
    def __init__(self, telling: Narrator, sagas: Sagas) -> None:
        self._telling, self._sagas = telling, sagas

    def tell(self) -> None:
        """Raises `Deviation`, or `Failure` of an answer, as soon as something goes otherwise than it must."""
        self._telling.chapter("A saga is deployed")
        for message in self._sagas.deploy("refund"):
            self._telling.line("admin", message)
        self._telling.chapter("A refund over the limit, approved")
        self._run(250, "approve", "COMPLETED", ["send_email", "refund"])
        self._telling.chapter("Another one, rejected")
        self._run(900, "reject", "COMPENSATED", ["send_email", "withdraw_email"])

    def _run(self, amount: int, verb: str, outcome: str, tools: list[str]) -> None:
        line = self._telling.line
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
        expect("what the ledger says", [tool for tool, _ in entries], tools)
        for tool, given in entries:
            about = [str(given[name]) for name in ("amount", "subject") if name in given]
            line("ledger", f"{tool}: {', '.join(about)}")

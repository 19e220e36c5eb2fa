"""Third part of the demo: a model drafts an e-mail, and a person edits it. The model is a mock and is marked so."""

from rich.text import Text

from cli.demo.deviation import expect
from cli.demo.narrator import Narrator
from cli.demo.sagas import Sagas
from cli.views.output import status

WANTED = {"name": "Ada", "to": "ada@example.com", "reason": "opens a small hotel next month"}
GUIDANCE = "Less about us, more about her guests."


class OutreachStory:
    def __init__(self, narrator: Narrator, sagas: Sagas) -> None:
        self._narrator, self._sagas = narrator, sagas

    def run(self) -> None:
        """Run this part. Raises `Deviation` at an unexpected result, or `Failure` at an error response."""
        line = self._narrator.line
        self._narrator.chapter("A model drafts, a person edits")
        for message in self._sagas.deploy("outreach"):
            line("admin", message)
        before = len(self._sagas.entries())
        trace = self._sagas.start("outreach", WANTED)
        line("agent", f"starts saga outreach: an e-mail to {WANTED['name']}")
        held = self._sagas.held(trace)
        drafted = held["review_payload"]
        line("mock" if held["mock"] else "model", f"drafts the subject “{drafted['subject']}”")
        line("", Text("").append(status("AWAITING_HUMAN")).append(f" at step {held['step_id']!r}"))
        expect("the answer", self._sagas.decide(held, "retry", {"guidance": GUIDANCE}), "queued")
        line("reviewer", f"requests another draft: “{GUIDANCE}”")
        again = self._sagas.held(trace, unlike=held["watch_id"])
        line("", Text("").append(status("AWAITING_HUMAN")).append(" again, with a new pause"))
        edited = again["review_payload"] | {"subject": "Breakfast for your first guests"}
        expect("the answer", self._sagas.decide(again, "approve", {"output": edited}), "queued")
        line("reviewer", f"approves with another subject: “{edited['subject']}”")
        expect("the saga's status", self._sagas.ended(trace)["status"], "COMPLETED")
        line("saga", status("COMPLETED"))
        ((tool, sent),) = self._sagas.entries()[before:]
        expect("what was sent", sent, {"to": WANTED["to"], **edited})
        line("ledger", f"{tool}: {sent['subject']}")

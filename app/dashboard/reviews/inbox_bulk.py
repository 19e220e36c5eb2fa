"""/inbox/decide: several reviews at once. First a page that shows what would happen to each; its form decides, and
what came of each stands on the page after it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from flask import request

from app.dashboard.display.value_tree import Node, tree
from app.dashboard.framework.form_fields import MAX_TEXT, text
from app.dashboard.framework.page_decorator import page, person, render
from app.dashboard.reviews.inbox_rows import rows_of
from app.deps import deps
from domain.identity.access import Permission
from domain.pauses.pause import STEP, Approve, Pause, Reject, Status
from domain.pauses.serialization import pause_document
from domain.pauses.votes import Voter
from domain.values.errors import AlreadyResolved, DomainError, FieldError, Invalid, NotFound
from services.kernel.connection_pool import DatabaseUnavailable
from services.pauses.lifecycle import actor, get_pause
from services.reviews.decisions import DecisionRequest, decide_many
from services.reviews.inbox import may_vote, stands_in_for

APPROVE, REJECT = "approve", "reject"
# What fits on a page of the inbox, several times over.
MAX_PICKS = 100
# Lines of one of them that are shown whole.
WHOLE = 60


@dataclass(frozen=True, slots=True)
class SelectedReview:
    """A review, at the revision that its row showed."""

    watch_id: str
    revision: int

    @property
    def value(self) -> str:
        return f"{self.watch_id}.{self.revision}"


@dataclass(frozen=True, slots=True)
class SkippedReview:
    """One that cannot be decided with the others, and why."""

    watch_id: str
    action: str
    why: str


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What came of one."""

    watch_id: str
    action: str
    done: bool
    text: str


@page("GET", "/inbox/decide", permission=Permission.PAUSE_DECIDE)
def confirm_page() -> Any:
    decision = _decision(request.args.get("decision", ""))
    picks = list(_picks(request.args.getlist("pick")))
    documents, left = _looked_at(picks, decision)
    everything = "all" in request.args
    again = urlencode([("decision", decision), *(("pick", pick.value) for pick in picks), ("all", "1")])
    return render(
        "inbox_decide.html",
        decision=decision,
        rows=[(row, _substance(row.pause, everything)) for row in rows_of(documents)],
        left=left,
        max_comment=MAX_TEXT,
        everything=everything,
        all_of_it=f"/inbox/decide?{again}",
    )


@page("POST", "/inbox/decide", permission=Permission.PAUSE_DECIDE)
def decide_page() -> Any:
    decision = _decision(request.form.get("decision", ""))
    picks = list(_picks(request.form.getlist("pick")))
    comment = text("comment") or None
    command = Approve if decision == APPROVE else Reject
    requests = [
        DecisionRequest(pick.watch_id, command(actor(person()), comment, revision=pick.revision)) for pick in picks
    ]
    outcomes = decide_many(deps().database, person(), requests)
    verdicts = [_verdict(pick, outcome, decision) for pick, outcome in zip(picks, outcomes, strict=True)]
    return render("inbox_results.html", decision=decision, verdicts=verdicts)


def _substance(pause: dict[str, Any], everything: bool) -> list[tuple[Any, Node]]:
    """What is decided on, beside its action: what will be executed, and what an agent says of it."""
    told = pause["agentContext"]
    parts = [told["arguments"], told["context"] if pause["kind"] != STEP else None]
    return [(part, tree(part, everything, WHOLE)) for part in parts if part]


def _decision(given: str) -> str:
    if given not in (APPROVE, REJECT):
        raise Invalid([FieldError("decision", "is neither approve nor reject")])
    return given


def _picks(values: Sequence[str]) -> Iterator[SelectedReview]:
    if len(values) > MAX_PICKS:
        raise Invalid([FieldError("pick", f"is given more than {MAX_PICKS} times")])
    for value in dict.fromkeys(values):
        watch_id, _, revision = value.partition(".")
        if not revision.isascii() or not revision.isdecimal() or len(revision) > 9:
            raise Invalid([FieldError("pick", "is not the id of a review with its revision")])
        yield SelectedReview(watch_id, int(revision))


def _looked_at(picks: Sequence[SelectedReview], decision: str) -> tuple[list[dict[str, Any]], list[SkippedReview]]:
    documents: list[dict[str, Any]] = []
    left: list[SkippedReview] = []
    away = stands_in_for(deps().database, person())
    for pick in picks:
        try:
            pause = get_pause(deps().database, person(), pick.watch_id)
        except NotFound as domain_error:
            left.append(SkippedReview(pick.watch_id, pick.watch_id[:64], domain_error.detail))
            continue
        why = _why_not(pause, pick, decision, away)
        if why is None:
            documents.append(pause_document(pause, deps().database.public_url))
        else:
            left.append(SkippedReview(pick.watch_id, pause.action, why))
    return documents, left


def _why_not(pause: Pause, pick: SelectedReview, decision: str, away: Sequence[Voter]) -> str | None:
    if pause.status is not Status.PENDING:
        return f"it is {pause.status} already"
    if pause.revision != pick.revision:
        return "it was edited since you selected it: look at what it says now"
    if not may_vote(pause, person(), away):
        return "your vote is not asked for: you asked for it yourself, or other people have to decide"
    if decision == APPROVE and pause.response_schema is not None:
        return "it asks for an answer: open it and fill in the form"
    return None


def _verdict(pick: SelectedReview, outcome: dict[str, Any] | DomainError, decision: str) -> BulkResult:
    if isinstance(outcome, DomainError):
        return BulkResult(pick.watch_id, _action(pick.watch_id), False, _refused(outcome))
    action = outcome["agentContext"]["action"]
    if outcome["status"] != "pending":
        return BulkResult(pick.watch_id, action, True, f"{outcome['status']}")
    waits = outcome["waitingFor"]
    told = f"your vote is counted: {waits['approved']} of {waits['approvals']} approvals, it still waits for others"
    return BulkResult(pick.watch_id, action, True, told)


def _refused(domain_error: DomainError) -> str:
    if isinstance(domain_error, AlreadyResolved):
        decision = domain_error.current["decision"]
        return f"it was {domain_error.current['status']} before, by {decision['decidedByName']}"
    field_errors = domain_error.field_errors if isinstance(domain_error, Invalid) else ()
    return "; ".join(f"{field_error.path} {field_error.message}" for field_error in field_errors) or domain_error.detail


def _action(watch_id: str) -> str:
    try:
        return get_pause(deps().database, person(), watch_id).action
    except (NotFound, DatabaseUnavailable):
        return watch_id[:64]

"""/inbox/decide: decide several reviews at once.

The first page shows the consequences for each review. Its form decides, and the next page lists the results.
"""

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
from app.http.decisions import decide_each
from domain.identity.access import Permission
from domain.pauses.pause import STEP, Approve, Pause, Reject, Status
from domain.pauses.serialization import pause_document, pause_id
from domain.pauses.votes import Voter
from domain.values.errors import AlreadyResolved, DomainError, FieldError, Invalid, NotFound
from services.kernel.connection_pool import DatabaseUnavailable
from services.pauses.lifecycle import actor, get_pause
from services.reviews.inbox import may_vote, stands_in_for

APPROVE, REJECT = "approve", "reject"
# Several times as many as fit on a page of the inbox.
MAX_PICKS = 100
# A value of at most this many lines is shown in full.
FULL_LINES = 60


@dataclass(frozen=True, slots=True)
class SelectedReview:
    """A review at the revision that its row showed."""

    watch_id: str
    revision: int

    @property
    def value(self) -> str:
        return f"{self.watch_id}.{self.revision}"


@dataclass(frozen=True, slots=True)
class SkippedReview:
    """A review that cannot be decided with the others, and the reason."""

    watch_id: str
    action: str
    why: str


@dataclass(frozen=True, slots=True)
class BulkResult:
    """The result for one review."""

    watch_id: str
    action: str
    done: bool
    text: str


@page("GET", "/inbox/decide", permission=Permission.PAUSE_DECIDE)
def confirm_page() -> Any:
    decision = _decision(request.args.get("decision", ""))
    picks = list(_picks(request.args.getlist("pick")))
    documents, skipped = _load(picks, decision)
    everything = "all" in request.args
    again = urlencode([("decision", decision), *(("pick", pick.value) for pick in picks), ("all", "1")])
    return render(
        "inbox_decide.html",
        decision=decision,
        rows=[(row, _substance(row.pause, everything)) for row in rows_of(documents)],
        skipped=skipped,
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
    outcomes = decide_each(
        [(pick.watch_id, command(actor(person()), comment, revision=pick.revision)) for pick in picks]
    )
    results = [_result(pick, outcome) for pick, outcome in zip(picks, outcomes, strict=True)]
    return render("inbox_results.html", decision=decision, results=results)


def _substance(pause: dict[str, Any], everything: bool) -> list[tuple[Any, Node]]:
    """Return the reviewed values besides the action: the arguments, and the context that an agent gave."""
    request = pause["agentContext"]
    parts = [request["arguments"], request["context"] if pause["kind"] != STEP else None]
    return [(part, tree(part, everything, FULL_LINES)) for part in parts if part]


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
            raise Invalid([FieldError("pick", "is not a review's id and revision, like wch_….1")])
        yield SelectedReview(watch_id, int(revision))


def _load(picks: Sequence[SelectedReview], decision: str) -> tuple[list[dict[str, Any]], list[SkippedReview]]:
    documents: list[dict[str, Any]] = []
    skipped: list[SkippedReview] = []
    away = stands_in_for(deps().database, person())
    for pick in picks:
        try:
            pause = get_pause(deps().database, person(), pause_id(pick.watch_id))
        except NotFound as error:
            skipped.append(SkippedReview(pick.watch_id, pick.watch_id[:64], error.detail))
            continue
        why = _why_not(pause, pick, decision, away)
        if why is None:
            documents.append(pause_document(pause, deps().database.public_url))
        else:
            skipped.append(SkippedReview(pick.watch_id, pause.action, why))
    return documents, skipped


def _why_not(pause: Pause, pick: SelectedReview, decision: str, away: Sequence[Voter]) -> str | None:
    if pause.status is not Status.PENDING:
        return f"it is already {pause.status}"
    if pause.revision != pick.revision:
        return "it was edited after you selected it; open it to read the new version"
    if not may_vote(pause, person(), away):
        return "you are not an eligible voter: you requested it yourself, or other people must decide"
    if decision == APPROVE and pause.response_schema is not None:
        return "it needs a response; open it and fill in the form"
    return None


def _result(pick: SelectedReview, outcome: dict[str, Any] | DomainError) -> BulkResult:
    if isinstance(outcome, DomainError):
        return BulkResult(pick.watch_id, _action(pick.watch_id), False, _error_text(outcome))
    action = outcome["agentContext"]["action"]
    if outcome["status"] != "pending":
        return BulkResult(pick.watch_id, action, True, f"{outcome['status']}")
    waits = outcome["waitingFor"]
    text = f"your vote is recorded; {waits['approved']} of {waits['approvals']} approvals, so it waits for other votes"
    return BulkResult(pick.watch_id, action, True, text)


def _error_text(error: DomainError) -> str:
    if isinstance(error, AlreadyResolved):
        decision = error.current["decision"]
        return f"it was already {error.current['status']} by {decision['decidedByName']}"
    field_errors = error.field_errors if isinstance(error, Invalid) else ()
    return "; ".join(f"{each.path} {each.message}" for each in field_errors) or error.detail


def _action(watch_id: str) -> str:
    try:
        return get_pause(deps().database, person(), pause_id(watch_id)).action
    except (NotFound, DatabaseUnavailable):
        return watch_id[:64]

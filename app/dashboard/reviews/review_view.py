"""The facts that a person needs to decide a review: the consequences, and whether this person may vote."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from app.dashboard.sagas.saga_picture import PictureRow, picture
from app.deps import deps
from domain.identity.access import Permission, Principal
from domain.manifests.definition import StepKind
from domain.pauses.client_words import ClientWords, client_words
from domain.pauses.pause import STEP, Pause, Status
from domain.pauses.serialization import pause_document, pause_id
from domain.pauses.use_summary import UseSummary, use_of
from domain.pauses.votes import Voter
from domain.values.json_diff import Change, differences
from services.identity.display_names import names_of
from services.kernel.pagination import Page
from services.log.audit import EventFilter, list_events
from services.pauses.lifecycle import get_pause
from services.reviews.inbox import may_vote, stands_in_for, votes_for
from services.sagas.queries import get_step, read_saga

# The number of history entries on the page.
HISTORY = 50


@dataclass(frozen=True, slots=True)
class SagaContext:
    """The saga that waits for this review.

    Attributes:
        held: the step under this review; None after a rerun, which opens a new review.
        following: the step after it.
        undone: the steps that a rejection undoes, in that order.
        kept: the completed steps without an undo.
        next_review: the `watchId` of another review for which the same saga waits now.
    """

    document: dict[str, Any]
    rows: tuple[PictureRow, ...]
    held: PictureRow | None
    following: PictureRow | None
    undone: tuple[PictureRow, ...]
    kept: tuple[PictureRow, ...]
    next_review: str | None


@dataclass(frozen=True, slots=True)
class ReviewView:
    """The current state of a review, for one person.

    Attributes:
        requester: the name of the key or person that created the review.
        why_not: the reason why this person cannot vote; None if they can.
        completes: an approval by this person would be the last one needed.
        own_vote: the outcome of this person's vote, while it counts.
        votes_for: the name of the absent person for whom this person votes.
        use: the use of the approval; None if there is no approval, or nothing to say.
    """

    pause: Pause
    document: dict[str, Any]
    requester: str
    saga_context: SagaContext | None
    why_not: str | None
    completes: bool
    own_vote: str | None
    votes_for: str | None
    use: UseSummary | None

    @property
    def pending(self) -> bool:
        return self.pause.status is Status.PENDING

    @property
    def subject(self) -> str:
        """The word for the value that a reviewer may edit."""
        reasons = self.pause.kind == STEP and (self.pause.context or {}).get("step_kind") == StepKind.REASON
        return "output" if reasons else "arguments"

    @property
    def client(self) -> ClientWords:
        return client_words(self.pause.metadata)

    @property
    def edited(self) -> bool:
        return self.pause.posted_arguments is not None

    @property
    def edits(self) -> list[Change]:
        """All that reviewers have changed in the arguments or the output, since they were posted."""
        posted, now = self.pause.posted_arguments, self.pause.arguments
        return [] if posted is None else list(differences(posted, now, self.subject))

    @property
    def editor(self) -> str | None:
        """The name of the last reviewer who edited. An edit casts the first vote on its revision."""
        on_this = (vote for vote in self.document["votes"] if vote["revision"] == self.pause.revision)
        return next((vote["byName"] for vote in on_this), None) if self.edited else None


def load_review(by: Principal, watch_id: str) -> ReviewView:
    """Load the review as this person sees it. Raises `NotFound`."""
    database = deps().database
    pause = get_pause(database, by, pause_id(watch_id))
    document = pause_document(pause, database.public_url)
    requester = names_of(database, [pause.created_by])[pause.created_by]
    own = next((vote["outcome"] for vote in document["votes"] if vote["counts"] and vote["by"] == by.id), None)
    # Repeating an approval that already counts completes nothing.
    completes = _completes(document) and own != Status.APPROVED
    stood_in_for = stands_in_for(database, by) if pause.status is Status.PENDING else ()
    why_not = _why_not(pause, document, by, stood_in_for)
    away = None if why_not is not None else votes_for(pause, by, stood_in_for)
    away_name = None if away is None else away.name
    use = use_of(document, datetime.now(UTC))
    return ReviewView(pause, document, requester, _saga_context(by, pause), why_not, completes, own, away_name, use)


def _saga_context(by: Principal, pause: Pause) -> SagaContext | None:
    # Only the engine creates pauses of this kind, so their context is trusted.
    if pause.kind != STEP or pause.context is None or not by.may(Permission.SAGA_READ):
        return None
    document, saga, definition = read_saga(deps().database, by, UUID(hex=pause.context["trace_id"]))
    rows = picture(saga, definition, pause.id)
    place = next((place for place, row in enumerate(rows) if row.here), None)
    held = None if place is None else rows[place]
    after = () if place is None else rows[place + 1 :]
    undone = sorted((row for row in rows if row.undone_as is not None), key=lambda row: row.undone_as or 0)
    kept = tuple(row for row in rows if row.status == "COMPLETED" and row.undo_by is None)
    others = (row.watch_id for row in rows if row.held and not row.here)
    return SagaContext(document, rows, held, next(iter(after), None), tuple(undone), kept, next(others, None))


def _why_not(pause: Pause, document: dict[str, Any], by: Principal, stood_in_for: Sequence[Voter]) -> str | None:
    if pause.status is not Status.PENDING:
        return None
    if not by.may(Permission.PAUSE_DECIDE):
        return f"Your role, {by.role}, may not decide reviews."
    if pause.is_own(by.id):
        return "You created this request, and a person may not decide their own request."
    if may_vote(pause, by, stood_in_for):
        return None
    waiting = document["waitingFor"]
    eligible = [*(f"the group {name}" for name in waiting["groups"]), *waiting["assignees"]]
    if not eligible:
        return "This review does not wait for your vote."
    return f"This review waits for {' or '.join(eligible)}; you are signed in as {by.email or by.name}."


def _completes(document: dict[str, Any]) -> bool:
    waiting = document["waitingFor"]
    if waiting is None:
        return False
    last = waiting["stage"] == waiting["stages"] - 1
    return bool(last and waiting["approvals"] - waiting["approved"] <= 1)


def transcript(by: Principal, view: ReviewView) -> Any:
    """Return the messages between the model and its tools; None if they were not stored."""
    if view.saga_context is None or view.saga_context.held is None or view.saga_context.held.kind != StepKind.REASON:
        return None
    trace_id = UUID(hex=view.saga_context.document["trace_id"])
    return get_step(deps().database, by, trace_id, view.saga_context.held.span, None)["transcript"]


def history(by: Principal, pause: Pause, watch_id: str) -> list[dict[str, Any]] | None:
    """Return the review's audit entries, oldest first; None if the person may not read the audit log."""
    if not by.may(Permission.AUDIT_READ):
        return None
    wanted = EventFilter(namespace=pause.namespace, subject=watch_id)
    return list(reversed(list_events(deps().database, by, wanted, Page(HISTORY)).items))

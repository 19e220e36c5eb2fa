"""A change of a pause and all that its transaction writes: row, audit log, webhooks, reminders, saga step."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import bindparam, update

from domain.delivery.notification import Reason
from domain.delivery.webhook import EVENT_TYPES
from domain.identity.access import Principal
from domain.log.audit_facts import changed_facts
from domain.pauses.pause import STEP, SYSTEM, Approve, Command, Event, Pause, Reject, Status, decide
from domain.pauses.serialization import RenderedEvent, pause_document
from domain.pauses.votes import Voter
from domain.values.errors import RevisionChanged
from models.pauses import pauses, values
from models.records import as_records, update_records
from services.kernel.leases import make_saga_due
from services.kernel.unit_of_work import Database, UnitOfWork
from services.notifications.recipients import notify
from services.pauses.voters import members_of
from services.webhooks.outbox import announce

_CHANGED_BY_RESOLUTION = (
    "status",
    "resolved_at",
    "decided_by",
    "decided_by_name",
    "decided_auth",
    "comment",
    "response",
)
_CHANGED_BY_DECISION = (
    *_CHANGED_BY_RESOLUTION,
    "revision",
    "arguments",
    "arguments_digest",
    "posted_arguments",
)
_CHANGED_BY_VOTES = (
    *_CHANGED_BY_DECISION,
    "expires_at",
    "on_timeout",
    "votes",
    "stage",
    "asked",
    "attend_at",
    "reminders",
    "escalated_at",
)


@dataclass(frozen=True, slots=True)
class PauseChange:
    """A pause after a command, with its document. `changed`: whether the command changed it."""

    pause: Pause
    document: dict[str, Any]
    changed: bool


class _Version(NamedTuple):
    """A pause before or after an event, with its document and its row, each made once."""

    pause: Pause
    document: dict[str, Any]
    row: dict[str, Any]


def apply(database: Database, uow: UnitOfWork, by: Principal | None, pause: Pause, command: Command) -> PauseChange:
    """Apply the command to the locked pause and store the result. `by`: None is the clock."""
    votes = isinstance(command, Approve | Reject) and pause.status is Status.PENDING
    members = members_of(uow, pause.namespace) if votes and not pause.review.plain else ()
    changed, events = decide_by(database, pause, command, uow.now, members)
    return store_change(database, uow, by, pause, changed, events)


def decide_by(
    database: Database, pause: Pause, command: Command, now: datetime, members: Sequence[Voter] = ()
) -> tuple[Pause, tuple[Event, ...]]:
    """Return what `decide` does. `RevisionChanged` gets the pause's document."""
    try:
        return decide(pause, command, now, members)
    except RevisionChanged as late:
        late.current = pause_document(pause, database.public_url)
        raise


def store_change(
    database: Database, uow: UnitOfWork, by: Principal | None, before: Pause, changed: Pause, events: tuple[Event, ...]
) -> PauseChange:
    """Store `changed`, which is `before` after the events. Without events nothing is stored."""
    if not events:
        return PauseChange(changed, pause_document(changed, database.public_url), False)
    if changed.status is Status.PENDING and (changed.stage, changed.revision) != (before.stage, before.revision):
        # Remind at once: the voters are new, or the arguments are.
        changed = replace(changed, attend_at=uow.now)
    versions = [
        _Version(pause, pause_document(pause, database.public_url), values(pause))
        for pause in (before, *(event.pause for event in events[:-1]), changed)
    ]
    for event, earlier, later in zip(events, versions, versions[1:], strict=False):
        _record(uow, by, event.type, earlier, later)
    # After an expiry that escalated, more columns have changed than a decision changes.
    plain = changed.review.plain and changed.status is not Status.PENDING and len(events) == 1
    names, statement = (_CHANGED_BY_DECISION, _RESOLVE) if plain else (_CHANGED_BY_VOTES, _CHANGE)
    # A parameter may not have the name of its column.
    columns = {f"new_{name}": versions[-1].row[name] for name in names}
    public = [
        RenderedEvent(event, version.document)
        for event, version in zip(events, versions[1:], strict=True)
        if event.type in EVENT_TYPES
    ]
    announce(uow, public, statement, columns | {"pause_id": changed.id})
    if changed.id not in uow.wakes:
        # A vote is no webhook event, but open pages and long polls show it.
        uow.wakes.append(changed.id)
    if any(event.type == "pause.escalated" for event in events) and changed.status is Status.PENDING:
        notify(uow, changed, Reason.ESCALATED)
    if changed.status is not Status.PENDING:
        if changed.kind == STEP:
            make_saga_due(uow, changed.id)
        uow.ended_pauses.append(changed)
    return PauseChange(changed, versions[-1].document, True)


class Resolution(NamedTuple):
    """A locked pause that one plain decision has resolved: before, and by the event after it."""

    by: Principal
    before: Pause
    event: Event


def store_resolutions(database: Database, uow: UnitOfWork, resolved: Sequence[Resolution]) -> list[PauseChange]:
    """Store the resolutions of several pauses by one statement. The caller makes their sagas due."""
    events: list[RenderedEvent] = []
    rows: list[dict[str, Any]] = []
    for by, before, event in resolved:
        earlier, later = (
            _Version(pause, pause_document(pause, database.public_url), values(pause))
            for pause in (before, event.pause)
        )
        _record(uow, by, event.type, earlier, later)
        events.append(RenderedEvent(event, later.document))
        rows.append({name: later.row[name] for name in ("id", *_CHANGED_BY_RESOLUTION)})
    if events:
        ids = [event.pause.id for event in events]
        announce(uow, events, _RESOLVE_MANY, {"records": as_records(rows), "ids": ids})
        uow.ended_pauses += [event.pause for event in events]
    return [PauseChange(event.pause, event.document, True) for event in events]


def _record(uow: UnitOfWork, by: Principal | None, type_: str, earlier: _Version, later: _Version) -> None:
    before, after = earlier.pause, later.pause
    decision = after.decision
    details: dict[str, Any] = {"revision": after.revision}
    if after.arguments_digest is not None:
        details["arguments_digest"] = after.arguments_digest.hex()
    if decision is not None:
        details |= {"outcome": str(decision.outcome), "comment": decision.comment}
    elif after.votes != before.votes:
        vote = after.votes[-1]
        details |= {"outcome": "approved" if vote.approves else "rejected", "comment": vote.comment}
    if after.votes != before.votes and after.votes[-1].on_behalf_of is not None:
        details["on_behalf_of"] = after.votes[-1].on_behalf_of.id
    system = type_ in ("pause.escalated", "pause.extended") or (decision is not None and decision.by.id == SYSTEM)
    details["row"] = changed_facts(earlier.row, later.row)
    uow.record(
        None if system else by,
        after.namespace,
        type_,
        later.document["watchId"],
        before=earlier.document,
        after=later.document,
        **details,
    )


def _changing(names: tuple[str, ...]) -> Any:
    """Return the UPDATE of these columns. Built once: building a statement takes longer than running it."""
    return (
        update(pauses)
        .where(pauses.c.id == bindparam("pause_id"), pauses.c.status == Status.PENDING.value)
        .values({name: bindparam(f"new_{name}", type_=pauses.c[name].type) for name in names})
    )


_RESOLVE_MANY = update_records(pauses, _CHANGED_BY_RESOLUTION).where(pauses.c.status == Status.PENDING.value)
_RESOLVE = _changing(_CHANGED_BY_DECISION)
_CHANGE = _changing(_CHANGED_BY_VOTES)

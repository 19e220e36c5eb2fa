"""What a change of a pause brings with it, in its transaction: its row, the audit log, who is told, its step."""

from dataclasses import replace
from typing import Any

from sqlalchemy import bindparam, update

from domain.delivery.notification import Reason
from domain.delivery.webhook import EVENT_TYPES
from domain.identity.access import Principal
from domain.log.audit_facts import changed_facts
from domain.pauses.pause import STEP, SYSTEM, Approve, Command, Event, Pause, Reject, Status, decide
from domain.pauses.serialization import pause_document
from domain.values.errors import RevisionChanged
from models.pauses import pauses, values
from services.kernel.leases import make_saga_due
from services.kernel.unit_of_work import Database, UnitOfWork
from services.notifications.recipients import notify
from services.pauses.voters import members_of
from services.webhooks.outbox import announce, announcing

_CHANGED_BY_DECISION = (
    "status",
    "revision",
    "arguments",
    "arguments_digest",
    "posted_arguments",
    "resolved_at",
    "decided_by",
    "decided_by_name",
    "comment",
    "response",
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


def apply(database: Database, uow: UnitOfWork, by: Principal | None, pause: Pause, command: Command) -> Pause:
    """`by`: who asked; None is the clock. The pause is locked."""
    votes = isinstance(command, Approve | Reject) and pause.status is Status.PENDING
    counted = votes and not pause.review.plain
    members = members_of(uow, pause.namespace) if counted else ()
    try:
        changed, events = decide(pause, command, uow.now, members)
    except RevisionChanged as late:
        late.current = pause_document(pause, database.public_url)
        raise
    return change(database, uow, by, pause, changed, events)


def change(
    database: Database, uow: UnitOfWork, by: Principal | None, before: Pause, changed: Pause, events: tuple[Event, ...]
) -> Pause:
    """Store what has become of it, if anything has."""
    if not events:
        return changed
    if changed.status is Status.PENDING and (changed.stage, changed.revision) != (before.stage, before.revision):
        # Others are asked now, or something else: they hear of it.
        changed = replace(changed, attend_at=uow.now)
    for earlier, event in zip((before, *(event.pause for event in events)), events, strict=False):
        _record(database, uow, by, earlier, event)
    # Where its time had run out into an escalation, the decision is not all that has changed.
    plain = changed.review.plain and changed.status is not Status.PENDING and len(events) == 1
    names, statement = (_CHANGED_BY_DECISION, _RESOLVE) if plain else (_CHANGED_BY_VOTES, _CHANGE)
    row = values(changed)
    # A parameter may not have the name of the column that it is for.
    columns = {f"new_{name}": row[name] for name in names}
    told = [event for event in events if event.type in EVENT_TYPES]
    announce(database, uow, told, statement, columns | {"pause_id": changed.id})
    if changed.id not in uow.wakes:
        # A vote is no news to the outside, but whoever looks at the pause sees it.
        uow.wakes.append(changed.id)
    if any(event.type == "pause.escalated" for event in events) and changed.status is Status.PENDING:
        notify(uow, changed, Reason.ESCALATED)
    if changed.status is not Status.PENDING:
        if changed.kind == STEP:
            make_saga_due(uow, changed.id)
        uow.ended_pauses.append(changed)
    return changed


def _record(database: Database, uow: UnitOfWork, by: Principal | None, before: Pause, event: Event) -> None:
    after = event.pause
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
    system = event.type in ("pause.escalated", "pause.extended") or (decision is not None and decision.by.id == SYSTEM)
    documents = [pause_document(found, database.public_url) for found in (before, after)]
    details["row"] = changed_facts(values(before), values(after))
    uow.record(
        None if system else by,
        after.namespace,
        event.type,
        documents[1]["watchId"],
        before=documents[0],
        after=documents[1],
        **details,
    )


def _changing(names: tuple[str, ...]) -> Any:
    """Built once: building a statement takes longer than running it."""
    return announcing(
        update(pauses)
        .where(pauses.c.id == bindparam("pause_id"), pauses.c.status == Status.PENDING.value)
        .values({name: bindparam(f"new_{name}", type_=pauses.c[name].type) for name in names})
    )


_RESOLVE = _changing(_CHANGED_BY_DECISION)
_CHANGE = _changing(_CHANGED_BY_VOTES)

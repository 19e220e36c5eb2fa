"""The table of pauses, and the way between a row and a `domain.pauses.pause.Pause`."""

from collections.abc import Callable
from dataclasses import fields
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    RowMapping,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSON

from domain.pauses import approval_policy
from domain.pauses.pause import Actor, Decision, OnTimeout, Pause, Status
from domain.pauses.review_claim import ReviewClaim
from domain.pauses.votes import Vote
from models.tables import metadata
from models.words import word

# For processes of the version before, which write rows while a migration has run and they have not ended.
_NONE_YET = text("0")

# json, not jsonb: it keeps what the agent sent, to the order of its keys, and nothing here looks inside.
# An empty object or list is stored as NULL: most rows have none, and a NULL costs one bit.
pauses = Table(
    "pauses",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True)),
    Column("resolved_at", DateTime(timezone=True)),
    Column("revision", Integer, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("namespace", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("on_timeout", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("context", JSON(none_as_null=True)),
    Column("arguments", JSON(none_as_null=True)),
    Column("arguments_digest", LargeBinary),
    # Where a reviewer has edited them: as they were before.
    Column("posted_arguments", JSON(none_as_null=True)),
    Column("arguments_schema", JSON(none_as_null=True)),
    Column("review", JSON(none_as_null=True)),
    Column("response_schema", JSON(none_as_null=True)),
    Column("callback_url", Text),
    Column("tags", ARRAY(Text)),
    Column("metadata", JSON(none_as_null=True)),
    # The agent's own name for it; it may have several of one name.
    Column("external_id", Text),
    Column("decided_by", Text),
    Column("decided_by_name", Text),
    Column("comment", Text),
    Column("response", JSON(none_as_null=True)),
    # Of the review: who has voted; which stage it is at; whom it asks now (`group:…`, `person:…`; NULL: any reviewer).
    Column("votes", JSON(none_as_null=True)),
    Column("stage", SmallInteger, nullable=False, server_default=_NONE_YET),
    Column("asked", ARRAY(Text)),
    Column("claim", JSON(none_as_null=True)),
    # When its people are to be told (again), or others to be added; NULL: nothing to do.
    Column("attend_at", DateTime(timezone=True)),
    Column("reminders", SmallInteger, nullable=False, server_default=_NONE_YET),
    Column("escalated_at", DateTime(timezone=True)),
    CheckConstraint("status IN ('pending', 'approved', 'rejected', 'expired', 'cancelled')", name="status"),
    CheckConstraint("(status = 'pending') = (resolved_at IS NULL)", name="resolved"),
    CheckConstraint("(status = 'pending') = (decided_by IS NULL)", name="decided"),
    CheckConstraint("(arguments IS NULL) = (arguments_digest IS NULL)", name="digest"),
    CheckConstraint("kind IN ('agent', 'step')", name="kind"),
    CheckConstraint("on_timeout IN ('expire', 'reject', 'approve', 'escalate')", name="on_timeout"),
    CheckConstraint(
        "decided_by <> created_by OR status = 'cancelled' OR coalesce((review ->> 'allow_self')::boolean, false)"
        " OR decided_by = 'anonymous'",
        name="no_self_decision",
    ),
    # Lists are newest first within a namespace; ids sort by time.
    Index("ix_pauses_namespace_id", "namespace", "id"),
    Index(
        "ix_pauses_external_id",
        "namespace",
        "external_id",
        "id",
        postgresql_where=text("external_id IS NOT NULL"),
    ),
    # Steps that wait for a person, the oldest first, for keys of all namespaces and of few.
    Index(
        "ix_pauses_steps_pending",
        "id",
        "namespace",
        postgresql_where=text("kind = 'step' AND status = 'pending'"),
    ),
    Index("ix_pauses_expires_at_pending", "expires_at", postgresql_where=text("status = 'pending'")),
    Index("ix_pauses_attend_at", "attend_at", postgresql_where=text("attend_at IS NOT NULL AND status = 'pending'")),
    # The inbox: the most urgent first, then the oldest.
    Index("ix_pauses_inbox", text("priority DESC"), "id", postgresql_where=text("status = 'pending'")),
    Index("ix_pauses_resolved_at", "resolved_at", postgresql_where=text("resolved_at IS NOT NULL")),
)


def values(pause: Pause) -> dict[str, Any]:
    """Every column of the row that holds `pause`."""
    decision = pause.decision
    return {
        "id": pause.id,
        "created_at": pause.created_at,
        "expires_at": pause.expires_at,
        "resolved_at": None if decision is None else decision.at,
        "revision": pause.revision,
        "priority": pause.priority,
        "namespace": pause.namespace,
        "kind": pause.kind,
        "status": str(pause.status),
        "on_timeout": str(pause.on_timeout),
        "created_by": pause.created_by,
        "action": pause.action,
        "context": pause.context or None,
        "arguments": pause.arguments,
        "arguments_digest": pause.arguments_digest,
        "posted_arguments": pause.posted_arguments,
        "arguments_schema": pause.arguments_schema,
        "review": None if pause.review == approval_policy.ONE_APPROVAL else pause.review.document(),
        "response_schema": pause.response_schema,
        "callback_url": pause.callback_url,
        "tags": list(pause.tags) or None,
        "metadata": pause.metadata or None,
        "external_id": pause.external_id,
        "decided_by": None if decision is None else decision.by.id,
        "decided_by_name": None if decision is None else decision.by.name,
        "comment": None if decision is None else decision.comment,
        "response": None if decision is None else decision.response,
        "votes": [_vote_record(vote) for vote in pause.votes] or None,
        "stage": pause.stage,
        "asked": pause.asked,
        "claim": None if pause.claim is None else claim_record(pause.claim),
        "attend_at": pause.attend_at,
        "reminders": pause.reminders,
        "escalated_at": pause.escalated_at,
    }


def pause_of(row: RowMapping) -> Pause:
    """Also of a row that a newer release has written: what is not understood is named, and stands in nobody's way."""
    policy, places = approval_policy.stored(row["review"])
    unreadable = list(places)
    votes: tuple[Vote, ...] = _read("votes", unreadable, lambda: tuple(map(_vote_of, row["votes"] or ())), ())
    unreadable += [f"votes.{name}" for vote in votes for name in vote.more or ()]
    return Pause(
        id=row["id"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revision=row["revision"],
        priority=row["priority"],
        namespace=row["namespace"],
        kind=row["kind"],
        status=word(Status, row["status"], "status", unreadable),
        on_timeout=word(OnTimeout, row["on_timeout"], "onTimeout", unreadable),
        created_by=row["created_by"],
        action=row["action"],
        context=row["context"],
        arguments=row["arguments"],
        arguments_digest=None if row["arguments_digest"] is None else bytes(row["arguments_digest"]),
        posted_arguments=row["posted_arguments"],
        arguments_schema=row["arguments_schema"],
        review=policy,
        response_schema=row["response_schema"],
        callback_url=row["callback_url"],
        tags=tuple(row["tags"] or ()),
        metadata=row["metadata"],
        external_id=row["external_id"],
        decision=_decision_of(row),
        votes=votes,
        stage=min(row["stage"], len(policy.stages) - 1),
        # Only a hint for people: without it nothing is decided otherwise.
        claim=None if row["claim"] is None else _read("claim", [], lambda: _claim_of(row["claim"]), None),
        attend_at=row["attend_at"],
        reminders=row["reminders"],
        escalated_at=row["escalated_at"],
        unreadable=tuple(unreadable),
    )


_Part = TypeVar("_Part")


def _read(place: str, unreadable: list[str], read: Callable[[], _Part], otherwise: _Part) -> _Part:
    try:
        return read()
    except (TypeError, ValueError, KeyError, AttributeError):
        unreadable.append(place)
        return otherwise


def _decision_of(row: RowMapping) -> Decision | None:
    if row["resolved_at"] is None:
        return None
    return Decision(
        outcome=word(Status, row["status"], "", []),
        by=Actor(row["decided_by"], row["decided_by_name"]),
        at=row["resolved_at"],
        comment=row["comment"],
        response=row["response"],
    )


def _vote_record(vote: Vote) -> dict[str, Any]:
    return {
        "by": _actor_record(vote.by),
        "on_behalf_of": None if vote.on_behalf_of is None else _actor_record(vote.on_behalf_of),
        "approves": vote.approves,
        "at": vote.at.isoformat(),
        "revision": vote.revision,
        "stage": vote.stage,
        "comment": vote.comment,
        "response": vote.response,
        "counts": vote.counts,
    } | dict(vote.more or {})


def _vote_of(record: dict[str, Any]) -> Vote:
    other = record["on_behalf_of"]
    read = {
        "by": _actor_of(record["by"]),
        "on_behalf_of": None if other is None else _actor_of(other),
        "at": datetime.fromisoformat(record["at"]),
    }
    known = {name: value for name, value in record.items() if name in _OF_VOTE}
    more = {name: value for name, value in record.items() if name not in _OF_VOTE}
    return Vote(**{**known, **read}, more=more or None)


_OF_VOTE = frozenset(field.name for field in fields(Vote)) - {"more"}


def claim_record(claim: ReviewClaim) -> dict[str, Any]:
    return {"by": _actor_record(claim.by), "at": claim.at.isoformat()}


def _claim_of(record: dict[str, Any]) -> ReviewClaim:
    return ReviewClaim(_actor_of(record["by"]), datetime.fromisoformat(record["at"]))


def _actor_of(record: dict[str, Any]) -> Actor:
    return Actor(record["id"], record["name"])


def _actor_record(actor: Actor) -> dict[str, str]:
    return {"id": actor.id, "name": actor.name}

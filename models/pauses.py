"""The table of pauses, and the conversion between a row and a `domain.pauses.pause.Pause`."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime
from operator import attrgetter
from types import MappingProxyType
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
from domain.pauses.consumption import Consumption, ExecutionReport, ExecutionStatus
from domain.pauses.door import door_of
from domain.pauses.pause import Actor, Decision, OnTimeout, Pause, Status
from domain.pauses.review_claim import ReviewClaim
from domain.pauses.votes import Vote
from models.tables import metadata
from models.words import word

# Processes of the previous version still insert rows without these columns after the migration.
_NONE_YET = text("0")

# json, not jsonb: it keeps the order of the agent's keys, and no query looks inside.
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
    # The arguments before a reviewer edited them.
    Column("posted_arguments", JSON(none_as_null=True)),
    Column("arguments_schema", JSON(none_as_null=True)),
    Column("review", JSON(none_as_null=True)),
    Column("response_schema", JSON(none_as_null=True)),
    Column("callback_url", Text),
    # The name in `domain.pauses.callbacks`; NULL: a Standard Webhook.
    Column("callback_format", Text),
    Column("tags", ARRAY(Text)),
    Column("metadata", JSON(none_as_null=True)),
    # The agent's name for the pause; several may share one.
    Column("external_id", Text),
    # `metadata.door`, for filters; NULL also for pauses of processes that did not know this column.
    Column("door", Text),
    Column("decided_by", Text),
    Column("decided_by_name", Text),
    # How they authenticated; NULL: unknown, or the system decided.
    Column("decided_auth", Text),
    Column("comment", Text),
    Column("response", JSON(none_as_null=True)),
    # `asked` has the eligible voters of the stage (`group:…`, `person:…`); NULL means any reviewer.
    Column("votes", JSON(none_as_null=True)),
    Column("stage", SmallInteger, nullable=False, server_default=_NONE_YET),
    Column("asked", ARRAY(Text)),
    Column("claim", JSON(none_as_null=True)),
    # When the next reminder or escalation is due; NULL: none.
    Column("attend_at", DateTime(timezone=True)),
    Column("reminders", SmallInteger, nullable=False, server_default=_NONE_YET),
    Column("escalated_at", DateTime(timezone=True)),
    # Seconds: how long an approval may be used, and how long after the use its outcome is not missing.
    Column("approval_valid_for", Integer),
    Column("outcome_within", Integer),
    # The one use of the approval, with its Idempotency-Key, and the report of its outcome.
    Column("consumed_at", DateTime(timezone=True)),
    Column("consumed_with", Text),
    Column("outcome_status", Text),
    Column("outcome_at", DateTime(timezone=True)),
    Column("outcome_note", Text),
    Column("outcome_result", JSON(none_as_null=True)),
    # The operator who settled the outcome; NULL: the agent reported it.
    Column("outcome_by", Text),
    Column("outcome_by_name", Text),
    # When the sweep tells of the missing outcome; NULL after the report, and after the sweep.
    Column("outcome_due_at", DateTime(timezone=True)),
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
    CheckConstraint(
        "(consumed_at IS NULL) = (consumed_with IS NULL) AND (consumed_at IS NULL OR status = 'approved')",
        name="consumed",
    ),
    CheckConstraint(
        "(outcome_at IS NULL) = (outcome_status IS NULL) AND (outcome_at IS NULL OR consumed_at IS NOT NULL)",
        name="outcome",
    ),
    CheckConstraint("outcome_status IN ('succeeded', 'failed', 'unknown')", name="outcome_status"),
    CheckConstraint(
        "outcome_due_at IS NULL OR (consumed_at IS NOT NULL AND outcome_at IS NULL)",
        name="outcome_due",
    ),
    # Lists are newest first within a namespace; ids sort by time.
    Index("ix_pauses_namespace_id", "namespace", "id"),
    # An agent's own pauses.
    Index("ix_pauses_created_by", "created_by", "id"),
    Index("ix_pauses_external_ids", "external_id", "id", postgresql_where=text("external_id IS NOT NULL")),
    # Lists of a door, the newest first, for keys with one namespace or all.
    Index("ix_pauses_door", "door", "id", "namespace", postgresql_where=text("door IS NOT NULL")),
    # Held steps, the oldest first, for keys with one namespace or all.
    Index(
        "ix_pauses_steps_pending",
        "id",
        "namespace",
        postgresql_where=text("kind = 'step' AND status = 'pending'"),
    ),
    Index("ix_pauses_expires_at_pending", "expires_at", postgresql_where=text("status = 'pending'")),
    Index("ix_pauses_attend_at", "attend_at", postgresql_where=text("attend_at IS NOT NULL AND status = 'pending'")),
    # The inbox: the most urgent first, then the oldest. The namespace is checked in the index.
    Index("ix_pauses_waiting", text("priority DESC"), "id", "namespace", postgresql_where=text("status = 'pending'")),
    Index("ix_pauses_outcome_due_at", "outcome_due_at", postgresql_where=text("outcome_due_at IS NOT NULL")),
    # The approvals whose outcome is not known (yet), newest first.
    Index(
        "ix_pauses_unsettled",
        "id",
        "namespace",
        postgresql_where=text("consumed_at IS NOT NULL AND (outcome_status IS NULL OR outcome_status = 'unknown')"),
    ),
    Index("ix_pauses_resolved_at", "resolved_at", postgresql_where=text("resolved_at IS NOT NULL")),
    # Decided pauses of a namespace, the latest first.
    Index("ix_pauses_decided", "namespace", "resolved_at", "id", postgresql_where=text("resolved_at IS NOT NULL")),
)


# Columns that `values` and `pause_of` convert. The other columns with a field of the same name hold it as it is.
_CONVERTED = frozenset(
    {
        *("status", "on_timeout", "context", "arguments_digest", "review", "tags", "metadata"),
        *("votes", "stage", "claim"),
    }
)
_SAME = tuple(field.name for field in fields(Pause) if field.name in pauses.c and field.name not in _CONVERTED)
_read_same = attrgetter(*_SAME)


def values(pause: Pause) -> dict[str, Any]:
    """Return every column of the row that holds `pause`."""
    decision = pause.decision
    return {
        **dict(zip(_SAME, _read_same(pause), strict=True)),
        "status": str(pause.status),
        "on_timeout": str(pause.on_timeout),
        "context": pause.context or None,
        "arguments_digest": pause.arguments_digest,
        "review": None if pause.review == approval_policy.ONE_APPROVAL else pause.review.document(),
        "tags": list(pause.tags) or None,
        "metadata": pause.metadata or None,
        "door": door_of(pause.metadata),
        "resolved_at": None if decision is None else decision.at,
        "decided_by": None if decision is None else decision.by.id,
        "decided_by_name": None if decision is None else decision.by.name,
        "decided_auth": None if decision is None else decision.by.auth,
        "comment": None if decision is None else decision.comment,
        "response": None if decision is None else decision.response,
        "votes": [_vote_record(vote) for vote in pause.votes] or None,
        "stage": pause.stage,
        "asked": pause.eligible,
        "claim": None if pause.claim is None else claim_record(pause.claim),
        **(_UNUSED if pause.consumption is None else _execution_columns(pause.consumption)),
    }


_UNUSED: Mapping[str, Any] = MappingProxyType(
    dict.fromkeys(
        (
            *("consumed_at", "consumed_with", "outcome_due_at"),
            *("outcome_status", "outcome_at", "outcome_note", "outcome_result", "outcome_by", "outcome_by_name"),
        )
    )
)
EXECUTION_COLUMNS = tuple(_UNUSED)


def _execution_columns(used: Consumption) -> dict[str, Any]:
    found = {**_UNUSED, "consumed_at": used.at, "consumed_with": used.key, "outcome_due_at": used.outcome_due_at}
    if (report := used.report) is not None:
        found |= {"outcome_status": str(report.status), "outcome_at": report.at}
        found |= {"outcome_note": report.note, "outcome_result": report.result}
        if report.by is not None:
            found |= {"outcome_by": report.by.id, "outcome_by_name": report.by.name}
    return found


def pause_of(row: RowMapping) -> Pause:
    """Return the pause of the row. `unreadable` names what a newer release wrote and this one does not understand."""
    policy, places = approval_policy.stored(row["review"])
    unreadable = list(places)
    votes: tuple[Vote, ...] = _read("votes", unreadable, lambda: tuple(map(_vote_of, row["votes"] or ())), ())
    unreadable += [f"votes.{name}" for vote in votes for name in vote.more or ()]
    return Pause(
        **{name: row[name] for name in _SAME},
        status=word(Status, row["status"], "status", unreadable),
        on_timeout=word(OnTimeout, row["on_timeout"], "onTimeout", unreadable),
        context=row["context"],
        arguments_digest=None if row["arguments_digest"] is None else bytes(row["arguments_digest"]),
        review=policy,
        tags=tuple(row["tags"] or ()),
        metadata=row["metadata"],
        decision=_decision_of(row),
        consumption=None if row["consumed_at"] is None else _consumption_of(row, unreadable),
        votes=votes,
        stage=min(row["stage"], len(policy.stages) - 1),
        # An unreadable claim is dropped: it only informs other reviewers.
        claim=None if row["claim"] is None else _read("claim", [], lambda: _claim_of(row["claim"]), None),
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
        by=Actor(row["decided_by"], row["decided_by_name"], row["decided_auth"]),
        at=row["resolved_at"],
        comment=row["comment"],
        response=row["response"],
    )


def _consumption_of(row: RowMapping, unreadable: list[str]) -> Consumption:
    report = None
    if row["outcome_at"] is not None:
        status = word(ExecutionStatus, row["outcome_status"], "consumption.outcome.status", unreadable)
        by = None if row["outcome_by"] is None else Actor(row["outcome_by"], row["outcome_by_name"])
        report = ExecutionReport(status, row["outcome_at"], row["outcome_note"], row["outcome_result"], by)
    return Consumption(row["consumed_at"], row["consumed_with"], row["outcome_due_at"], report)


def _vote_record(vote: Vote) -> dict[str, Any]:
    return {
        # Inside `by`, where an older release ignores it: it does not approve a vote with unknown fields.
        "by": _actor_record(vote.by) | ({} if vote.by.auth is None else {"auth": vote.by.auth}),
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
    known = {name: value for name, value in record.items() if name in _VOTE_FIELDS}
    more = {name: value for name, value in record.items() if name not in _VOTE_FIELDS}
    return Vote(**{**known, **read}, more=more or None)


_VOTE_FIELDS = frozenset(field.name for field in fields(Vote)) - {"more"}


def claim_record(claim: ReviewClaim) -> dict[str, Any]:
    return {"by": _actor_record(claim.by), "at": claim.at.isoformat()}


def _claim_of(record: dict[str, Any]) -> ReviewClaim:
    return ReviewClaim(_actor_of(record["by"]), datetime.fromisoformat(record["at"]))


def _actor_of(record: dict[str, Any]) -> Actor:
    return Actor(record["id"], record["name"], record.get("auth"))


def _actor_record(actor: Actor) -> dict[str, str]:
    return {"id": actor.id, "name": actor.name}

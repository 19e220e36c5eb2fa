"""Sagas and their steps, and their mapping to `domain.sagas`. A lease covers a whole saga, for one call at a time."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    RowMapping,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSON

from domain.sagas.call_state import CallState
from domain.sagas.saga import Saga, SagaStatus
from domain.sagas.step import Error, Step, StepStatus, error_of
from models.leases import due_columns, due_constraints
from models.tables import metadata
from models.words import word

# `due_at` is NULL while the saga is held for review, waits for an operator, or has ended.
sagas = Table(
    "sagas",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("ended_at", DateTime(timezone=True)),
    Column("definition_id", Uuid, ForeignKey("definitions.id"), nullable=False, index=True),
    Column("namespace", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("start_idempotency_key", Text),
    Column("workers", JSON, nullable=False),
    Column("input", JSON, nullable=False),
    Column("error", JSON(none_as_null=True)),
    Column("cancelled", Text),
    Column("needs_operator", Boolean, nullable=False),
    # The running call's last progress according to its tool. It is only for display.
    Column("progress", JSON(none_as_null=True)),
    # The reason why no worker can continue the saga after several attempts, or NULL.
    Column("stuck", JSON(none_as_null=True)),
    *due_columns(may_rest=True),
    *due_constraints(),
    CheckConstraint(
        "status IN ('PENDING', 'RUNNING', 'AWAITING_HUMAN', 'COMPENSATING', 'COMPLETED', 'COMPENSATED', 'FAILED')",
        name="status",
    ),
    CheckConstraint("(status IN ('COMPLETED', 'COMPENSATED', 'FAILED')) = (ended_at IS NOT NULL)", name="ended"),
    CheckConstraint("ended_at IS NULL OR due_at IS NULL", name="nothing_due_after_the_end"),
    CheckConstraint("(due_at IS NULL) = (hint_at IS NULL)", name="hint"),
    # Lists are newest first, also within a namespace. Ids do not sort by time, because callers may choose them.
    Index("ix_sagas_created_at", "created_at", "id"),
    Index("ix_sagas_namespace_created_at", "namespace", "created_at", "id"),
    Index("ix_sagas_missed", "namespace", "hint_at", postgresql_where=text("due_at IS NOT NULL")),
    Index("ix_sagas_ended_at", "ended_at", postgresql_where=text("ended_at IS NOT NULL")),
    Index("ix_sagas_for_operators", "created_at", "id", "namespace", postgresql_where=text("needs_operator")),
    # Sagas that run, wait, failed or were undone: few among those that completed.
    Index(
        "ix_sagas_unfinished",
        *("created_at", "id", "namespace", "status"),
        postgresql_where=text(
            "status IN ('PENDING', 'RUNNING', 'AWAITING_HUMAN', 'COMPENSATING', 'COMPENSATED', 'FAILED')"
        ),
    ),
    Index(
        "uq_sagas_start_idempotency_key",
        "namespace",
        "start_idempotency_key",
        unique=True,
        postgresql_where=text("start_idempotency_key IS NOT NULL"),
    ),
    # Each row changes many times. Half of a page stays free for its next versions, which then need no index entries.
    postgresql_with={"fillfactor": 50},
)

# An older release writes rows without this column.
_FIRST = "1"

# By `place`, the steps of the manifest come first, then the undos.
saga_steps = Table(
    "saga_steps",
    metadata,
    Column("saga_id", Uuid, ForeignKey("sagas.id", ondelete="CASCADE"), nullable=False),
    Column("place", SmallInteger, nullable=False),
    Column("attempt", SmallInteger, nullable=False),
    Column("retries", Integer, nullable=False),
    Column("span_id", BigInteger, nullable=False, unique=True),
    Column("compensates", BigInteger),
    Column("started_at", DateTime(timezone=True)),
    Column("ended_at", DateTime(timezone=True)),
    Column("call_began", Boolean, nullable=False),
    Column("unsure", Boolean, nullable=False),
    Column("may_repeat", Boolean, nullable=False),
    Column("watch_id", Uuid, ForeignKey("pauses.id")),
    Column("step_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("arguments", JSON(none_as_null=True)),
    Column("arguments_digest", LargeBinary),
    Column("output", JSON(none_as_null=True)),
    Column("proposal", JSON(none_as_null=True)),
    Column("facts", JSON(none_as_null=True)),
    Column("report", JSON(none_as_null=True)),
    Column("error", JSON(none_as_null=True)),
    Column("guidance", Text),
    Column("retry_token", Text),
    Column("revision", Integer, nullable=False, server_default=_FIRST),
    Column("evidence", Text),
    Column("correction", JSON(none_as_null=True)),
    PrimaryKeyConstraint("saga_id", "place"),
    CheckConstraint(
        "status IN ('PENDING', 'IN_PROGRESS', 'AWAITING_HUMAN', 'COMPLETED', 'FAILED', 'TIMED_OUT', 'SKIPPED',"
        " 'COMPENSATING', 'COMPENSATED')",
        name="status",
    ),
    CheckConstraint("status <> 'AWAITING_HUMAN' OR watch_id IS NOT NULL", name="held_by_a_pause"),
    CheckConstraint("status NOT IN ('PENDING', 'SKIPPED') OR NOT call_began", name="no_call_before_its_turn"),
    CheckConstraint("compensates IS NULL OR status NOT IN ('COMPENSATING', 'COMPENSATED')", name="no_undo_of_an_undo"),
    CheckConstraint("(arguments IS NULL) = (arguments_digest IS NULL)", name="digest"),
    # A step has at most one undo.
    Index("uq_saga_steps_compensates", "compensates", unique=True, postgresql_where=text("compensates IS NOT NULL")),
    Index("uq_saga_steps_watch_id", "watch_id", unique=True, postgresql_where=text("watch_id IS NOT NULL")),
    postgresql_with={"fillfactor": 70},
)


# The messages between a step and its model, if the manifest keeps them. They may be much longer than the steps, which
# are read at each turn of a saga, so they have their own table.
saga_transcripts = Table(
    "saga_transcripts",
    metadata,
    Column("saga_id", Uuid, nullable=False),
    Column("place", SmallInteger, nullable=False),
    Column("messages", JSON, nullable=False),
    PrimaryKeyConstraint("saga_id", "place"),
    ForeignKeyConstraint(["saga_id", "place"], ["saga_steps.saga_id", "saga_steps.place"], ondelete="CASCADE"),
)


# The columns of a call's state. They change together.
CALL_COLUMNS = ("call_began", "unsure", "may_repeat")
_CALLS = {
    CallState.CLOSED: (False, False, False),
    CallState.OPEN: (True, False, False),
    CallState.OPEN_TWICE: (True, True, False),
    CallState.OPEN_BEFORE: (False, True, False),
    CallState.RETRY: (False, False, True),
    CallState.REPEAT: (True, True, True),
}
# An earlier release also writes these two. In both, a call is open.
_CALL_STATES = {columns: call for call, columns in _CALLS.items()} | dict.fromkeys(
    ((True, False, True), (False, True, True)), CallState.REPEAT
)


def saga_of(row: RowMapping, step_rows: Iterable[RowMapping]) -> Saga:
    """Return the saga of its row and its `step_rows`, in the order of `place`.

    Values of a newer release are named in `unreadable`, and shown as they are.
    """
    unreadable: list[str] = []
    all_steps = [step_of(step, unreadable) for step in step_rows]
    return Saga(
        trace_id=row["id"],
        namespace=row["namespace"],
        status=word(SagaStatus, row["status"], "status", unreadable),
        input=row["input"],
        steps=tuple(step for step in all_steps if step.compensates is None),
        undos=tuple(step for step in all_steps if step.compensates is not None),
        ended_at=row["ended_at"],
        error=_error_of(row["error"]),
        cancelled=row["cancelled"],
        stuck=_error_of(row["stuck"]),
        unreadable=tuple(unreadable),
    )


def saga_values(saga: Saga) -> dict[str, Any]:
    """Return the columns that a change of the saga sets, except its due times."""
    return {
        "status": str(saga.status),
        "ended_at": saga.ended_at,
        "error": None if saga.error is None else saga.error.document(),
        "cancelled": saga.cancelled,
        "needs_operator": saga.needs_operator,
        "stuck": None if saga.stuck is None else saga.stuck.document(),
    }


def step_of(row: RowMapping, unreadable: list[str]) -> Step:
    place = f"steps.{row['step_id']}"
    # The output is wrapped, to distinguish a tool's null from no output.
    output = row["output"]
    if output is not None and "data" not in output:
        unreadable.append(f"{place}.output")
    return Step(
        span_id=row["span_id"],
        id=row["step_id"],
        order=row["place"],
        status=word(StepStatus, row["status"], f"{place}.status", unreadable),
        compensates=row["compensates"],
        attempt=row["attempt"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        arguments=row["arguments"],
        arguments_digest=None if row["arguments_digest"] is None else bytes(row["arguments_digest"]),
        output=None if output is None else output.get("data"),
        proposal=row["proposal"],
        facts=row["facts"],
        report=row["report"],
        error=_error_of(row["error"]),
        call=_call_of(row),
        watch_id=row["watch_id"],
        retries=row["retries"],
        guidance=row["guidance"],
        retry_token=row["retry_token"],
        revision=row["revision"],
        evidence=row["evidence"],
        correction=row["correction"],
    )


def _call_of(row: RowMapping) -> CallState:
    # An earlier release leaves `may_repeat` set when the step ends without a repeat.
    wanted = row["may_repeat"] and row["status"] == StepStatus.IN_PROGRESS
    return _CALL_STATES[row["call_began"], row["unsure"], wanted]


def step_values(saga_id: Any, step: Step) -> dict[str, Any]:
    """Return all columns of the step's row."""
    return {
        "saga_id": saga_id,
        "place": step.order,
        "attempt": step.attempt,
        "retries": step.retries,
        "span_id": step.span_id,
        "compensates": step.compensates,
        "started_at": step.started_at,
        "ended_at": step.ended_at,
        **dict(zip(CALL_COLUMNS, _CALLS[step.call], strict=True)),
        "watch_id": step.watch_id,
        "step_id": step.id,
        "status": str(step.status),
        "arguments": step.arguments,
        "arguments_digest": step.arguments_digest,
        "output": None if step.output is None else {"data": step.output},
        "proposal": step.proposal,
        "facts": step.facts,
        "report": step.report,
        "error": None if step.error is None else step.error.document(),
        "guidance": step.guidance,
        "retry_token": step.retry_token,
        "revision": step.revision,
        "evidence": step.evidence,
        "correction": step.correction,
    }


def _error_of(value: dict[str, Any] | None) -> Error | None:
    return None if value is None else error_of(value)

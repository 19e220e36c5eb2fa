"""Leases on due rows of any kind: claim the row that a wake-up names, renew leases, find rows that were overlooked.

A claim is one UPDATE guarded by "still due, not leased". A result counts only under the claim's token. So a wake-up may
be lost, late, doubled or out of order. A killed worker's row is free again when its lease expires.
"""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from types import MappingProxyType
from typing import Any, TypedDict
from uuid import UUID

from sqlalchemy import (
    CTE,
    ColumnElement,
    RowMapping,
    Table,
    Uuid,
    and_,
    any_,
    bindparam,
    func,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.sql.dml import ReturningUpdate

from models.leases import worker_heartbeats
from models.notifications import notifications
from models.sagas import saga_steps, sagas
from models.webhooks import webhook_deliveries
from services.kernel.unit_of_work import Database, UnitOfWork, WakeUp

# A killed worker's work starts again after at most this, plus a sweep. With a shorter lease, a worker would lose its
# work whenever the database or the machine stalls for some seconds.
LEASE = timedelta(seconds=10)
# The length of the prefix that the lease tokens of one process share (`Database.holder`).
HOLDER_BYTES = 8
# Long enough for the wake-up of the commit to arrive; short enough that a lost one costs only about a second.
WAKEUP_GRACE = timedelta(seconds=1)
# A row is woken again after this. A wake-up that waits longer in its queue gets a duplicate, which is harmless.
WAKE_AGAIN_AFTER = timedelta(seconds=5)
# A wake-up without a claim within this time was lost, or something prevented the claim.
WAKEUP_ARRIVES = timedelta(seconds=2)
# Rows of one kind that one sweep wakes. With one sweep a second, that is more than the workers of one machine process.
# When tools or receivers are slow, more wake-ups would only cost failed claims.
SWEEP_LIMIT = 200

# The kinds of work, as wake-ups name them.
WEBHOOK = "webhook"
SAGA = "saga"
# A saga that continues after a person's decision. Its own queue keeps it ahead of other sagas.
DECISION = "decision"
NOTIFICATION = "notification"

TABLES: dict[str, Table] = {WEBHOOK: webhook_deliveries, SAGA: sagas, NOTIFICATION: notifications}


NO_PROGRESS: Mapping[UUID, dict[str, Any]] = MappingProxyType({})
_SET_PROGRESS = (
    update(sagas)
    .where(sagas.c.id == bindparam("claimed_id", type_=Uuid), sagas.c.lease_token == bindparam("token", type_=Uuid))
    .values(progress=bindparam("said", type_=sagas.c.progress.type))
)


@dataclass(frozen=True, slots=True)
class Lease:
    kind: str
    id: UUID
    token: UUID
    # When it was requested, by this process's `time.monotonic`. The lease expires no earlier than `LEASE` after this.
    since: float = field(default_factory=time.monotonic, compare=False)


def claimable(table: Table) -> ColumnElement[bool]:
    """Return a condition: the row is open, due, and not leased."""
    now = func.clock_timestamp()
    free = or_(table.c.leased_until.is_(None), table.c.leased_until < now)
    return and_(*_open(table), table.c.due_at <= now, free)


def _open(table: Table) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions for a row that has not ended. A saga that has ended has no `due_at`."""
    return () if table is sagas else (table.c.status == "pending",)


def claim(uow: UnitOfWork, kind: str, id_: UUID, *conditions: ColumnElement[bool]) -> Lease | None:
    """Lease the row. Return None if it is not due, done, leased, being claimed, or a condition is not met."""
    found = claim_row(uow, kind, id_, *conditions)
    return None if found is None else found[0]


def claim_row(
    uow: UnitOfWork, kind: str, id_: UUID, *conditions: ColumnElement[bool]
) -> tuple[Lease, RowMapping] | None:
    """Lease the row as `claim` does, and return it as it is after the claim."""
    lease = new_lease(uow, kind, id_)
    wanted = {"claimed_id": id_, "claim_token": lease.token}
    row = uow.conn.execute(_claiming(kind, conditions), wanted).mappings().one_or_none()
    return None if row is None else (lease, row)


def new_lease(uow: UnitOfWork, kind: str, id_: UUID) -> Lease:
    return Lease(kind, id_, UUID(bytes=uow.holder + os.urandom(16 - len(uow.holder))), since=uow.began)


@cache
def _claiming(kind: str, conditions: tuple[ColumnElement[bool], ...]) -> ReturningUpdate[Any]:
    """Made once for each kind: building a statement takes longer than running it."""
    table = TABLES[kind]
    wanted = table.c.id == bindparam("claimed_id", type_=table.c.id.type)
    free = select(table.c.id).where(wanted, claimable(table), *conditions).with_for_update(skip_locked=True)
    until = func.clock_timestamp() + LEASE
    token = bindparam("claim_token", type_=table.c.lease_token.type)
    claimed = update(table).where(table.c.id == free.scalar_subquery())
    # `hint_at` stays as it is. It is indexed, and an update of unindexed columns writes no index entry (HOT).
    made = claimed.values(lease_token=token, leased_until=until).returning(*table.c)
    return made.execution_options(prepared=True)


class DueNow(TypedDict):
    """The columns of a row that is due at once."""

    due_at: datetime
    hint_at: datetime


def due_now(uow: UnitOfWork) -> DueNow:
    """Return the columns of a row that is due now. The commit publishes its first wake-up."""
    return {"due_at": uow.now, "hint_at": uow.now + WAKEUP_GRACE}


def renew(
    database: Database, leases: Iterable[Lease], progress: Mapping[UUID, dict[str, Any]] = NO_PROGRESS
) -> set[Lease]:
    """Extend these leases (the heartbeat), by one UPDATE for each kind of work. Return those that still hold.

    `progress`: the latest progress of tool calls, by the token of the saga's lease.
    """
    by_kind: dict[str, list[Lease]] = {}
    for lease in leases:
        by_kind.setdefault(lease.kind, []).append(lease)
    if not by_kind:
        return set()
    kept: set[UUID] = set()
    with database.transaction() as uow:
        for kind, held in by_kind.items():
            table = TABLES[kind]
            # By id, because no index has the tokens.
            ids, tokens = [lease.id for lease in held], [lease.token for lease in held]
            ours = update(table).where(table.c.id.in_(ids), table.c.lease_token.in_(tokens))
            renewed = ours.values(leased_until=uow.now + LEASE).returning(table.c.lease_token)
            kept.update(uow.conn.execute(renewed).scalars())
        holding = {lease for held in by_kind.values() for lease in held if lease.token in kept}
        told = [(lease, progress[lease.token]) for lease in holding if lease.token in progress]
        if told:
            rows = [{"claimed_id": lease.id, "token": lease.token, "said": said} for lease, said in told]
            uow.conn.execute(_SET_PROGRESS, rows)
    return holding


def release(database: Database, holders: Sequence[bytes]) -> int:
    """Release the leases of processes that have ended, and wake their rows. Return how many there were."""
    with database.transaction() as uow:
        for kind, table in TABLES.items():
            for holder in holders:
                rest = 16 - len(holder)
                first, last = UUID(bytes=holder + bytes(rest)), UUID(bytes=holder + b"\xff" * rest)
                theirs = table.c.lease_token.between(first, last), table.c.due_at.is_not(None), *_open(table)
                ended = update(table).where(*theirs).values(leased_until=uow.now, hint_at=uow.now + WAKE_AGAIN_AFTER)
                ids = uow.conn.execute(ended.returning(table.c.id)).scalars()
                uow.wakeups.extend(WakeUp(kind, id_, chosen=True) for id_ in ids)
    return len(uow.wakeups)


def wake_again(uow: UnitOfWork, kind: str, overlooked_ids: Sequence[UUID]) -> Sequence[UUID]:
    """Wake the rows that are still overlooked, in this order. Another sweep has woken the others in the meantime."""
    if not overlooked_ids:
        return []
    table = TABLES[kind]
    still = table.c.id.in_(overlooked_ids), overlooked(uow, table)
    free = select(table.c.id).where(*still).with_for_update(skip_locked=True)
    place = {id_: number for number, id_ in enumerate(overlooked_ids)}
    return _wake(uow, kind, table.c.id.in_(free), place)


def overlooked_ids(uow: UnitOfWork, kind: str, *, spare_leased: bool, limit: int = SWEEP_LIMIT) -> Sequence[UUID]:
    """Return the first overlooked row of each namespace, then the second of each, and so on.

    So a namespace with a long backlog does not delay the others.
    """
    table = TABLES[kind]
    there = _namespaces_of(table)
    # At most `limit` rows of each namespace are read, however long its backlog is.
    missed = select(table.c.id, table.c.hint_at).where(table.c.namespace == there.c.namespace)
    some = missed.where(overlooked(uow, table, spare_leased)).order_by(table.c.hint_at).limit(limit).lateral()
    turn = func.row_number().over(partition_by=there.c.namespace, order_by=some.c.hint_at).label("turn")
    each = select(some.c.id, some.c.hint_at, turn).select_from(there.join(some, true())).subquery()
    first = select(each.c.id).order_by(each.c.turn, each.c.hint_at).limit(limit)
    return uow.conn.execute(first).scalars().all()


def _namespaces_of(table: Table) -> CTE:
    """Select the namespaces that have open rows, by jumping through the index instead of reading all rows."""
    due = table.c.due_at.is_not(None) if table is sagas else and_(*_open(table))
    first = select(func.min(table.c.namespace).label("namespace")).where(due)
    found = first.cte("found", recursive=True)
    after = select(func.min(table.c.namespace)).where(due, table.c.namespace > found.c.namespace).scalar_subquery()
    return found.union_all(select(after).where(found.c.namespace.is_not(None)))


def overlooked(uow: UnitOfWork, table: Table, spare_leased: bool = False) -> ColumnElement[bool]:
    """Return a condition: the row is due, and no wake-up for it seems to be on its way.

    `spare_leased`: leave out rows whose lease has expired. While the database was away no lease could be renewed, and
    the holders may be about to record their results.
    """
    spared = [table.c.lease_token.is_(None)] if spare_leased else []
    return and_(table.c.hint_at <= uow.now, claimable(table), *spared)


def note_failed_wakeup(uow: UnitOfWork, kind: str, id_: UUID) -> None:
    """Record that a wake-up led to no claim, so that the next sweep may wake the row again."""
    table = TABLES[kind]
    # After the wake-up of the commit `hint_at` is soon enough as it is.
    woken = table.c.id == id_, table.c.hint_at > uow.now + WAKEUP_GRACE, claimable(table)
    uow.conn.execute(update(table).where(*woken).values(hint_at=uow.now))


def wake_first(uow: UnitOfWork, kind: str, limit: int, *conditions: ColumnElement[bool]) -> bool:
    """Wake the first `limit` due rows, except those with a wake-up on its way. Return whether there were such."""
    table = TABLES[kind]
    first = (
        select(table.c.id, table.c.hint_at)
        .where(claimable(table), *conditions)
        .order_by(table.c.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    on_its_way = uow.now + WAKE_AGAIN_AFTER - WAKEUP_ARRIVES
    rows = uow.conn.execute(first).all()
    if found := [id_ for id_, hint_at in rows if hint_at <= on_its_way]:
        _wake(uow, kind, table.c.id.in_(found), {id_: number for number, id_ in enumerate(found)})
    return len(found) < len(rows)


def _wake(uow: UnitOfWork, kind: str, which: ColumnElement[bool], place: Mapping[UUID, int]) -> Sequence[UUID]:
    table = TABLES[kind]
    woken = update(table).where(which).values(hint_at=uow.now + WAKE_AGAIN_AFTER).returning(table.c.id)
    found = sorted(uow.conn.execute(woken).scalars(), key=place.__getitem__)
    uow.wakeups.extend(WakeUp(kind, id_, chosen=True) for id_ in found)
    return found


def make_saga_due(uow: UnitOfWork, watch_id: UUID) -> None:
    """Make the saga whose step this pause holds due: a worker then applies the decision.

    A saga that is stuck waits for an operator first. A pause is always locked before its saga, so that no deadlock is
    possible.
    """
    woken = uow.lookups.execute(_MAKE_DUE, {"held_by": watch_id, **due_now(uow)}).scalars()
    uow.wakeups.extend(WakeUp(DECISION, id_) for id_ in woken)


# Built once: building a statement takes longer than running it.
_GOES_ON = sagas.c.ended_at.is_(None), sagas.c.stuck.is_(None)
_HELD = select(saga_steps.c.saga_id).where(saga_steps.c.watch_id == bindparam("held_by", type_=Uuid))
_MAKE_DUE = (
    update(sagas)
    .where(sagas.c.id == _HELD.scalar_subquery(), *_GOES_ON)
    .values(due_at=bindparam("due_at"), hint_at=bindparam("hint_at"))
    .returning(sagas.c.id)
    .execution_options(prepared=True)
)


def make_sagas_due(uow: UnitOfWork, watch_ids: Sequence[UUID]) -> set[UUID]:
    """Make the sagas due whose steps these pauses hold.

    Return the pauses whose sagas were neither locked, nor stuck, nor ended.

    It waits for no lock, so the caller may hold those of many pauses.
    """
    rows = uow.conn.execute(_MAKE_ALL_DUE, {"all_held_by": list(watch_ids), **due_now(uow)}).all() if watch_ids else ()
    uow.wakeups.extend(WakeUp(DECISION, row.id) for row in rows)
    return {row.watch_id for row in rows}


_FREE = (
    select(sagas.c.id, saga_steps.c.watch_id)
    .join_from(saga_steps, sagas, sagas.c.id == saga_steps.c.saga_id)
    .where(saga_steps.c.watch_id == any_(bindparam("all_held_by", type_=ARRAY(Uuid))), *_GOES_ON)
    .with_for_update(key_share=True, skip_locked=True, of=sagas)
    .cte("free")
)
_MAKE_ALL_DUE = (
    update(sagas)
    .where(sagas.c.id == _FREE.c.id)
    .values(due_at=bindparam("due_at"), hint_at=bindparam("hint_at"))
    .returning(sagas.c.id, _FREE.c.watch_id)
    .execution_options(prepared=True)
)


# The row of `worker_heartbeats` that each sweep stamps, which shows that beat runs.
BEAT = "beat"


def stamp_worker(uow: UnitOfWork, worker: str) -> None:
    """Record that this worker consumed a message, or that `BEAT` asked for a sweep. `/readyz` reads it."""
    row = insert(worker_heartbeats).values(worker=worker, seen_at=uow.now)
    uow.conn.execute(row.on_conflict_do_update(index_elements=["worker"], set_={"seen_at": uow.now}))

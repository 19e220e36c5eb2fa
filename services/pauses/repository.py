"""Pauses as rows, inside the transaction of another use case."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import Uuid, any_, bindparam, select
from sqlalchemy.dialects.postgresql import ARRAY

from domain.identity.access import Principal
from domain.log.audit_facts import pause_facts
from domain.pauses.pause import Pause, Status, created
from domain.pauses.reminders import next_at
from domain.pauses.serialization import RenderedEvent, render_event
from models.pauses import pause_of, pauses, values
from models.records import as_records, insert_records
from services.kernel.unit_of_work import Database, UnitOfWork
from services.notifications.recipients import a_channel_may_exist
from services.webhooks.outbox import announce


def store_pause(database: Database, uow: UnitOfWork, pause: Pause) -> None:
    """Store the new pause of a held step, in the transaction of its saga."""
    pause = replace(pause, attend_at=uow.now if a_channel_may_exist(database) else next_at(pause))
    event, row = render_event(created(pause), database.public_url), values(pause)
    record_created(uow, None, event, row)
    announce(uow, [event], INSERT, {"records": as_records([row])})


def record_created(uow: UnitOfWork, by: Principal | None, event: RenderedEvent, row: Mapping[str, Any]) -> None:
    """Write the new pause to the audit log. `by`: None is the system itself."""
    namespace, subject = event.pause.namespace, event.document["watchId"]
    uow.record(by, namespace, event.event.type, subject, after=event.document, row=pause_facts(row))


def find_pause(uow: UnitOfWork, id_: UUID) -> Pause:
    return pause_of(uow.conn.execute(_BY_ID, {"pause_id": id_}).mappings().one())


def lock_approved(uow: UnitOfWork, wanted: Collection[UUID], *, wait: bool) -> set[UUID]:
    """Lock those of the pauses that are approved, by one statement, for `approved_pause`.

    Return the approved ones that another transaction has locked. `wait`: wait for them instead.
    """
    if not wanted:
        return set()
    rows = uow.lookups.execute(_APPROVED_LOCKED if wait else _APPROVED_FREE, {"pause_ids": list(wanted)}).mappings()
    found = {row["id"]: pause_of(row) for row in rows}
    uow.found |= {(_APPROVED, id_): found.get(id_) for id_ in wanted}
    rest = [id_ for id_ in wanted if id_ not in found]
    if wait or not rest:
        return set()
    return set(uow.lookups.execute(_APPROVED_AMONG, {"pause_ids": rest}).scalars())


def approved_pause(uow: UnitOfWork, id_: UUID) -> Pause | None:
    """Return the pause if it is approved, locked until the transaction ends, as it was before this transaction."""
    if (_APPROVED, id_) not in uow.found:
        lock_approved(uow, [id_], wait=True)
    return uow.found[_APPROVED, id_]  # type: ignore[no-any-return]


# Built once: building a statement takes longer than running it.
INSERT = insert_records(pauses)
_APPROVED = "approved"
_APPROVED_AMONG = select(pauses.c.id).where(
    pauses.c.id == any_(bindparam("pause_ids", type_=ARRAY(Uuid))), pauses.c.status == Status.APPROVED.value
)
_APPROVED_LOCKED = (
    _APPROVED_AMONG.with_only_columns(*pauses.c)
    .order_by(pauses.c.id)
    .with_for_update(key_share=True)
    .execution_options(prepared=True)
)
_APPROVED_FREE = _APPROVED_LOCKED.with_for_update(key_share=True, skip_locked=True)
_BY_ID = select(pauses).where(pauses.c.id == bindparam("pause_id")).execution_options(prepared=True)

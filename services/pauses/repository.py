"""Pauses as rows, inside the transaction of another use case."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, select

from domain.identity.access import Principal
from domain.log.audit_facts import pause_facts
from domain.pauses.pause import Pause, created
from domain.pauses.reminders import next_at
from domain.pauses.serialization import RenderedEvent, render_event
from models.pauses import pause_of, pauses, values
from models.records import as_records, insert_records
from services.kernel.unit_of_work import Database, UnitOfWork
from services.notifications.recipients import a_channel_may_exist
from services.webhooks.outbox import announce, announcing


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


# Built once: building a statement takes longer than running it.
INSERT = announcing(insert_records(pauses))
_BY_ID = select(pauses).where(pauses.c.id == bindparam("pause_id")).execution_options(prepared=True)

"""Pauses as rows, for who makes or reads one inside another use case's transaction: its saga's."""

from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, select

from domain.identity.access import Principal
from domain.log.audit_facts import pause_facts
from domain.pauses.pause import Pause, created
from domain.pauses.reminders import next_at
from domain.pauses.serialization import pause_document
from models.pauses import pause_of, pauses, values
from models.records import as_records, insert_records
from services.kernel.unit_of_work import Database, UnitOfWork
from services.notifications.recipients import a_channel_may_exist
from services.webhooks.outbox import announce, announcing


def store_pause(database: Database, uow: UnitOfWork, pause: Pause) -> None:
    """A new one, of a step: its saga's transaction makes it."""
    pause = replace(pause, attend_at=uow.now if a_channel_may_exist(database) else next_at(pause))
    recorded(database, uow, None, pause)
    announce(database, uow, [created(pause)], INSERT, {"records": as_records([values(pause)])})


def recorded(database: Database, uow: UnitOfWork, by: Principal | None, pause: Pause) -> dict[str, Any]:
    """Its document, which the audit log has the digest of."""
    document = pause_document(pause, database.public_url)
    facts = pause_facts(values(pause))
    uow.record(by, pause.namespace, "pause.created", document["watchId"], after=document, row=facts)
    return document


def find_pause(uow: UnitOfWork, id_: UUID) -> Pause:
    return pause_of(uow.conn.execute(_BY_ID, {"pause_id": id_}).mappings().one())


# Built once: building a statement takes longer than running it.
INSERT = announcing(insert_records(pauses))
_BY_ID = select(pauses).where(pauses.c.id == bindparam("pause_id"))

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
from services.kernel.unit_of_work import Store, Tx
from services.notifications.recipients import may_listen
from services.webhooks.outbox import announce, announcing


def store_pause(store: Store, tx: Tx, pause: Pause) -> None:
    """A new one, of a step: its saga's transaction makes it."""
    pause = replace(pause, attend_at=tx.now if may_listen(store) else next_at(pause))
    recorded(store, tx, None, pause)
    announce(store, tx, [created(pause)], INSERT, {"records": as_records([values(pause)])})


def recorded(store: Store, tx: Tx, by: Principal | None, pause: Pause) -> dict[str, Any]:
    """Its document, which the audit log has the digest of."""
    document = pause_document(pause, store.public_url)
    facts = pause_facts(values(pause))
    tx.record(by, pause.namespace, "pause.created", document["watchId"], after=document, row=facts)
    return document


def find_pause(tx: Tx, id_: UUID) -> Pause:
    return pause_of(tx.conn.execute(_BY_ID, {"pause_id": id_}).mappings().one())


# Built once: building a statement takes longer than running it.
INSERT = announcing(insert_records(pauses))
_BY_ID = select(pauses).where(pauses.c.id == bindparam("pause_id"))

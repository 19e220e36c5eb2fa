"""Reminders: notify the voters of a pause, remind them, or add others by escalation."""

from typing import Any

from sqlalchemy import RowMapping, Select, select, update

from domain.pauses import reminders
from domain.pauses.pause import Pause, Status, Timeout
from models.pauses import pause_of, pauses
from services.kernel.quarantine import REMINDER
from services.kernel.sweeps import sweep_pauses
from services.kernel.unit_of_work import Database, UnitOfWork
from services.notifications.recipients import any_channel_exists, notify
from services.pauses.changes import apply, store_change

# Pauses of one transaction: each may notify many people, and all locks are held until the last.
ATTEND_BATCH = 50


def attend_due(database: Database) -> int:
    """Send one batch of due reminders and return how many. Skip rows that another sweep has locked."""
    # Refresh what this process knows, for the steps that it holds in the meantime.
    any_channel_exists(database)
    due = select(pauses).where(pauses.c.status == Status.PENDING.value).order_by(pauses.c.attend_at)

    def chosen(uow: UnitOfWork) -> Select[Any]:
        # A value, because PostgreSQL does not use the index for a volatile function such as clock_timestamp().
        return due.where(pauses.c.attend_at <= uow.now)

    def remind(uow: UnitOfWork, row: RowMapping) -> None:
        _remind(database, uow, pause_of(row))

    return sweep_pauses(database, REMINDER, chosen, ATTEND_BATCH, remind)


def _remind(database: Database, uow: UnitOfWork, pause: Pause) -> None:
    if pause.expires_at is not None and pause.expires_at <= uow.now:
        pause = apply(database, uow, None, pause, Timeout()).pause
        if pause.status is not Status.PENDING:
            return
    reminded = reminders.remind(pause, uow.now)
    if reminded.events:
        # This sends the notifications too.
        store_change(database, uow, None, pause, reminded.pause, reminded.events)
        return
    notify(uow, reminded.pause, reminded.reason)
    columns = {"attend_at": reminded.pause.attend_at, "reminders": reminded.pause.reminders}
    uow.conn.execute(update(pauses).where(pauses.c.id == pause.id).values(columns))

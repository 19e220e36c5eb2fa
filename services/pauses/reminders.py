"""Reviews that want attention: their people are told, told again, or get others beside them."""

from typing import Any

from sqlalchemy import RowMapping, Select, select, update

from domain.pauses import reminders
from domain.pauses.pause import Pause, Status, Timeout
from models.pauses import pause_of, pauses
from services.kernel.quarantine import REMINDER
from services.kernel.sweeps import sweep_pauses
from services.kernel.unit_of_work import Database, UnitOfWork
from services.notifications.recipients import any_channel_exists, notify
from services.pauses.changes import apply, change

# Reviews of one transaction: each tells many people, and all its locks are held until the last is told.
ATTEND_BATCH = 50


def attend_due(database: Database) -> int:
    """One batch; returns how many. Other sweeps' rows are skipped."""
    # Remembered by the process, for the steps that it holds meanwhile.
    any_channel_exists(database)
    due = select(pauses).where(pauses.c.status == Status.PENDING.value).order_by(pauses.c.attend_at)

    def chosen(uow: UnitOfWork) -> Select[Any]:
        # A value, not clock_timestamp(): with a volatile function PostgreSQL would not use the index.
        return due.where(pauses.c.attend_at <= uow.now)

    def remind(uow: UnitOfWork, row: RowMapping) -> None:
        _remind(database, uow, pause_of(row))

    return sweep_pauses(database, REMINDER, chosen, ATTEND_BATCH, remind)


def _remind(database: Database, uow: UnitOfWork, pause: Pause) -> None:
    if pause.expires_at is not None and pause.expires_at <= uow.now:
        pause = apply(database, uow, None, pause, Timeout())
        if pause.status is not Status.PENDING:
            return
    reminded = reminders.remind(pause, uow.now)
    if reminded.events:
        change(database, uow, None, pause, reminded.pause, reminded.events)
        return
    notify(uow, reminded.pause, reminded.reason)
    columns = {"attend_at": reminded.pause.attend_at, "reminders": reminded.pause.reminders}
    uow.conn.execute(update(pauses).where(pauses.c.id == pause.id).values(columns))

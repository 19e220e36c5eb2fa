"""The tokens with which callbacks authenticate, and reports to their receivers that a decision is pending.

HCP Terraform gives up on a task that is silent for 10 minutes. The reports are deliveries like each callback, so they
share its lane, and the result comes after them.
"""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import RowMapping, Select, select, update
from sqlalchemy.dialects.postgresql import insert

from domain.delivery.webhook import DeliveryStatus
from domain.pauses.callbacks import PROGRESS_FORMATS
from domain.pauses.pause import Event, Pause, Status
from domain.pauses.serialization import event_document, pause_document
from domain.values.canonical_json import encode
from models.callbacks import callback_tokens
from models.pauses import pause_of, pauses
from models.webhooks import webhook_deliveries
from services.kernel.quarantine import PROGRESS
from services.kernel.sweeps import sweep_pauses
from services.kernel.unit_of_work import Database, UnitOfWork
from services.webhooks.outbox import DeliveryTarget, WebhookMessage, send

PROGRESS_EVERY = timedelta(minutes=3)
# After as many failed reports the receiver has given up, as it does for a cancelled run.
MAX_FAILED = 3
# Pauses of one transaction, so that it holds their locks for well under a second.
PROGRESS_BATCH = 100


def store_token(database: Database, id_: UUID, encrypted: str) -> None:
    """Store the token of the pause's callback, in the place of an earlier one. The first report is due at once."""
    with database.transaction() as uow:
        new = insert(callback_tokens).values(pause_id=id_, token=encrypted, progress_at=uow.now)
        uow.conn.execute(new.on_conflict_do_update(index_elements=["pause_id"], set_={"token": encrypted}))


def sweep_progress(database: Database) -> int:
    """Send one batch of due reports and return how many. Skip rows that another sweep has locked."""
    due = select(pauses).join(callback_tokens, callback_tokens.c.pause_id == pauses.c.id)

    def chosen(uow: UnitOfWork) -> Select[tuple[object, ...]]:
        # A value, because PostgreSQL does not use the index for a volatile function such as clock_timestamp().
        return due.where(callback_tokens.c.progress_at <= uow.now).order_by(callback_tokens.c.progress_at)

    def report(uow: UnitOfWork, row: RowMapping) -> None:
        _report(database, uow, pause_of(row))

    return sweep_pauses(database, PROGRESS, chosen, PROGRESS_BATCH, report)


def _report(database: Database, uow: UnitOfWork, pause: Pause) -> None:
    """Send a report about the locked pause, unless the last one waits still; plan none after the decision."""
    own = callback_tokens.c.pause_id == pause.id
    last, failed = uow.conn.execute(_LAST.where(own)).one()
    failed = failed + 1 if last == DeliveryStatus.EXHAUSTED else 0
    progress = PROGRESS_FORMATS.get(pause.callback_format or "")
    planned: dict[str, object] = {"progress_at": None}
    if progress is not None and pause.status is Status.PENDING and pause.callback_url and failed < MAX_FAILED:
        planned = {"progress_at": uow.now + PROGRESS_EVERY, "failed": failed}
        if last != DeliveryStatus.PENDING:
            event = Event("pause.pending", pause, uow.now)
            body = encode(event_document(event, pause_document(pause, database.public_url)))
            message = WebhookMessage(pause.namespace, event.type, body, pause.id)
            (planned["delivery_id"],) = send(uow, message, [DeliveryTarget(pause.callback_url, None, format=progress)])
    uow.conn.execute(update(callback_tokens).where(own).values(planned))


_LAST = select(webhook_deliveries.c.status, callback_tokens.c.failed).select_from(
    callback_tokens.outerjoin(webhook_deliveries, webhook_deliveries.c.id == callback_tokens.c.delivery_id)
)

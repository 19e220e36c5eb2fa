"""Tell one person or group of a review: claim the row, send the message, record what came of it."""

import logging
import random
from uuid import UUID

from adapters.otel.tracing import begin, fail, running
from domain.delivery.notification import Sending, compose
from domain.values import ids
from services.kernel.leases import NOTIFICATION
from services.notifications.worker import Errand, claim_notification, record_sending
from tasks.giving_up import giving_up
from tasks.retry_while_leased import insist
from tasks.runtime import leases, messages, messenger, store, tracer
from tasks.slots import Seat
from tasks.task import task

log = logging.getLogger(__name__)


@task("tasks.notifications.send")
def send(notification_id: str) -> None:
    row = UUID(hex=notification_id)
    with giving_up(store(), NOTIFICATION, row) as claimed, Seat(messages(), row) as seat:
        errand = claim_notification(store(), row, seat.take)
        if errand is None:
            return
        claimed(errand.lease)
        with leases().keeping(errand.lease):
            about = {"sagahold.notification.id": ids.text(ids.NOTIFICATION, errand.lease.id)}
            with running(begin(tracer(), "send notification", "client", about)) as span:
                sending = _send(errand)
                # Why, in the service's words, stands with the notification.
                if sending.error is not None:
                    fail(span, "NOT_SENT")
            jitter = random.random()  # noqa: S311  (no secret)
            # Raises `DatabaseAway`: then another worker sends the message again.
            insist(lambda: record_sending(store(), errand.lease, sending, jitter))


def _send(errand: Errand) -> Sending:
    try:
        return messenger().send(errand.channel, errand.recipient, compose(errand.letter))
    except Exception:
        # Without a record it would be repeated with every sweep, for ever, and nobody would hear of it.
        log.exception("sending a notification broke off", extra={"notification_id": errand.lease.id.hex})
        return Sending("internal error, see the log")

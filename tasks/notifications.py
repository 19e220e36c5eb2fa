"""Notify one person or group: claim the row, send the message and record the result."""

import logging
import random
from uuid import UUID

from adapters.otel.tracing import begin, fail, running
from domain.delivery.notification import SendResult, compose
from domain.values import ids
from services.kernel.leases import NOTIFICATION
from services.notifications.worker import NotificationJob, claim_notification, record_sending
from tasks.giving_up import giving_up
from tasks.retry_while_leased import retry_while_leased
from tasks.runtime import database, leases, messages, messenger, tracer
from tasks.slots import Slot
from tasks.task import task

log = logging.getLogger(__name__)


@task("tasks.notifications.send")
def send(notification_id: str) -> None:
    row = UUID(hex=notification_id)
    with giving_up(database(), NOTIFICATION, row) as claimed, Slot(messages(), row) as slot:
        job = claim_notification(database(), row, slot.take)
        if job is None:
            return
        claimed(job.lease)
        with leases().keeping(job.lease):
            about = {"sagahold.notification.id": ids.text(ids.NOTIFICATION, job.lease.id)}
            with running(begin(tracer(), "send notification", "client", about)) as span:
                sending = _send(job)
                # The notification's row has the service's error text.
                if sending.error is not None:
                    fail(span, "NOT_SENT")
            jitter = random.random()  # noqa: S311  (no secret)
            # May raise `DatabaseUnavailable`: another worker then sends the message again.
            retry_while_leased(lambda: record_sending(database(), job.lease, sending, jitter))


def _send(job: NotificationJob) -> SendResult:
    try:
        return messenger().send(job.channel, job.recipient, compose(job.content))
    except Exception:
        # Without a recorded result, each sweep would repeat it without an error that anyone sees.
        log.exception("sending a notification failed", extra={"notification_id": job.lease.id.hex})
        return SendResult("internal error, see the log")

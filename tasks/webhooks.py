"""Deliver one webhook: claim the row, post the message signed, record what came of it."""

import logging
import random
import time
from datetime import UTC, datetime
from uuid import UUID

from standardwebhooks.webhooks import Webhook

from adapters.egress import Blocked, Failed, TimedOut
from domain import ids
from domain.webhook import Attempt, AttemptOutcome
from services.database import DatabaseAway
from services.delivery_work import Parcel, claim_delivery, record_attempt
from services.due import LEASE
from tasks.runtime import egress, leases, settings, store
from tasks.task import task

log = logging.getLogger(__name__)

# A restart of PostgreSQL takes a second or two.
RECORD_AGAIN_SECONDS = 0.5


@task("tasks.webhooks.deliver")
def deliver(delivery_id: str) -> None:
    parcel = claim_delivery(store(), UUID(hex=delivery_id))
    if parcel is None:
        return
    with leases().keeping(parcel.lease):
        attempt = _attempt(parcel, settings().webhook_timeout)
        _record(parcel, attempt)


def _attempt(parcel: Parcel, timeout: float) -> Attempt:
    started = datetime.now(UTC)
    try:
        answer = egress().post(parcel.url, parcel.body.encode(), _headers(parcel, started), timeout)
    except Blocked as error:
        return _failure(AttemptOutcome.BLOCKED, started, str(error))
    except TimedOut:
        return _failure(AttemptOutcome.TIMED_OUT, started, f"no complete answer within {timeout:g} s")
    except Failed as error:
        return _failure(AttemptOutcome.FAILED, started, str(error))
    except Exception:
        # Without a record it would be repeated with every sweep, for ever, and nobody would hear of it.
        log.exception("an attempt to deliver broke off", extra={"delivery_id": str(parcel.lease.id)})
        return _failure(AttemptOutcome.FAILED, started, "internal error, see the log")
    good = 200 <= answer.status < 300
    return Attempt(
        AttemptOutcome.SUCCEEDED if good else AttemptOutcome.FAILED,
        started,
        answer.duration_ms,
        answer.status,
        None if good else f"the receiver answered {answer.status}",
        # The receiver's bytes: what is no text, or no text that PostgreSQL stores, is replaced.
        answer.excerpt.decode("utf-8", "replace").replace("\x00", "\ufffd"),
        answer.retry_after,
    )


def _record(parcel: Parcel, attempt: Attempt) -> None:
    """The receiver has the message: while the lease lasts it is worth waiting for a database that restarts, as another
    worker would have to send it again. Raises `DatabaseAway` when the time is up."""
    until = time.monotonic() + LEASE.total_seconds()
    while True:
        try:
            # Jitter is no secret.
            record_attempt(store(), parcel.lease, attempt, settings().webhook_retry_seconds, random.random())  # noqa: S311
            return
        except DatabaseAway:
            if time.monotonic() >= until:
                raise
            time.sleep(RECORD_AGAIN_SECONDS)


def _failure(outcome: AttemptOutcome, started: datetime, error: str) -> Attempt:
    took = datetime.now(UTC) - started
    return Attempt(outcome, started, int(took.total_seconds() * 1000), error=error)


def _headers(parcel: Parcel, at: datetime) -> dict[str, str]:
    message_id = ids.text(ids.MESSAGE, parcel.message_id)
    return parcel.headers | {
        "content-type": "application/json",
        "user-agent": "Sagahold",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(message_id, at, parcel.body) for secret in parcel.secrets),
    }

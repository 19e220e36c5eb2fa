"""Deliver one webhook: claim the row, post the signed message and record the attempt."""

import logging
import random
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import urlsplit
from uuid import UUID

from opentelemetry.trace import INVALID_SPAN, Span
from standardwebhooks.webhooks import Webhook

from adapters.egress import EgressBlocked, EgressFailed, EgressTimeout
from adapters.otel import tracing
from domain.delivery.webhook import Attempt, AttemptOutcome
from domain.values import ids
from services.kernel.connection_pool import DatabaseUnavailable
from services.kernel.leases import WEBHOOK
from services.pauses.callbacks import CallbackNotMade, with_callback
from services.webhooks.worker import DeliveryJob, claim_delivery, record_attempt
from tasks.giving_up import giving_up
from tasks.retry_while_leased import retry_while_leased
from tasks.runtime import cipher, database, deliveries, egress, leases, settings, tracer
from tasks.slots import Slot
from tasks.task import task

log = logging.getLogger(__name__)


@task("tasks.webhooks.deliver")
def deliver(delivery_id: str) -> None:
    row = UUID(hex=delivery_id)
    with giving_up(database(), WEBHOOK, row) as claimed, Slot(deliveries(), row) as slot:
        job = claim_delivery(database(), row, slot.take)
        if job is None:
            return
        claimed(job.lease)
        with leases().keeping(job.lease):
            with tracing.running(_span(job)) as span:
                attempt = _attempt(job, settings().webhook_timeout, tracing.traceparent(span))
                _record_on(span, attempt)
            _record(job, attempt)


def _attempt(job: DeliveryJob, timeout: float, parent: str | None = None) -> Attempt:
    started = datetime.now(UTC)
    try:
        job = with_callback(database(), job, cipher())
        headers = _headers(job, started) | ({} if parent is None else {"traceparent": parent})
        answer = egress().send(job.url, job.body.encode(), headers, timeout, job.method)
    except EgressBlocked as error:
        return _failure(AttemptOutcome.BLOCKED, started, str(error))
    except EgressTimeout:
        return _failure(AttemptOutcome.TIMED_OUT, started, f"no complete answer within {timeout:g} s")
    except EgressFailed as error:
        return _failure(AttemptOutcome.FAILED, started, str(error))
    except CallbackNotMade as error:
        return _failure(AttemptOutcome.FAILED, started, str(error))
    except DatabaseUnavailable:
        raise
    except Exception:
        # Without a recorded attempt, each sweep would repeat it without an error that anyone sees.
        log.exception("a delivery attempt failed", extra={"delivery_id": str(job.lease.id)})
        return _failure(AttemptOutcome.FAILED, started, "internal error, see the log")
    good = 200 <= answer.status < 300
    return Attempt(
        AttemptOutcome.SUCCEEDED if good else AttemptOutcome.FAILED,
        started,
        answer.duration_ms,
        answer.status,
        None if good else f"the receiver answered {answer.status}",
        # Replace bytes that are not UTF-8 and NUL, which PostgreSQL does not store.
        answer.excerpt.decode("utf-8", "replace").replace("\x00", "\ufffd"),
        answer.retry_after,
    )


def _span(job: DeliveryJob) -> Span:
    """Begin a span with only the host and port of the URL, because the rest may be secret."""
    if tracer() is None:
        return INVALID_SPAN
    attributes: dict[str, str | int] = {
        "http.request.method": job.method,
        "sagahold.webhook.id": ids.text(ids.MESSAGE, job.message_id),
    }
    # An invalid URL is not requested either, and is recorded as a failed attempt.
    with suppress(ValueError):
        url = urlsplit(job.url)
        attributes["server.address"] = url.hostname or ""
        attributes["server.port"] = url.port or (443 if url.scheme == "https" else 80)
    return tracing.begin(tracer(), f"{job.method} webhook", "client", attributes)


def _record_on(span: Span, attempt: Attempt) -> None:
    span.set_attribute("sagahold.outcome", str(attempt.outcome))
    if attempt.status_code is not None:
        span.set_attribute("http.response.status_code", attempt.status_code)
    if attempt.outcome is not AttemptOutcome.SUCCEEDED:
        tracing.fail(span, str(attempt.status_code or attempt.outcome))


def _record(job: DeliveryJob, attempt: Attempt) -> None:
    """Record the attempt. Raises `DatabaseUnavailable`; another worker then sends the message again."""
    jitter = random.random()  # noqa: S311  (no secret)
    schedule = settings().webhook_retry_seconds if job.is_repeated else ()
    retry_while_leased(lambda: record_attempt(database(), job.lease, attempt, schedule, jitter))


def _failure(outcome: AttemptOutcome, started: datetime, error: str) -> Attempt:
    took = datetime.now(UTC) - started
    return Attempt(outcome, started, int(took.total_seconds() * 1000), error=error)


def _headers(job: DeliveryJob, at: datetime) -> dict[str, str]:
    message_id = ids.text(ids.MESSAGE, job.message_id)
    return (
        {"content-type": "application/json"}
        | job.headers
        | {
            "user-agent": "Sagahold",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join(Webhook(secret).sign(message_id, at, job.body) for secret in job.secrets),
        }
    )

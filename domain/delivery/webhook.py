"""A webhook delivery: one message to one receiver, and the effect of each attempt.

    pending ── 2xx ──▶ delivered      pending ── schedule used up, 410, endpoint disabled ──▶ exhausted
    exhausted | delivered ── redeliver (a person) ──▶ pending

The module also tracks an endpoint's health: since when it fails, and whether that disables it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from domain.values import backoff
from domain.values.errors import FieldError

EVENT_TYPES = (
    "pause.created",
    "pause.approved",
    "pause.rejected",
    "pause.expired",
    "pause.cancelled",
    "pause.escalated",
    "pause.consumed",
    "pause.outcome",
    "pause.outcome_missing",
    "saga.awaiting_human",
    "saga.completed",
    "saga.failed",
    "saga.compensated",
    "saga.needs_operator",
    "step.failed",
    "audit.checkpoint",
    "webhook.test",
)
# The events of a pause's own callbackUrl. The agent created the pause itself, and waits for the outcome.
CALLBACK_TYPES = frozenset({"pause.approved", "pause.rejected", "pause.expired", "pause.cancelled"})

GONE = 410
# An endpoint whose every attempt fails for this long is disabled, and operators are notified.
FAILING_LIMIT = timedelta(days=5)
# After this many failures in a row, people are notified. Fewer may be a restart of the receiver.
FAILING_AFTER = 3
# Old and new secret both sign for this long after a rotation.
SECRET_OVERLAP = timedelta(hours=24)
MAX_HEADERS = 20
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]{0,1024}")
# A custom header must not change how the request is framed, routed or verified.
_RESERVED_HEADERS = re.compile(
    r"host|content-.*|transfer-encoding|connection|keep-alive|te|trailer|upgrade|expect|accept-encoding"
    r"|proxy-.*|webhook-.*|user-agent",
    re.IGNORECASE,
)


class DeliveryStatus(StrEnum):
    """The state of a delivery. An attempt or a disabled endpoint ends `pending`; only a redelivery returns to it."""

    PENDING = "pending"
    DELIVERED = "delivered"
    EXHAUSTED = "exhausted"


class AttemptOutcome(StrEnum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class Attempt:
    """The result of one attempt. `retry_after` is the receiver's header, unparsed."""

    outcome: AttemptOutcome
    started_at: datetime
    duration_ms: int
    status_code: int | None = None
    error: str | None = None
    excerpt: str | None = None
    retry_after: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery. `attempts` counts all attempts; `retry` is the position in the schedule since the last (re)start."""

    status: DeliveryStatus
    attempts: int
    retry: int
    due_at: datetime
    last_error: str | None = None
    completed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """The health of an endpoint. `disabled_reason` is set if Sagahold disabled it, not if an admin did."""

    enabled: bool = True
    failing_since: datetime | None = None
    disabled_reason: str | None = None


def after_attempt(
    delivery: Delivery, attempt: Attempt, health: Health, schedule: Sequence[int], now: datetime, uniform: float
) -> tuple[Delivery, Health]:
    """Return the delivery and its endpoint's health after the attempt. `uniform` is a random number from 0 to 1."""
    counted = replace(delivery, attempts=delivery.attempts + 1)
    if attempt.outcome is AttemptOutcome.SUCCEEDED:
        done = replace(counted, status=DeliveryStatus.DELIVERED, completed_at=now, last_error=None)
        return done, health_after(health, attempt, now)
    counted = replace(counted, last_error=attempt.error)
    health = health_after(health, attempt, now)
    retry_after = backoff.parse_retry_after(attempt.retry_after, now)
    wait = backoff.delay(schedule, delivery.retry, uniform, retry_after)
    if wait is None or not health.enabled or attempt.status_code == GONE:
        return replace(counted, status=DeliveryStatus.EXHAUSTED, completed_at=now), health
    return replace(counted, retry=delivery.retry + 1, due_at=now + timedelta(seconds=wait)), health


def health_after(health: Health, attempt: Attempt, now: datetime) -> Health:
    if attempt.outcome is AttemptOutcome.SUCCEEDED:
        return replace(health, failing_since=None)
    since = health.failing_since or now
    reason = None
    if attempt.status_code == GONE:
        reason = "the receiver answered 410 Gone"
    elif now - since > FAILING_LIMIT:
        reason = f"every attempt failed since {since:%Y-%m-%d %H:%M} UTC"
    if reason is None or not health.enabled:
        return replace(health, failing_since=since)
    return Health(enabled=False, failing_since=since, disabled_reason=reason)


def restart(now: datetime, attempts: int) -> Delivery:
    """Redeliver: the delivery is due now, at the start of its schedule."""
    return Delivery(DeliveryStatus.PENDING, attempts, 0, now)


def subscribes(event_types: Sequence[str], event_type: str) -> bool:
    """Return whether an endpoint receives this event. An endpoint without event types receives all events."""
    return not event_types or event_type in event_types


def header_errors(headers: Mapping[str, str]) -> Iterator[FieldError]:
    if len(headers) > MAX_HEADERS:
        yield FieldError("headers", f"has more than {MAX_HEADERS} entries")
    for name, value in headers.items():
        path = f"headers.{name[:64]}"
        if not _HEADER_NAME.fullmatch(name):
            yield FieldError(path, "is not a valid HTTP header name: use up to 64 letters, digits and hyphens")
        elif _RESERVED_HEADERS.fullmatch(name):
            yield FieldError(path, "is set by Sagahold and cannot be replaced")
        elif not _HEADER_VALUE.fullmatch(value):
            yield FieldError(path, "is not a header value: up to 1024 printable ASCII characters")

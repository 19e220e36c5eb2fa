"""What beat asks for: hint again at work that was missed, let time run out, tell people, forget what is old."""

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from services.attend import ATTEND_BATCH, attend_due
from services.database import DatabaseAway
from services.delivery_work import sweep_deliveries
from services.due import BEAT, LEASE, stamp_worker
from services.endpoint_ends import sweep_endpoints
from services.notification_work import sweep_notifications
from services.pauses import EXPIRY_BATCH, expire_due
from services.retention import prune as prune_rows
from services.saga_engine import sweep_sagas
from services.transaction import Store
from tasks.runtime import settings, store, worker_name
from tasks.task import away_within, task

# One sweep ends after this, and the next second's goes on: a long one must not hold a worker's thread.
BUDGET_SECONDS = 5.0
log = logging.getLogger(__name__)


@task("tasks.maintenance.alive")
def alive(_: str) -> None:
    """What a worker sends to itself (`tasks.alive`)."""
    with store().transaction() as tx:
        stamp_worker(tx, worker_name())


@task("tasks.maintenance.sweep_due")
def sweep_due() -> None:
    with store().transaction() as tx:
        stamp_worker(tx, BEAT)
    # Whoever has a lease can renew it by then.
    spare = away_within(LEASE.total_seconds())
    sweeps = (partial(each, spare_leased=spare) for each in (sweep_deliveries, sweep_sagas, sweep_notifications))
    _each(*sweeps, _end_backlogs)


def _each(*sweeps: Callable[[Store], object]) -> None:
    """One that fails is not in the way of the next. Raises what the last of them has raised."""
    failed: Exception | None = None
    for sweep in sweeps:
        try:
            sweep(store())
        except Exception as error:
            if failed is not None and not isinstance(failed, DatabaseAway):
                log.exception("a sweep failed", exc_info=failed)
            failed = error
    if failed is not None:
        raise failed


def _end_backlogs(store: Store) -> None:
    until = time.monotonic() + BUDGET_SECONDS
    while sweep_endpoints(store) and time.monotonic() < until:
        pass


@task("tasks.maintenance.expire_pauses")
def expire_pauses() -> None:
    until = time.monotonic() + BUDGET_SECONDS
    while expire_due(store()) == EXPIRY_BATCH and time.monotonic() < until:
        pass


@task("tasks.maintenance.attend_reviews")
def attend_reviews() -> None:
    until = time.monotonic() + BUDGET_SECONDS
    while attend_due(store()) == ATTEND_BATCH and time.monotonic() < until:
        pass


@task("tasks.maintenance.prune")
def prune() -> None:
    prune_rows(store(), timedelta(days=settings().retention_days))

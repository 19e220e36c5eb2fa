"""Periodic tasks that beat sends: repeat lost wake-ups, expire pauses, send reminders and delete old rows."""

import logging
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from adapters.process.logs import LogThrottle
from services.kernel.connection_pool import DatabaseUnavailable
from services.kernel.leases import BEAT, LEASE, stamp_worker
from services.kernel.unit_of_work import Database
from services.notifications.worker import sweep_notifications
from services.operations.checkpoints import Checkpoints
from services.operations.retention import Pruner
from services.pauses.callback_tokens import PROGRESS_BATCH, sweep_progress
from services.pauses.execution import MISSING_BATCH, sweep_missing_outcomes
from services.pauses.lifecycle import EXPIRY_BATCH, expire_due
from services.pauses.reminders import ATTEND_BATCH, attend_due
from services.sagas.engine import sweep_sagas
from services.webhooks.endpoint_backlog import sweep_endpoints
from services.webhooks.worker import sweep_deliveries
from tasks.lazy import Lazy
from tasks.own_thread import OwnThread
from tasks.runtime import database, settings, signer, worker_name
from tasks.task import away_within, task

log = logging.getLogger(__name__)

# One sweep ends after this, and the next second's goes on: a long one must not hold a worker's thread.
BUDGET_SECONDS = 5.0
# Beat asks every minute, so a long pass takes a third of the time of one thread.
PRUNE_SECONDS = 20.0
WARN_EVERY = 60.0


@task("tasks.maintenance.alive")
def alive(_: str) -> None:
    """Stamp the worker's row; the worker sends this task to itself (`tasks.heartbeat`)."""
    with database().transaction() as uow:
        stamp_worker(uow, worker_name())


@task("tasks.maintenance.sweep_due")
def sweep_due() -> None:
    with database().transaction() as uow:
        stamp_worker(uow, BEAT)
    for sweep in _sweeps():
        sweep.request()


@Lazy
def _sweeps() -> Sequence[OwnThread]:
    """Return the sweeps, each on its own thread, so that a slow one delays no other."""
    return (
        OwnThread("sweep of deliveries", lambda: sweep_deliveries(database(), spare_leased=_spare())),
        OwnThread("sweep of sagas", lambda: sweep_sagas(database(), spare_leased=_spare())),
        OwnThread("sweep of notifications", lambda: sweep_notifications(database(), spare_leased=_spare())),
        # This sweep returns how many endpoints have more to end.
        OwnThread("sweep of endpoints", lambda: _in_batches(sweep_endpoints, 1)),
        OwnThread("sweep of outcomes", lambda: _in_batches(sweep_missing_outcomes, MISSING_BATCH)),
        OwnThread("sweep of progress", lambda: _in_batches(sweep_progress, PROGRESS_BATCH)),
        OwnThread("signing of checkpoints", _sign_checkpoints),
    )


def _sign_checkpoints() -> None:
    try:
        _checkpoints().sign()
    except DatabaseUnavailable:
        raise
    except Exception:
        # Each second tries again, with the same error until a person acts.
        if _checkpoint_warning().now():
            log.exception("checkpoints of the audit log could not be signed")


@Lazy
def _checkpoints() -> Checkpoints:
    return Checkpoints(database(), signer(), timedelta(seconds=settings().checkpoint_event_every))


@Lazy
def _checkpoint_warning() -> LogThrottle:
    return LogThrottle(WARN_EVERY)


def _spare() -> bool:
    """Return whether the database was unreachable so recently that holders may not have renewed their leases."""
    return away_within(LEASE.total_seconds())


def _in_batches(sweep: Callable[[Database], int], full: int) -> None:
    """Repeat the sweep while it does at least `full`, within the budget."""
    until = time.monotonic() + BUDGET_SECONDS
    while sweep(database()) >= full and time.monotonic() < until:
        pass


@task("tasks.maintenance.expire_pauses")
def expire_pauses() -> None:
    _in_batches(expire_due, EXPIRY_BATCH)


@task("tasks.maintenance.attend_reviews")
def attend_reviews() -> None:
    _in_batches(attend_due, ATTEND_BATCH)


@task("tasks.maintenance.prune")
def prune() -> None:
    report = _pruner().run(PRUNE_SECONDS)
    if report.unfinished:
        extra = {"deleted": report.deleted, "unfinished": report.unfinished}
        log.info("prune stops for now and goes on at the next call", extra=extra)


@Lazy
def _pruner() -> Pruner:
    return Pruner(database(), timedelta(days=settings().retention_days))

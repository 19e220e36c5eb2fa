"""Prometheus metrics: counters and times of this `web`, and gauges of the whole system from the database.

The worker processes of one `web` share their counters, as any of them may answer a scrape."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from adapters.process.running import is_running
from app.deps import Deps
from domain.identity.access import Principal
from domain.pauses.door import NO_DOOR, OTHER_DOOR, TITLES

# From a cached read to the longest long poll.
_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
# Other methods count as one: a client may send any name, and each would add a time series.
METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PATCH", "PUT", "DELETE"})

# Where the Prometheus client keeps the values of each process; None: in memory, because there is only one.
_FOLDER = os.environ.get("PROMETHEUS_MULTIPROC_DIR")

registry = CollectorRegistry()
requests = Counter("sagahold_http_requests", "Responses sent", ["method", "route", "status"], registry=registry)
seconds = Histogram(
    "sagahold_http_request_seconds", "Time to the response", ["method", "route"], registry=registry, buckets=_BUCKETS
)
pauses = Counter("sagahold_pauses_created", "Pauses that requests to this process created", ["door"], registry=registry)
_long_polls = [
    Gauge(f"sagahold_{name}", meaning, registry=registry, multiprocess_mode="livesum")
    for name, meaning in (
        ("long_polls", "Long polls and streams that are open"),
        ("held_requests", "Alias of sagahold_long_polls, until the next version"),
    )
]
for _door in (NO_DOOR, OTHER_DOOR, *TITLES):
    # From the start, so that the first pause of a door is an increase.
    pauses.labels(_door)


class _SystemGauges(Collector):
    def __init__(self, deps: Deps, by: Principal) -> None:
        self._deps = deps
        self._by = by

    def collect(self) -> Iterator[Metric]:
        found, age = self._deps.backlogs.read(self._by)
        yield _gauge("backlog_age_seconds", "Age of the counts of waiting work", age)
        yield _gauge("pending_pauses", "Pauses that wait for a decision", found.pending_pauses)
        yield _gauge("pending_deliveries", "Webhook deliveries that wait for an attempt", found.pending_deliveries)
        yield _gauge("overdue_seconds", "Age of the oldest overdue work", found.overdue_seconds)
        yield _gauge("exhausted_deliveries", "Webhook deliveries given up", found.exhausted_deliveries)
        yield _gauge("disabled_endpoints", "Webhook endpoints disabled because they failed", found.disabled_endpoints)
        meaning = "Receivers whose last three or more attempts failed"
        yield _gauge("failing_receivers", meaning, found.failing_receivers)
        yield _gauge("due_sagas", "Sagas that a worker runs or must run", found.due_sagas)
        meaning = "Sagas that wait for an operator"
        yield _gauge("sagas_needing_operator", meaning, found.sagas_needing_operator)
        meaning = "Notifications that wait for an attempt"
        yield _gauge("pending_notifications", meaning, found.pending_notifications)
        meaning = "Notifications given up whose review or saga still waits"
        yield _gauge("failed_notifications", meaning, found.failed_notifications)
        yield from _renamed("set_aside", "quarantined_rows", "Rows that failed unexpectedly and wait", found.set_aside)
        meaning = "Age of the oldest audit entry that is not linked yet"
        yield _gauge("audit_unlinked_seconds", meaning, found.unlinked_seconds)
        yield _gauge("workers_seen", "Workers seen within 15 s", found.workers)


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"sagahold_{name}", meaning, value=value)


def _renamed(old: str, new: str, meaning: str, value: float) -> Iterator[GaugeMetricFamily]:
    """Yield the metric by its name, and by the name that dashboards of the last version still use."""
    yield _gauge(new, meaning, value)
    yield _gauge(old, f"Alias of sagahold_{new}, until the next version", value)


def exposition(deps: Deps, by: Principal) -> tuple[bytes, str]:
    """Return the metrics: gauges of the namespaces that the caller may see, and the requests of all callers."""
    system = CollectorRegistry()
    system.register(_SystemGauges(deps, by))
    return generate_latest(_shared()) + generate_latest(system), CONTENT_TYPE_LATEST


def _shared() -> CollectorRegistry:
    """Return the metrics of all processes of this `web`, or this process's if it shares none."""
    if _FOLDER is None:
        return registry
    for file in Path(_FOLDER).glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        if not is_running(pid):
            mark_process_dead(pid)  # type: ignore[no-untyped-call]
    found = CollectorRegistry()
    MultiProcessCollector(found)  # type: ignore[no-untyped-call]
    return found


def forget_shared() -> None:
    """Remove the files that the processes of this `web` share. They end together."""
    if _FOLDER is not None:
        shutil.rmtree(_FOLDER, ignore_errors=True)


def count(method: str, route: str, status: int, took: float) -> None:
    """Count a response after `took` seconds. `route` is the pattern of the path, without ids."""
    method = method if method in METHODS else "other"
    series = _series.get((method, route, status))
    if series is None:
        series = requests.labels(method, route, status), seconds.labels(method, route)
        _series[method, route, status] = series
    series[0].inc()
    series[1].observe(took)


def count_pause(door: str) -> None:
    """Count a new pause. `door`: a name that `door_label` returns."""
    pauses.labels(door).inc()


def count_long_polls(number: int) -> None:
    """Note how many long polls and streams are open in this process."""
    for gauge in _long_polls:
        gauge.set(number)


# A cache, because looking up a series takes longer than counting.
_series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

"""What Prometheus reads: counters and times of this process, gauges of the whole system from the database."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from app.deps import Deps
from domain.identity.access import Principal
from services.operations.health import Backlog, backlog

# From a cached read to the longest held request.
_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
# A client may call its method what it likes: each name of its own would be a time series of its own, for ever.
METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PATCH", "PUT", "DELETE"})

registry = CollectorRegistry()
requests = Counter("sagahold_http_requests", "Requests answered", ["method", "route", "status"], registry=registry)
seconds = Histogram(
    "sagahold_http_request_seconds", "Time to the answer", ["method", "route"], registry=registry, buckets=_BUCKETS
)


class _SystemGauges(Collector):
    def __init__(self, deps: Deps, by: Principal) -> None:
        self._deps = deps
        self._by = by

    def collect(self) -> Iterator[Metric]:
        found: Backlog = backlog(self._deps.database, self._by)
        yield _gauge("pending_pauses", "Pauses that wait for a decision", found.pending_pauses)
        yield _gauge("pending_deliveries", "Webhook deliveries that are due or will be", found.pending_deliveries)
        yield _gauge("overdue_seconds", "Age of what has been due longest", found.overdue_seconds)
        yield _gauge("exhausted_deliveries", "Webhook deliveries given up", found.exhausted_deliveries)
        yield _gauge("disabled_endpoints", "Webhook endpoints disabled because they failed", found.disabled_endpoints)
        told = "Receivers of webhooks whose last attempts, three or more, have failed"
        yield _gauge("failing_receivers", told, found.failing_receivers)
        yield _gauge("due_sagas", "Sagas that a worker is to go on with, or is at", found.due_sagas)
        told = "Sagas that wait for an operator to say what happened"
        yield _gauge("sagas_needing_operator", told, found.sagas_needing_operator)
        yield _gauge("pending_notifications", "Messages to people that are due or will be", found.pending_notifications)
        told = "Messages to people given up, of reviews and sagas that still wait for somebody"
        yield _gauge("failed_notifications", told, found.failed_notifications)
        yield _gauge("set_aside", "Rows whose work failed unforeseen, left alone for a while", found.set_aside)
        yield _gauge("workers_seen", "Workers that consumed work within 15 s", found.workers)
        yield _gauge("held_requests", "Requests held in this process", self._deps.subscriber.waiting)


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"sagahold_{name}", meaning, value=value)


def exposition(deps: Deps, by: Principal) -> tuple[bytes, str]:
    """Gauges of the namespaces that the caller sees. Requests are counted by their routes, whosever they are."""
    system = CollectorRegistry()
    system.register(_SystemGauges(deps, by))
    return generate_latest(registry) + generate_latest(system), CONTENT_TYPE_LATEST


def count(method: str, route: str, status: int, took: float) -> None:
    """One answer, after `took` seconds. Every route counts as one, whatever its ids."""
    method = method if method in METHODS else "other"
    series = _series.get((method, route, status))
    if series is None:
        series = requests.labels(method, route, status), seconds.labels(method, route)
        _series[method, route, status] = series
    series[0].inc()
    series[1].observe(took)


# Looking one up takes longer than counting.
_series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

"""/charts: waiting reviews, decisions and webhooks over time, as pictures and tables."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from flask import request

from app.dashboard.framework.page_decorator import page, person, render
from app.dashboard.operations.chart_svg import BAD, GOOD, PLAIN, SOFT, WARN, Colour, Series, columns, lines, rows, svg
from app.deps import deps
from domain.identity.access import Permission
from domain.values.errors import NotFound
from services.kernel.connection_pool import DatabaseUnavailable
from services.operations.recent_counts import RecentCounts
from services.operations.statistics import DAYS

Found = TypeVar("Found")
READ = Permission.METRICS_READ
AGES = ("under 10 min", "10 min to 1 h", "1 h to 24 h", "over 24 h")


@page("GET", "/charts", permission=READ)
def charts() -> Any:
    """Show the statistics, each with its picture."""
    statistics = deps().statistics
    return render(
        "charts.html",
        waiting=_in_time(statistics.waiting),
        decisions=_in_time(statistics.decisions),
        webhooks=_in_time(statistics.webhooks),
        ages=AGES,
        days=DAYS,
        duration=duration,
    )


@page("GET", "/charts/<name>.svg", permission=READ)
def chart(name: str) -> Any:
    """Return one picture; `?narrow` makes it fit a phone."""
    draw = _PICTURES.get(name)
    if draw is None:
        raise NotFound("there is no such chart")
    return svg(draw("narrow" in request.args))


def duration(seconds: float) -> str:
    """Format a duration in the unit that fits, from milliseconds to days."""
    if seconds == 0:
        return "0"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= size:
            return f"{seconds / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{seconds * 1000:.1f}".removesuffix(".0") + " ms"


def _found(counts: RecentCounts[Found]) -> Found:
    return counts.read(person())[0]


def _in_time(counts: RecentCounts[Found]) -> Found | None:
    """Return the counts; None if they took too long, and only that part of the page then says so."""
    try:
        return _found(counts)
    except DatabaseUnavailable:
        return None


def _waiting(narrow: bool) -> Any:
    found = _found(deps().statistics.waiting)
    by_age = [
        Series(words, colour, [each.counts[place] for each in found])
        for place, (words, colour) in enumerate(zip(AGES, (SOFT, PLAIN, WARN, BAD), strict=True))
    ]
    return rows([each.namespace for each in found], by_age, narrow)


def _time_to_decision(narrow: bool) -> Any:
    found = _found(deps().statistics.decisions)
    parts = (("median", PLAIN, "p50"), ("95th percentile", WARN, "p95"))
    return lines(_names(found), _series(found, parts), duration, narrow)


def _outcomes(narrow: bool) -> Any:
    found = _found(deps().statistics.decisions)
    parts = (("approved", GOOD), ("rejected", BAD), ("expired", WARN), ("cancelled", SOFT))
    return columns(_names(found), _series(found, [(name, colour, name) for name, colour in parts]), narrow)


def _deliveries(narrow: bool) -> Any:
    found = _found(deps().statistics.webhooks)
    parts = (("delivered", GOOD, "delivered"), ("given up", BAD, "exhausted"), ("pending", SOFT, "pending"))
    return columns(_names(found), _series(found, parts), narrow)


def _attempts(narrow: bool) -> Any:
    found = _found(deps().statistics.webhooks)
    parts = (("95th percentile of attempts", PLAIN, "p95"),)
    return lines(_names(found), _series(found, parts), duration, narrow)


def _series(days: Sequence[Any], parts: Iterable[tuple[str, Colour, str]]) -> list[Series]:
    """Return a series per part; a part is a name, a colour and an attribute of a day."""
    return [Series(name, colour, [getattr(day, part) for day in days]) for name, colour, part in parts]


def _names(days: Sequence[Any]) -> list[str]:
    return [f"{each.day:%-d %b}" for each in days]


_PICTURES: dict[str, Callable[[bool], Any]] = {
    "waiting": _waiting,
    "time-to-decision": _time_to_decision,
    "outcomes": _outcomes,
    "deliveries": _deliveries,
    "attempts": _attempts,
}

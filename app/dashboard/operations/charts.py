"""/charts: what waits, how fast and how it is decided, and how webhooks fare: as pictures, and as tables."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from flask import request

from app.dashboard.framework.page_decorator import page, person, render
from app.dashboard.operations.chart_svg import BAD, GOOD, PLAIN, SOFT, WARN, Colour, Series, columns, lines, rows, svg
from app.deps import deps
from domain.identity.access import Permission, Principal
from domain.values.errors import NotFound
from services.kernel.connection_pool import DatabaseUnavailable
from services.kernel.unit_of_work import Database
from services.operations import statistics as numbers

Found = TypeVar("Found")
READ = Permission.METRICS_READ
AGES = ("under 10 min", "10 min to 1 h", "1 h to 24 h", "over 24 h")


@page("GET", "/charts", permission=READ)
def charts() -> Any:
    """The numbers, each with its picture"""
    return render(
        "charts.html",
        waiting=_in_time(numbers.waiting),
        decisions=_in_time(numbers.decisions),
        webhooks=_in_time(numbers.webhooks),
        ages=AGES,
        days=numbers.DAYS,
        duration=duration,
    )


@page("GET", "/charts/<name>.svg", permission=READ)
def chart(name: str) -> Any:
    """One picture; with `?narrow` for a phone"""
    draw = _PICTURES.get(name)
    if draw is None:
        raise NotFound("there is no such chart")
    return svg(draw("narrow" in request.args))


def duration(seconds: float) -> str:
    """In the unit that fits: a day's p95 may be milliseconds or days."""
    if seconds == 0:
        return "0"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= size:
            return f"{seconds / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{seconds * 1000:.1f}".removesuffix(".0") + " ms"


def _in_time(ask: Callable[[Database, Principal], Found]) -> Found | None:
    """None where the database took too long: then that part of the page says so, and the others are there."""
    try:
        return ask(deps().database, person())
    except DatabaseUnavailable:
        return None


def _waiting(narrow: bool) -> Any:
    found = numbers.waiting(deps().database, person())
    by_age = [
        Series(words, colour, [each.counts[place] for each in found])
        for place, (words, colour) in enumerate(zip(AGES, (SOFT, PLAIN, WARN, BAD), strict=True))
    ]
    return rows([each.namespace for each in found], by_age, narrow)


def _time_to_decision(narrow: bool) -> Any:
    found = numbers.decisions(deps().database, person())
    parts = (("half within", PLAIN, "p50"), ("95 of 100 within", WARN, "p95"))
    return lines(_names(found), _series(found, parts), duration, narrow)


def _outcomes(narrow: bool) -> Any:
    found = numbers.decisions(deps().database, person())
    parts = (("approved", GOOD), ("rejected", BAD), ("expired", WARN), ("cancelled", SOFT))
    return columns(_names(found), _series(found, [(name, colour, name) for name, colour in parts]), narrow)


def _deliveries(narrow: bool) -> Any:
    found = numbers.webhooks(deps().database, person())
    parts = (("delivered", GOOD, "delivered"), ("given up", BAD, "exhausted"), ("on the way", SOFT, "pending"))
    return columns(_names(found), _series(found, parts), narrow)


def _attempts(narrow: bool) -> Any:
    found = numbers.webhooks(deps().database, person())
    parts = (("95 of 100 attempts within", PLAIN, "p95"),)
    return lines(_names(found), _series(found, parts), duration, narrow)


def _series(days: Sequence[Any], parts: Iterable[tuple[str, Colour, str]]) -> list[Series]:
    """Of each part: its name, its colour, and what a day calls it."""
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

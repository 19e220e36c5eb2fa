"""The same work with more and more pending pauses in the database."""

from dataclasses import dataclass
from statistics import median

from bench.load import Load, drive, middle
from bench.subject import Subject

# One client, because the figure is the time of one request, not the machine's capacity.
CLIENTS = 1
# More than one client ever decides per second.
DECISIONS_PER_SECOND = 1_500


@dataclass(frozen=True)
class Parked:
    """The figures with parked pauses.

    Attributes:
        loads: by name of the work, then by the number of parked pauses.
        slowdown: p50 with the most parked pauses ÷ p50 with none in the same round, by name of the work.
        bytes_each: bytes of the table and its indexes for one parked pause.
    """

    loads: dict[str, dict[int, Load]]
    slowdown: dict[str, float]
    bytes_each: float


def parked(subject: Subject, levels: tuple[int, ...], seconds: float, warm_up: float, rounds: int) -> Parked:
    """Measure every level in every round, so that a change of the machine's speed does not distort the result."""
    measured: dict[tuple[str, int], list[Load]] = {}
    sizes = []
    for _ in range(rounds):
        for level in levels:
            sizes.append(_fill(subject, level))
            for name, load in _work(subject, seconds, warm_up).items():
                measured.setdefault((name, level), []).append(load)
    names = dict.fromkeys(name for name, _ in measured)
    most = levels[-1]
    return Parked(
        {name: {level: middle(measured[name, level]) for level in levels} for name in names},
        {name: _slowdown(measured[name, levels[0]], measured[name, most]) for name in names},
        max(sizes) / most,
    )


def _fill(subject: Subject, number: int) -> int:
    """Park exactly this many pauses, and return the bytes that they take."""
    subject.forget_pauses()
    empty = subject.pauses_bytes()
    subject.park(number)
    subject.settle()
    return subject.pauses_bytes() - empty


def _work(subject: Subject, seconds: float, warm_up: float) -> dict[str, Load]:
    # Decisions come last, because the pauses that they need would count as parked.
    done = {
        "list": drive(subject.server, CLIENTS, subject.lists(), seconds / 2, warm_up),
        "create": drive(subject.server, CLIENTS, subject.creations(), seconds, warm_up),
    }
    to_decide = subject.park(int(DECISIONS_PER_SECOND * (seconds + warm_up)))
    return done | {"decide": drive(subject.server, CLIENTS, subject.approvals(to_decide), seconds, warm_up)}


def _slowdown(without: list[Load], full: list[Load]) -> float:
    return median(many.p50 / none.p50 for none, many in zip(without, full, strict=True))

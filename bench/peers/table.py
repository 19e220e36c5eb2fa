"""Medians and ratios of the rounds, and their tables. Values in, values out."""

from collections.abc import Mapping, Sequence
from statistics import median

from rich import box
from rich.table import Table

# The text of each figure, in the order of the table and short enough for 80 columns.
ROWS = {
    "create": "create /s, 16 clients",
    "decide": "decide /s, 16 clients",
    "saga_16": "sagas /s, 16 in flight",
    "saga_64": "sagas /s, 64 in flight",
    "next_p50": "decision → call, p50 ms",
    "next_p99": "  p99 ms",
    "paced_p50": "  at 50/s, p50 ms",
    "paced_p99": "  at 50/s, p99 ms",
    "agent_p50": "decision → agent, p50 ms",
    "restart_up": "kill -9 → up again, ms",
    "restart_p50": "  up → resumed, p50 ms",
}
OURS, RIVAL = "Sagahold", "Restate"
# Figures of the systems by name, one mapping per round.
Rounds = Sequence[Mapping[str, Mapping[str, float]]]


def medians(rounds: Rounds, system: str) -> dict[str, float]:
    """Return the median of each figure over the rounds that have it."""
    names = {name: None for figures in rounds for name in figures.get(system, {})}
    return {name: median(f[system][name] for f in rounds if name in f.get(system, {})) for name in names}


def ratio(rounds: Rounds, name: str, system: str, to: str) -> float | None:
    """Return the median of the ratios within each round, None if no round has both figures.

    A ratio of medians would compare figures that were measured minutes apart.
    """
    both = [(f[system][name], f[to][name]) for f in rounds if name in f.get(system, {}) and name in f.get(to, {})]
    return median(one / other for one, other in both) if both else None


def comparison(rounds: Rounds, systems: Sequence[str], absent: Mapping[str, str]) -> Table:
    """The table of the figures, 80 columns wide. `absent` has the reason for each system that was left out."""
    said = "; ".join(f"{name} left out: {why}" for name, why in absent.items())
    table = Table(box=box.SIMPLE_HEAD, title="The approval cycle (medians)", caption=said or None, pad_edge=False)
    table.add_column("")
    for system in systems:
        table.add_column(system, justify="right")
    table.add_column("ours :\nRestate", justify="right")
    found = {system: medians(rounds, system) for system in systems}
    for name, told in ROWS.items():
        values = [found[system].get(name) for system in systems]
        if any(value is not None for value in values):
            table.add_row(told, *map(number, values), number(ratio(rounds, name, OURS, RIVAL)))
    return table


def cpu_table(title: str, rows: Mapping[str, Mapping[str, float]]) -> Table:
    """CPU milliseconds per saga by row and group, and the database's share of them, titled `title`."""
    groups = list(dict.fromkeys(group for found in rows.values() for group in found))
    table = Table(
        box=box.SIMPLE_HEAD, title=f"CPU ms per 3-step saga, {title}", caption="share: the database's", pad_edge=False
    )
    table.add_column("")
    for group in (*groups, "all", "share"):
        table.add_column(group, justify="right")
    for name, found in rows.items():
        share = database_share(found)
        table.add_row(
            name, *(number(found.get(group)) for group in groups), number(sum(found.values())), f"{share:.0%}"
        )
    return table


def database_share(cpu: Mapping[str, float]) -> float:
    """Return the database's part of the CPU, from 0 to 1."""
    total = sum(cpu.values())
    return cpu.get("database", 0.0) / total if total else 0.0


def number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"

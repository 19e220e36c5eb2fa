"""Figures: collected, compared with the floor, printed and written as JSON lines."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from bench.load import Load


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Attributes:
        at: conditions such as `clients` and `parked`, by name.
        p50: latency in milliseconds, if any; `p99` likewise.
        vs_empty_route: ratio of rates, latencies or sizes to this floor; `vs_insert` likewise.
    """

    name: str
    unit: str
    value: float
    at: dict[str, Any] = field(default_factory=dict)
    p50: float | None = None
    p99: float | None = None
    vs_empty_route: float | None = None
    vs_insert: float | None = None


@dataclass(frozen=True)
class Target:
    """A row of the table of targets. `must` is required today, `aim` is the goal."""

    name: str
    found: float
    must: float
    aim: float
    unit: str
    more_is_better: bool = False

    def reaches(self, bar: float) -> bool:
        return self.found >= bar if self.more_is_better else self.found <= bar


def rate(name: str, load: Load, at: dict[str, Any], empty: Load | None = None, insert: Load | None = None) -> Figure:
    return Figure(
        name, "/s", load.rate, at, load.p50, load.p99, _ratio(load, empty, "rate"), _ratio(load, insert, "rate")
    )


def latency(name: str, load: Load, at: dict[str, Any], empty: Load, insert: Load) -> Figure:
    ratios = _ratio(load, empty, "p50"), _ratio(load, insert, "p50")
    return Figure(name, "ms", load.p50, at, load.p50, load.p99, *ratios)


def _ratio(load: Load, floor: Load | None, name: str) -> float | None:
    return None if floor is None else getattr(load, name) / getattr(floor, name)


def write(path: Path, run: dict[str, Any], figures: list[Figure], targets: list[Target]) -> None:
    """Write the run and its machine first, then one line per figure and one per target."""
    lines = [{"run": run}, *({"figure": asdict(figure)} for figure in figures)]
    lines += [{"target": asdict(target)} for target in targets]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def show(console: Console, figures: list[Figure], targets: list[Target]) -> None:
    console.print(_figures(figures))
    console.print(_targets(targets))


def _figures(figures: list[Figure]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="Figures (medians)", caption="×: ratio to the floor in the same run")
    table.add_column("what")
    table.add_column("at")
    for name in ("value", "p50 ms", "p99 ms", "× empty\nroute", "× raw\nINSERT"):
        table.add_column(name, justify="right")
    before = None
    for figure in figures:
        if before not in (None, figure.name):
            table.add_section()
        table.add_row(
            figure.name if figure.name != before else "",
            _circumstance(figure.at),
            f"{_number(figure.value)} {figure.unit}".rstrip(),
            *map(_number, (figure.p50, figure.p99)),
            *map(_ratio_text, (figure.vs_empty_route, figure.vs_insert)),
        )
        before = figure.name
    return table


def _targets(targets: list[Target]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="Targets")
    table.add_column("what")
    for name in ("found", "must", "aim", ""):
        table.add_column(name, justify="right")
    for target in targets:
        sign = "≥" if target.more_is_better else "≤"
        said = "aim" if target.reaches(target.aim) else "must" if target.reaches(target.must) else "MISSED"
        bars = (f"{sign} {_number(bar)} {target.unit}".rstrip() for bar in (target.must, target.aim))
        table.add_row(target.name, f"{_number(target.found)} {target.unit}".rstrip(), *bars, said)
    return table


def _circumstance(at: dict[str, Any]) -> str:
    said = (f"{value:,} {name}" if isinstance(value, int) else str(value) for name, value in at.items())
    return "1 client" if at == {"clients": 1} else ", ".join(said)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def _ratio_text(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}" if value < 10 else f"{value:,.0f}"

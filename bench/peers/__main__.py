"""`python -m bench.peers`: measure our product and its peers in rounds, and print the table."""

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from bench.floor import cores
from bench.peers import table
from bench.peers.clients import Events
from bench.peers.cycle import FULL, QUICK, Found, Size, measure
from bench.peers.environments import NPM_PACKAGES, PYTHON_PACKAGES, AbsentError, Environments
from bench.peers.systems import SYSTEMS
from bench.wire import BenchError
from cli.devstack import StackError

ENVIRONMENTS = Path(__file__).parents[2] / ".bench-peers"
# The width of the tables, in columns.
WIDTH = 80
OURS = "sagahold"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description="Measure Sagahold beside its peers.")
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="measure only these, separated by commas")
    parser.add_argument("--rounds", type=int, default=3, help="measure every system this many times")
    parser.add_argument("--held", type=int, default=0, help="kill -9 everything with this many held, and restart")
    parser.add_argument("--quick", action="store_true", help="measure every figure, but too briefly to be meaningful")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    given = parser.parse_args()
    keys = given.systems.split(",")
    if unknown := set(keys) - set(SYSTEMS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(SYSTEMS)}")
    began = datetime.now(UTC)
    size = QUICK if given.quick else FULL
    rounds, absent = _rounds(keys, given.rounds, size, given.held)
    run = {
        "began": began.isoformat(timespec="seconds"),
        "seconds": round((datetime.now(UTC) - began).total_seconds()),
        "rounds": given.rounds,
        "quick": given.quick,
        "cores": cores(),
        "python": platform.python_version(),
        "packages": {
            key: [*PYTHON_PACKAGES[key], *filter(None, [NPM_PACKAGES.get(key)])] for key in keys if key != OURS
        },
    }
    names = [SYSTEMS[key].name for key in keys if SYSTEMS[key].name not in absent]
    if given.json:
        measured = [{name: vars(found) for name, found in one.items()} for one in rounds]
        print(json.dumps({"run": run, "absent": absent, "rounds": measured}))
    else:
        _show(Console(width=WIDTH), rounds, names, absent, size.workers)
        print(", ".join(f"{name} {value}" for name, value in run.items() if name != "packages"))
    return 1 if SYSTEMS[OURS].name in absent else 0


def _rounds(keys: list[str], number: int, size: Size, held: int) -> tuple[list[dict[str, Found]], dict[str, str]]:
    """Return what each round found, and why a system was left out."""
    environments, absent = Environments(ENVIRONMENTS), {}
    rounds: list[dict[str, Found]] = []
    for at in range(number):
        rounds.append({})
        for kind in (SYSTEMS[key] for key in keys):
            if kind.name in absent:
                continue
            print(f"round {at + 1} of {number}: {kind.name}", file=sys.stderr)
            try:
                rounds[-1][kind.name] = _measure(kind, environments, size, held)
            except (AbsentError, BenchError, StackError, OSError) as error:
                absent[kind.name] = str(error)
                print(f"{kind.name} is left out: {error}", file=sys.stderr)
    return rounds, absent


def _measure(kind: Callable[..., Any], environments: Environments, size: Size, held: int) -> Found:
    with (
        tempfile.TemporaryDirectory(prefix="sagahold-bench-") as folder,
        closing(Events()) as events,
        kind(Path(folder), environments, events) as system,
    ):
        return measure(system, size, held)


def _show(
    console: Console, rounds: list[dict[str, Found]], names: list[str], absent: dict[str, str], workers: tuple[int, ...]
) -> None:
    console.print(table.comparison([{k: f.figures for k, f in one.items()} for one in rounds], names, absent))
    for at in ("16 in flight", "64 in flight"):
        console.print(table.cpu_table(at, {name: _cpu(rounds, name, at) for name in names}))
    ours = SYSTEMS[OURS].name
    if ours in names:
        figures = table.medians([{k: f.figures for k, f in one.items()} for one in rounds], ours)
        rows = {
            f"{n} worker{'s' * (n > 1)} {table.number(figures[f'workers_{n}'])}/s": _cpu(rounds, ours, f"{n} workers")
            for n in workers
        }
        console.print(table.cpu_table(f"64 in flight, by {ours}'s workers", rows))


def _cpu(rounds: list[dict[str, Found]], name: str, at: str) -> dict[str, float]:
    found = [one[name].cpu[at] for one in rounds if name in one]
    return {group: median(cpu[group] for cpu in found) for group in found[0]} if found else {}


if __name__ == "__main__":
    sys.exit(main())

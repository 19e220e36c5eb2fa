"""`python -m bench [--quick] [--results DIR]`: measure everything, print the tables and write them as JSON lines."""

import argparse
import platform
import sys
import tempfile
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from sqlalchemy import text

from bench import report
from bench.floor import RawInserts, cores, empty_route
from bench.plan import Bench
from bench.scale import FULL, QUICK, Scale
from bench.subject import Subject
from bench.wire import BenchError
from cli.devstack import Stack, StackError

RESULTS = Path(__file__).parent / "results"
# The bench always starts its own servers, because it empties the tables that it measures.
ENVIRON = {"DATABASE_URL": "", "REDIS_URL": "", "SAGAHOLD_EGRESS_ALLOW": "127.0.0.0/8"}
# The width of the tables, in columns.
WIDTH = 100


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Sagahold on the embedded stack.")
    parser.add_argument("--quick", action="store_true", help="measure every figure, but too briefly to be meaningful")
    parser.add_argument("--results", type=Path, default=RESULTS, help="write the JSON lines to this directory")
    given = parser.parse_args()
    console, news = Console(width=WIDTH), Console(stderr=True)
    began = datetime.now(UTC)
    try:
        run, bench = _measure(QUICK if given.quick else FULL, lambda line: news.print(line, style="dim"))
    except (BenchError, StackError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    run |= {"began": began.isoformat(), "quick": given.quick, "seconds": (datetime.now(UTC) - began).total_seconds()}
    path = given.results / f"{began:%Y%m%dT%H%M%SZ}.jsonl"
    report.write(path, run, bench.figures, bench.targets)
    report.show(console, bench.figures, bench.targets)
    console.print(", ".join(f"{name} {value}" for name, value in run.items()), style="dim")
    console.print(f"JSON lines: {path}", style="dim")
    return 0


def _measure(scale: Scale, say: Any) -> tuple[dict[str, Any], Bench]:
    with ExitStack() as stays:
        folder = stays.enter_context(tempfile.TemporaryDirectory(prefix="sagahold-bench-"))
        say("starting the stack")
        stack = stays.enter_context(Stack(Path(folder), environ=ENVIRON))
        subject = stays.enter_context(closing(Subject(stack)))
        floor = stays.enter_context(empty_route(stack))
        inserts = stays.enter_context(closing(RawInserts(stack.database_url)))
        bench = Bench(scale, subject, floor, inserts, say)
        bench.run()
        return _circumstances(subject), bench


def _circumstances(subject: Subject) -> dict[str, Any]:
    with subject.engine.connect() as conn:
        version, fsync, synchronous = (
            conn.execute(text(f"SHOW {name}")).scalar_one()
            for name in ("server_version", "fsync", "synchronous_commit")
        )
    return {
        "cores": cores(),
        "python": platform.python_version(),
        "postgresql": version,
        "fsync": fsync,
        "synchronous_commit": synchronous,
    }


if __name__ == "__main__":
    sys.exit(main())

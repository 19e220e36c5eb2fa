"""The bench runs and yields every figure that docs/benchmarks.md explains. Their values do not matter here."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
RATES = ("floor: empty Flask route", "floor: raw INSERT+COMMIT", "create a pause", "decide a pause")
PARKED = ("list, 1 client", "create, 1 client", "decide, 1 client")
SAGA_LATENCIES = ("saga: start → held", "saga: decision → next tool call", "saga: decision → completed")
SAGA_RATES = ("saga: one held step", "saga: three steps, one held")
TARGETS = 13
PROCESSES = ("floor: empty Flask app", "postgres", "redis", "web", "worker", "beat")


def test_a_quick_run_yields_every_figure_and_every_target(tmp_path: Path) -> None:
    """`python -m bench --quick` ends well, and each figure is there, is more than nothing, and is held to the floor."""
    command = [sys.executable, "-m", "bench", "--quick", "--results", str(tmp_path)]
    # It empties tables: a server of the environment is none of its business.
    other = {"DATABASE_URL": "postgresql://127.0.0.1:1/other", "REDIS_URL": "redis://127.0.0.1:1"}
    environ = {**os.environ, **other}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr
    (written,) = tmp_path.glob("*.jsonl")
    lines = [json.loads(line) for line in written.read_text().splitlines()]
    figures = {(line["figure"]["name"], *line["figure"]["at"].values()): line["figure"] for line in lines[1:-TARGETS]}

    assert lines[0]["run"]["fsync"] == "on"
    expected = {(name, clients) for name in RATES for clients in (1, 8, 16, 32)}
    expected |= {(name, parked) for name in PARKED for parked in (0, 100, 2_000)}
    expected |= {("memory (PSS)", f"{process}, after load") for process in PROCESSES}
    expected |= {("decision → waiting agent", "unloaded"), ("decision → webhook received", "unloaded")}
    expected |= {("SDK: request → approval → use → outcome", "unloaded"), ("MCP: tool call → decision", "unloaded")}
    expected |= {("webhook deliveries", "one worker process"), ("bytes per parked pause",)}
    expected |= {("50 agents waiting", "create meanwhile, 1 client"), ("50 agents waiting", "memory (PSS) of web")}
    expected |= {(name, "unloaded") for name in SAGA_LATENCIES} | {("saga: bytes per held one",)}
    expected |= {("saga: one reason step", "mock, unloaded"), ("saga: one reason step", "mock, 16 in flight")}
    expected |= {("saga: one reason step of 200 ms", "mock, 64 in flight")}
    at = ("1 worker process", "2 worker processes", "1 worker process, 50 held")
    rates = {(name, where) for name in SAGA_RATES for where in at}
    assert expected | rates <= figures.keys()
    for key in expected:
        assert figures[key]["value"] > 0, key
    alone = ("memory (PSS)", "50 agents waiting", "saga: bytes per held one")
    compared = [key for key in expected if not any(name in key for name in alone)]
    for key in compared:
        assert figures[key]["vs_insert"] > 0, key
    assert [line["target"]["name"] for line in lines[-TARGETS:]] == [
        "create, 16 clients, vs the empty route",
        "create, 16 clients, vs raw INSERT+COMMIT",
        "decision → waiting agent, unloaded p50",
        "decision → webhook received, unloaded p50",
        "create p50, 2,000 parked vs none",
        "decide p50, 2,000 parked vs none",
        "bytes per parked pause",
        "agents waiting on one web process",
        "decision → saga's next tool call, unloaded p50",
        "decision → saga's next tool call, unloaded p99",
        "sagas of three steps, one held, 16 in flight",
        "worker after 64 models at once, memory",
        "bytes per held saga",
    ]

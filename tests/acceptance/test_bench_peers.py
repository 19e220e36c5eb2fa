"""The peers' harness yields every figure of ours, and its medians and ratios are those of the rounds."""

import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from bench.peers import table

ROOT = Path(__file__).parents[2]
ROUNDS = [
    {"Sagahold": {"create": 100.0, "saga_16": 40.0}, "Restate": {"create": 200.0}},
    {"Sagahold": {"create": 300.0}, "Restate": {"create": 300.0}},
    {"Sagahold": {"create": 900.0}, "Restate": {"create": 1_000.0}},
]


def test_a_quick_run_of_ours_alone_yields_every_figure(tmp_path: Path) -> None:
    """It needs neither npm nor a network, and installs nothing."""
    command = [sys.executable, "-m", "bench.peers", "--systems", "sagahold", "--rounds", "1", "--quick", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["absent"] == {}
    (measured,) = found["rounds"]
    expected = table.ROWS.keys() - {"restart_up", "restart_p50"} | {"workers_1"}
    assert measured["Sagahold"]["figures"].keys() == expected
    assert all(value > 0 for value in measured["Sagahold"]["figures"].values())
    assert measured["Sagahold"]["cpu"].keys() == {"16 in flight", "64 in flight", "1 workers"}


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    assert table.medians(ROUNDS, "Sagahold") == {"create": 300.0, "saga_16": 40.0}
    assert table.ratio(ROUNDS, "create", "Sagahold", "Restate") == pytest.approx(0.9)
    assert table.ratio(ROUNDS, "saga_16", "Sagahold", "Restate") is None
    assert table.medians(ROUNDS, "DBOS") == {}


def test_the_databases_share_is_of_all_groups() -> None:
    assert table.database_share({"web": 3.0, "worker": 6.0, "database": 3.0}) == pytest.approx(0.25)
    assert table.database_share({}) == 0.0


def test_the_table_is_80_columns_wide_and_names_who_was_left_out() -> None:
    console = Console(width=80, record=True, file=StringIO())
    console.print(table.comparison(ROUNDS, ["Sagahold", "Restate", "LangGraph"], {"DBOS": "there is no npm"}))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    assert "DBOS left out: there is no npm" in " ".join(lines)
    (created,) = (line.split() for line in lines if line.strip().startswith("create"))
    assert created[-4:] == ["300", "300", "–", "0.90"]

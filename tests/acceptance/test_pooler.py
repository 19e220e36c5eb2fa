"""Answers of `sagahold` about a PgBouncer between it and PostgreSQL."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.devstack import Stack
from cli.devstack.ports import free_port
from tests.acceptance.commands import SAGAHOLD, Ran
from tests.pgbouncer import pgbouncer

Call = Callable[..., Ran]


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("transaction", {"pooler": (True, "shares sessions"), "database": (True, "answers"), "clock": (True, "")}),
        ("session", {"pooler": (True, "it keeps sessions")}),
        ("statement", {"database": (False, "set pool_mode = transaction there")}),
    ],
)
def test_doctor_names_it(
    call: Call,
    stack: Stack,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    says: dict[str, tuple[bool, str]],
) -> None:
    with pgbouncer(tmp_path, stack.database_url, pool_mode=mode) as pooler:
        monkeypatch.setenv("DATABASE_URL", pooler.url)
        monkeypatch.setenv("REDIS_URL", stack.redis_url)
        found = {check["name"]: (check["good"], check["said"]) for check in call("doctor", "--json").document}
    for name, (good, part) in says.items():
        assert found[name][0] is good, found
        assert part in found[name][1]
    assert "start it" not in found["database"][1]


@pytest.mark.parametrize("process", ["web", "worker"])
def test_no_process_starts_on_one_that_has_no_transactions(stack: Stack, tmp_path: Path, process: str) -> None:
    with pgbouncer(tmp_path, stack.database_url, pool_mode="statement") as pooler:
        environ = {
            **os.environ,
            "DATABASE_URL": pooler.url,
            "REDIS_URL": stack.redis_url,
            "SAGAHOLD_PORT": str(free_port("127.0.0.1")),
            "SAGAHOLD_RUN_DIR": str(tmp_path / "run"),
        }
        ran = subprocess.run([SAGAHOLD, process], env=environ, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode, ran.stderr
    assert "sagahold: DATABASE_URL leads to a pooler that ends a connection at BEGIN" in ran.stderr
    assert "set pool_mode = transaction" in ran.stderr

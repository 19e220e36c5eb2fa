"""The example's server keeps the promises that its tools' hints make."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from adapters.mcp import ToolClient
from domain.manifests.definition import ToolSource, Transport
from tests.adapters.odd_server import answers, eventually, free_port
from tests.adapters.outcomes import TOOL_FAILED, data_of, ends

SERVER = Path(__file__).parents[3] / "examples" / "ledger" / "server.py"


@pytest.fixture(params=["stdio", "http"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ToolSource]:
    env = {"LEDGER_DB": str(tmp_path / "books" / "ledger.db")}
    if request.param == "stdio":
        yield ToolSource("ledger", Transport.STDIO, command=sys.executable, args=(str(SERVER),), env=env)
        return
    port = free_port()
    process = subprocess.Popen([sys.executable, str(SERVER), "--http", str(port)], env=env)
    try:
        eventually(lambda: answers(port))
        yield ToolSource("ledger", Transport.STREAMABLE_HTTP, url=f"http://127.0.0.1:{port}/mcp")
    finally:
        process.kill()
        process.wait(90)


@pytest.fixture
def call(source: ToolSource):
    client = ToolClient()

    def call(tool: str, key: str, **arguments: Any) -> Any:
        return data_of(client.call((source,), tool, arguments, meta={}, idempotency_key=key, timeout=30))

    call.hints = lambda: {tool.name: tool.idempotent for tool in client.loop.submit(client.tools(source)).result(30)}
    yield call
    client.close()


def rows(folder: Path) -> list[tuple[str, str | None]]:
    connection = sqlite3.connect(folder / "books" / "ledger.db")
    try:
        return connection.execute("SELECT tool, idempotency_key FROM entries ORDER BY id").fetchall()
    finally:
        connection.close()


def test_a_repeated_key_changes_nothing(call, tmp_path: Path):
    first = call("refund", "k1", customer="ada", amount=12.5)
    assert first == {"entry": 1, "customer": "ada", "amount": 12.5}
    with ThreadPoolExecutor(8) as threads:
        again = list(threads.map(lambda _: call("refund", "k1", customer="ada", amount=12.5), range(8)))
    assert again == [first] * 8
    assert rows(tmp_path) == [("refund", "k1")]
    with ends(TOOL_FAILED, match="used for other arguments"):
        call("refund", "k1", customer="ada", amount=13)
    call("reverse_refund", "k1", customer="ada", amount=12.5)
    call("charge", "k2", customer="ada", amount=2)
    assert call("balance", "k3", customer="ada") == {"customer": "ada", "balance": -2.0, "entries": 3}


def test_charge_once_doubles_and_says_so(call, tmp_path: Path):
    for _ in range(2):
        call("charge_once", "k1", customer="ada", amount=1)
    assert rows(tmp_path) == [("charge_once", None)] * 2
    hints = call.hints()
    assert hints.pop("charge_once") is False
    assert set(hints.values()) == {True}


def test_every_act_leaves_its_row(call, tmp_path: Path):
    call("send_email", "k1", to="ada@example.org", subject="Hello")
    call("withdraw_email", "k2", to="ada@example.org", subject="Hello")
    call("deploy", "k3", service="shop", version="2.0")
    call("rollback", "k4", service="shop", version="2.0")
    assert rows(tmp_path) == [("send_email", "k1"), ("withdraw_email", "k2"), ("deploy", "k3"), ("rollback", "k4")]
    with ends(TOOL_FAILED, match="more than 0"):
        call("charge", "k5", customer="ada", amount=-1)

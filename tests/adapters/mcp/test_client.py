"""Tool calls to real servers of all three transports: what is answered, and what is made of it."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from adapters.mcp import CallError, ToolClient
from domain.manifests.definition import ToolSource, Transport
from domain.sagas.outcome import Failed, NotSent
from tests.adapters.odd_server import Odd, eventually, odd_servers
from tests.adapters.outcomes import (
    BAD_OUTPUT,
    LOST,
    NOT_CONFIGURED,
    TIMED_OUT,
    TOOL_FAILED,
    TOOL_NOT_FOUND,
    UNAVAILABLE,
    data_of,
    ends,
)

TRANSPORTS = ["stdio", "http", "http-json", "sse"]


@pytest.fixture
def odd(request: pytest.FixtureRequest, tmp_path: Path):
    with odd_servers(request.param, tmp_path) as server:
        yield server


@pytest.fixture
def client():
    client = ToolClient()
    yield client
    client.close()


def call(client: ToolClient, source: ToolSource, tool: str, timeout: float = 30, **arguments: Any) -> Any:
    return data_of(client.call((source,), tool, arguments, meta={}, idempotency_key="key-1", timeout=timeout))


on_all = pytest.mark.parametrize("odd", TRANSPORTS, indirect=True)
on_stdio = pytest.mark.parametrize("odd", ["stdio"], indirect=True)


@on_all
def test_answers(client: ToolClient, odd: Odd):
    assert call(client, odd.source, "echo", value={"a": [1, "ü"]}) == {"value": {"a": [1, "ü"]}}
    assert call(client, odd.source, "text", value="[1, 2]") == [1, 2]
    assert call(client, odd.source, "text", value="7") == 7
    for text in ("done", '{"n": NaN}', "[" * 100_000):
        block = {"type": "text", "text": text}
        assert call(client, odd.source, "text", value=text) == {"text": text, "content": [block]}
    assert call(client, odd.source, "structured", value=1) == {"value": 1}


@on_all
def test_tools_with_their_hints(client: ToolClient, odd: Odd):
    tools = {tool.name: tool for tool in client.loop.submit(client.tools(odd.source)).result(30)}
    assert (tools["echo"].idempotent, tools["echo"].destructive) == (True, False)
    assert (tools["meta"].idempotent, tools["meta"].destructive) == (None, None)
    assert "value" in tools["echo"].input_schema["properties"]


@on_all
def test_the_key_and_meta_go_along(client: ToolClient, odd: Odd):
    meta = {"traceparent": "00-1-2-01", "sagahold/trace-id": "t1"}
    seen = data_of(client.call((odd.source,), "meta", {}, meta=meta, idempotency_key="fwd-1", timeout=30))
    assert meta.items() <= seen["meta"].items()
    assert seen["meta"]["sagahold/idempotency-key"] == "fwd-1"
    assert seen["argument"] == "fwd-1"
    assert seen["other"] == "fwd-1"
    given = {"idempotency_key": "mine"}
    seen = data_of(client.call((odd.source,), "meta", given, meta=meta, idempotency_key="k", timeout=30))
    assert seen["argument"] == "mine"


@on_all
def test_responses_of_the_server_are_distinguished(client: ToolClient, odd: Odd):
    with ends(TOOL_FAILED, match="no money"):
        call(client, odd.source, "fail", message="no money")
    with ends(TOOL_FAILED, match="bad amount"):
        call(client, odd.source, "refuse", code=-32602, message="bad amount")
    with ends(LOST, match="broke"):
        call(client, odd.source, "refuse", code=-32603, message="broke")
    with ends(TOOL_NOT_FOUND, match="'nothing'"):
        call(client, odd.source, "nothing")
    with ends(TOOL_NOT_FOUND, match="Unknown tool"):
        call(client, odd.source, "refuse", code=-32602, message="Unknown tool: refuse")
    with ends(BAD_OUTPUT, match=r"was executed, but output\.value is an integer beyond"):
        call(client, odd.source, "structured", value=2**60)
    with ends(BAD_OUTPUT, match="NUL"):
        call(client, odd.source, "text", value="\x00")


@on_all
def test_32_calls_are_in_flight_on_one_session(client: ToolClient, odd: Odd):
    with ThreadPoolExecutor(32) as threads:
        met = list(threads.map(lambda _: call(client, odd.source, "meet", count=32), range(32)))
    assert met == [{"met": 32}] * 32
    assert odd.started() == 1


@on_stdio
def test_16_threads_opening_at_once_start_one_process(client: ToolClient, odd: Odd):
    gate = threading.Barrier(16)

    def both(number: int) -> Any:
        gate.wait(30)
        return call(client, odd.source, "echo", value=number)["value"]

    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(both, range(16))) == list(range(16))
    assert odd.started() == 1


@on_all
def test_50_mb_are_not_kept(client: ToolClient, odd: Odd):
    call(client, odd.source, "echo", value=1)
    process, peak, stop = psutil.Process(), 0, threading.Event()
    before = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not stop.wait(0.005):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with ends(BAD_OUTPUT, match="was executed, but its answer is over the limit"):
            call(client, odd.source, "flood", timeout=60, megabytes=50)
    finally:
        stop.set()
        watcher.join()
    assert peak - before < 100 * 1024 * 1024
    assert call(client, odd.source, "echo", value=2) == {"value": 2}
    assert odd.started() == 1


@on_all
def test_the_server_dies_in_the_call(client: ToolClient, odd: Odd):
    with ends(LOST, match="odd"):
        call(client, odd.source, "crash")
    odd.restart()
    assert call(client, odd.source, "echo", value=1) == {"value": 1}
    assert odd.called() == ["crash"]


@on_all
def test_restarted_between_calls(client: ToolClient, odd: Odd):
    assert call(client, odd.source, "echo", value=1) == {"value": 1}
    odd.kill()
    odd.restart()
    assert call(client, odd.source, "echo", value=2) == {"value": 2}
    assert odd.started() == 2


@on_all
def test_a_hanging_tool_is_given_up_and_cancelled(client: ToolClient, odd: Odd):
    call(client, odd.source, "echo", value=1)
    with ends(TIMED_OUT, match=r"within 0\.5 s"):
        call(client, odd.source, "hang", timeout=0.5)
    eventually(lambda: odd.called() == ["hang", "hang cancelled"])
    assert call(client, odd.source, "echo", value=2) == {"value": 2}


@on_all
def test_a_frozen_server_holds_nobody_past_the_deadline(client: ToolClient, odd: Odd):
    call(client, odd.source, "echo", value=1)
    with ThreadPoolExecutor(4) as threads:
        stuck = [threads.submit(call, client, odd.source, "block", 1) for _ in range(4)]
        errors = [future.exception(30) for future in stuck]
    outcomes = [error.outcome for error in errors if isinstance(error, CallError)]
    assert len(outcomes) == 4
    assert all(TIMED_OUT.fits(outcome) or UNAVAILABLE.fits(outcome) for outcome in outcomes)
    assert any(TIMED_OUT.fits(outcome) for outcome in outcomes)
    odd.kill()
    odd.restart()
    assert call(client, odd.source, "echo", value=2) == {"value": 2}


NOISE = [
    "%%% not a message",
    '{"jsonrpc": "2.0", "id": 3, "resu',
    '{"level": "info"}',
    '{"id": 3}',
    "7",
    "x" * 2_000_000,
]


@on_stdio
def test_noise_instead_of_an_answer_ends_nothing_but_the_deadline_does(client: ToolClient, odd: Odd):
    call(client, odd.source, "echo", value=1)
    with ends(TIMED_OUT):
        call(client, odd.source, "garbage", text="\n".join(NOISE), timeout=1)
    assert call(client, odd.source, "echo", value=2) == {"value": 2}


@on_stdio
def test_noise_before_and_on_the_line_of_an_answer_does_no_harm(client: ToolClient, odd: Odd):
    for text in (*(line + "\n" for line in NOISE), "[info] charging card "):
        assert call(client, odd.source, "chat", text=text) == {"said": text[:20]}
    assert odd.started() == 1


@on_stdio
def test_a_server_gets_no_secrets_of_the_worker(client: ToolClient, odd: Odd, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DATABASE_URL", "secret")
    monkeypatch.setenv("INHERITED", "this")
    monkeypatch.setenv("TOKEN", "t-1")
    source = odd.with_(env={**odd.source.env, "GIVEN": "token ${ENV:TOKEN}"}, env_inherit=("INHERITED",))
    seen = call(client, source, "environment")
    assert seen["INHERITED"] == "this"
    assert seen["GIVEN"] == "token t-1"
    assert seen["PATH"] == os.environ["PATH"]
    assert "DATABASE_URL" not in seen
    assert "TOKEN" not in seen


@on_all
def test_an_unset_variable_is_named(client: ToolClient, odd: Odd):
    with ends(NOT_CONFIGURED) as raised:
        call(client, odd.with_(args=("${ENV:TEST_UNSET}",)), "echo", value=1)
    expected = "the environment variable TEST_UNSET, which tool source 'odd' needs, is not set in the worker"
    assert str(raised.value) == expected


def test_what_cannot_be_started_or_reached(client: ToolClient, tmp_path: Path):
    """A program that is not there, or may not run, is not there a moment later either."""

    def unavailable(source: ToolSource, permanent: bool = False) -> str:
        with ends(UNAVAILABLE) as raised:
            call(client, source, "echo", value=1)
        assert isinstance(raised.value.outcome, Failed if permanent else NotSent)
        return str(raised.value)

    plain, script = tmp_path / "plain", tmp_path / "script"
    plain.write_text("")
    script.write_text("#!/no/such/interpreter")
    script.chmod(0o755)

    nowhere = "http://127.0.0.1:9/mcp?token=secret"
    missing = {
        ("/no/such/program", None): "there is no program '/no/such/program'",
        ("no-such-program", None): "there is no program 'no-such-program' in the folders of the worker's PATH",
        ("./no/such", None): "there is no program './no/such' in the folder that the worker runs in",
        ("./no/such", "/"): "there is no program './no/such' in '/' (its `cwd`)",
        ("true", "no/such"): "there is no folder 'no/such' (its `cwd`) where the worker runs",
        ("true", str(plain)): f"not a directory (its `cwd` is '{plain}')",
        ("/", None): "permission denied (its `command` is '/')",
        (str(plain), None): f"permission denied (its `command` is '{plain}')",
        ("./plain", str(tmp_path)): f"permission denied (its `command` is './plain' in '{tmp_path}' (its `cwd`))",
        ("./plain/x", str(tmp_path)): f"not a directory (its `command` is './plain/x' in '{tmp_path}' (its `cwd`))",
        (str(script), None): f"'{script}' is there, but not the interpreter that its first line names",
        ("a" * 300, None): f"file name too long (its `command` is '{'a' * 300}' in the folders of the worker's PATH)",
    }
    for (command, cwd), told in missing.items():
        why = unavailable(ToolSource("odd", Transport.STDIO, command=command, cwd=cwd), permanent=True)
        assert why == f"tool source 'odd' cannot be used: it cannot be started: {told}"
    elsewhere = ToolSource("odd", Transport.STDIO, command="true", env={"PATH": str(tmp_path)})
    assert unavailable(elsewhere, permanent=True).endswith("no program 'true' in the folders of the PATH in its `env`")
    assert "the server closed" in unavailable(ToolSource("odd", Transport.STDIO, command="true"))
    for transport in (Transport.STREAMABLE_HTTP, Transport.SSE):
        text = unavailable(ToolSource("odd", transport, url=nowhere))
        assert "no connection" in text
        assert "secret" not in text
    with ends(UNAVAILABLE, match=r"not ready within 0\.3 s"):
        call(client, ToolSource("odd", Transport.STDIO, command="sleep", args=("60",)), "echo", timeout=0.3, value=1)

"""Models behind real HTTP: what they are sent, and what is made of good, bad, late, broken and endless answers."""

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from adapters.llm import ModelRunner
from adapters.mcp import ToolClient
from domain.sagas.outcome import Failed, TimedOut
from tests.adapters.llm.server import LlmServer
from tests.adapters.llm.wire import INPUT_TOKENS, OUTPUT_TOKENS, SUBMIT, Cut, Garbage, Reply, Slow, Status, submit
from tests.adapters.llm.world import (
    ATTEMPTS,
    KEY,
    PROTOCOLS,
    PROVIDERS,
    Desk,
    Tools,
    done,
    environ,
    failure,
    late,
    question,
    runner,
    settings,
)

GOOD = submit({"n": 3})
ROOT = Path(__file__).parents[3]
# Values of `Retry-After` that a server sends by mistake, or out of malice.
UNREADABLE = [
    Status(429, retry_after=text)
    for text in ("soon", "-1", "", "nan", "1.5.", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT")
]
DeskFor = Callable[..., Desk]
on_both = pytest.mark.parametrize("provider", PROTOCOLS)
on_all = pytest.mark.parametrize("provider", PROVIDERS)


@on_all
def test_one_answer(desk_for: DeskFor, provider: str):
    desk = desk_for(GOOD)
    result = desk.ask_model(provider)
    assert done(result) == {"n": 3}
    assert result.facts == {}
    (asked,) = desk.server.asked
    assert (asked.body["model"], asked.body["temperature"]) == ("m-1", 0.25)
    assert "You count." in asked.system
    assert asked.user == ["How many?"]
    assert list(asked.tools) == [SUBMIT]
    assert asked.tools[SUBMIT]["properties"]["n"]["minimum"] == 1
    assert asked.forced in (SUBMIT, "*")
    assert asked.key == (None if provider == "local" else KEY) or provider == "local"
    report = result.report
    assert (report.provider, report.model, report.mock, report.requests) == (provider, "m-1", False, 1)
    assert (report.input_tokens, report.output_tokens) == (INPUT_TOKENS, OUTPUT_TOKENS)
    assert report.llm_ms > 0
    assert report.tool_uses == ()
    assert report.transcript == ()


def test_a_key_for_a_local_model_is_sent_and_none_of_openai(tools: Tools):
    with LlmServer(GOOD) as server:
        known = environ(server.url)
        for given, sent in (({}, None), ({"SAGAHOLD_LOCAL_LLM_KEY": "local-key"}, "local-key")):
            done(runner(tools, known | given).ask_model(question(provider="local", model_name="m")).result(120))
            assert server.asked[-1].key != KEY
            if sent is not None:
                assert server.asked[-1].key == sent


@on_both
def test_without_a_system_prompt(desk_for: DeskFor, provider: str):
    desk = desk_for(GOOD)
    assert done(desk.ask_model(provider, system=None)) == {"n": 3}
    assert desk.server.asked[0].system == ""


@on_both
def test_proxies_and_keys_of_the_environment_are_not_used(
    desk_for: DeskFor, provider: str, monkeypatch: pytest.MonkeyPatch
):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("OPENAI_API_KEY", "not-this")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "not-this")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "not-this")
    monkeypatch.setenv("OPENAI_ORG_ID", "not-this")
    desk = desk_for(GOOD)
    assert done(desk.ask_model(provider)) == {"n": 3}
    assert "not-this" not in str(desk.server.asked[0].headers)


@pytest.mark.parametrize(
    ("provider", "variable"),
    [("openai", "OPENAI_API_KEY"), ("anthropic", "ANTHROPIC_API_KEY"), ("local", "SAGAHOLD_LOCAL_LLM_URL")],
)
def test_a_missing_variable_is_named(tools: Tools, provider: str, variable: str):
    with LlmServer(GOOD) as server:
        known = {name: value for name, value in environ(server.url).items() if name != variable}
        result = runner(tools, known).ask_model(question(provider=provider, model_name="m")).result(120)
        assert failure(result) == "WORKER_CONFIG_LOAD_FAILED"
        assert isinstance(result.outcome, Failed)
        assert variable in result.outcome.error.message
        assert server.asked == []


@on_both
@pytest.mark.parametrize("trouble", [Status(429), Status(502), Status(503), Status(504), Status(529), Cut(), Cut(True)])
def test_what_may_pass_is_tried_again(desk_for: DeskFor, provider: str, trouble: Reply):
    desk = desk_for(trouble, trouble, GOOD)
    result = desk.ask_model(provider)
    assert done(result) == {"n": 3}
    assert len(desk.server.asked) == 3
    assert result.report.requests == 1
    assert result.report.input_tokens == INPUT_TOKENS


@on_both
@pytest.mark.parametrize("trouble", [Status(503, words="down"), Cut(), *UNREADABLE])
def test_what_does_not_pass_is_given_up(desk_for: DeskFor, provider: str, trouble: Reply):
    desk = desk_for(trouble)
    assert failure(desk.ask_model(provider)) == "PROVIDER_UNAVAILABLE"
    assert len(desk.server.asked) == ATTEMPTS


@on_both
def test_without_retries_there_is_one_request(desk_for: DeskFor, provider: str):
    desk = desk_for(Status(503), retry_enabled=False)
    assert failure(desk.ask_model(provider)) == "PROVIDER_UNAVAILABLE"
    assert len(desk.server.asked) == 1


@on_both
@pytest.mark.parametrize("seconds", [1, 1.5])
def test_retry_after_is_a_floor(desk_for: DeskFor, provider: str, seconds: float):
    desk = desk_for(Status(429, retry_after=seconds), GOOD)
    assert done(desk.ask_model(provider)) == {"n": 3}
    first, second = desk.server.asked
    assert second.at - first.at >= seconds


@on_both
def test_what_would_be_too_late_is_not_waited_for(desk_for: DeskFor, provider: str):
    desk = desk_for(Status(429, retry_after=3600), GOOD)
    result = desk.ask_model(provider)
    assert failure(result) == "PROVIDER_UNAVAILABLE"
    assert len(desk.server.asked) == 1


def test_nobody_listens(tools: Tools):
    server = LlmServer(GOOD)
    known = environ(server.url)
    server.close()
    for provider in PROTOCOLS:
        result = runner(tools, known).ask_model(question(provider=provider, model_name="m")).result(120)
        assert failure(result) == "PROVIDER_UNAVAILABLE"


@on_both
@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_a_refused_request_is_final_and_says_why(desk_for: DeskFor, provider: str, status: int):
    desk = desk_for(Status(status, words=f"no such thing as m-1; your key {KEY} " + "x" * 100_000))
    result = desk.ask_model(provider)
    assert failure(result) == "PROVIDER_REJECTED"
    assert isinstance(result.outcome, Failed)
    assert "no such thing as m-1" in result.outcome.error.message
    assert str(status) in result.outcome.error.message
    assert len(result.outcome.error.message) < 4000
    assert len(desk.server.asked) == 1


@on_both
def test_a_redirect_is_not_followed(desk_for: DeskFor, provider: str):
    with LlmServer(GOOD) as elsewhere:
        desk = desk_for(Status(307, location=f"{elsewhere.url}/v1/messages"))
        assert failure(desk.ask_model(provider)) == "PROVIDER_REJECTED"
        assert elsewhere.asked == []
    assert len(desk.server.asked) == 1


@on_both
@pytest.mark.parametrize("within_body", [False, True])
def test_an_answer_too_late(desk_for: DeskFor, provider: str, within_body: bool):
    desk = desk_for(Slow(60, GOOD, within_body))
    result = late(lambda seconds: desk.ask_model(provider, timeout=seconds), lambda: len(desk.server.asked) > 0)
    assert isinstance(result.outcome, TimedOut)
    assert result.outcome.error.code == "STEP_TIMED_OUT"
    assert not result.outcome.acted
    desk.server.wait_until(lambda: desk.server.asked[0].left)


@on_both
@pytest.mark.parametrize("within_body", [False, True])
def test_cancelling_hangs_up(desk_for: DeskFor, provider: str, within_body: bool):
    desk = desk_for(Slow(60, GOOD, within_body))
    future = desk.runner.ask_model(desk.question(provider))
    desk.server.wait_for(1)
    assert future.cancel()
    with pytest.raises(CancelledError):
        future.result(120)
    desk.server.wait_until(lambda: desk.server.asked[0].left)
    assert len(desk.server.asked) == 1


def test_closing_ends_what_is_under_way():
    client = ToolClient()
    with LlmServer(Slow(60, GOOD)) as server:
        runner = ModelRunner(client, settings(environ(server.url)))
        future = runner.ask_model(question(provider="openai", model_name="m", timeout=600.0))
        server.wait_for(1)
        client.close()
        assert future.cancelled()
        server.wait_until(lambda: server.asked[0].left)


@on_both
def test_a_slow_answer_in_time(desk_for: DeskFor, provider: str):
    desk = desk_for(Slow(0.2, GOOD, within_body=True))
    assert done(desk.ask_model(provider)) == {"n": 3}


class Heard(logging.Handler):
    """Records that reach the root logger, as in a worker's log; pytest's own also gets those of loggers cut off."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += f"{record.getMessage()} {record.__dict__}\n"


@pytest.fixture
def heard() -> Iterator[Heard]:
    root, handler = logging.getLogger(), Heard()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.setLevel(level)
    root.removeHandler(handler)


@on_both
def test_nothing_that_was_said_is_logged(desk_for: DeskFor, provider: str, heard: Heard):
    said = "said-by-model"
    replies = submit({"n": 3, "why": said}), Status(503, words=said), Status(400, words=said), Garbage(said.encode())
    for reply in replies:
        desk = desk_for(reply)
        desk.ask_model(provider, message="said-by-user", system="said-by-system", keep_transcript=True)
    logging.getLogger("adapters.llm").debug("the log is heard")
    assert "the log is heard" in heard.text
    for word in ("said-by", KEY):
        assert word not in heard.text


@on_all
def test_the_server_by_itself_answers_what_fits(tools: Tools, provider: str):
    command = [sys.executable, "-m", "tests.adapters.llm.server", "--delay", "0.01"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        result = runner(tools, environ(url)).ask_model(question(provider=provider, model_name="m")).result(120)
        assert done(result) == {"n": 1}
    finally:
        process.kill()
        process.wait(90)
        process.stdout.close()

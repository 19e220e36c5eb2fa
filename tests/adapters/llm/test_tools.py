"""Models that use the tools of a real MCP server: the calls they may make, and the result of each call."""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.llm import ModelRunner
from adapters.llm.progress import Progress, RunEnded
from adapters.llm.toolset import AllowedTools
from adapters.mcp import ToolClient
from domain.manifests.definition import Adapter, Fact, MockTurn, ToolSource, Transport
from domain.sagas.outcome import Done, Failed, Lost, NotSent, TimedOut
from domain.sagas.reasoning import ModelInput, ModelResult
from domain.values import canonical_json
from tests.adapters.by_hand import ByHand, paid, result, status
from tests.adapters.by_hand import error as error_body
from tests.adapters.llm.questions import call, question, settings, submit
from tests.adapters.llm.server import LlmServer
from tests.adapters.llm.wire import Call
from tests.adapters.odd_server import eventually, lines

SERVER = Path(__file__).parents[1] / "mcp_servers" / "shelf.py"
LEDGER = Path(__file__).parents[3] / "examples" / "ledger" / "server.py"
ALL = ("look", "page", "lend", "burn", "crash", "slowly")


class Shelf:
    def __init__(self, runner: ModelRunner, folder: Path) -> None:
        self.runner = runner
        self._called = folder / "called"
        env = {"CALLED": str(self._called)}
        self.source = ToolSource("shelf", Transport.STDIO, command=sys.executable, args=(str(SERVER),), env=env)

    def called(self) -> list[str]:
        return lines(self._called)

    def ask(self, *script: MockTurn, **options: object) -> ModelResult:
        return self.runner.ask_model(self.question(*script, **options)).result(120)

    def question(self, *script: MockTurn, **options: object) -> ModelInput:
        return question(*script, **{"tools": ALL, "sources": [self.source], **options})


@pytest.fixture
def shelf(tmp_path: Path):
    client = ToolClient()
    runner = ModelRunner(client, settings())
    yield Shelf(runner, tmp_path)
    client.close()


def ledger(folder: Path) -> ToolSource:
    env = {"LEDGER_DB": str(folder / "ledger.db")}
    return ToolSource("ledger", Transport.STDIO, command=sys.executable, args=(str(LEDGER),), env=env)


def error(result: ModelResult) -> str:
    assert isinstance(result.outcome, Failed), result
    return result.outcome.error.code


def told(result: ModelResult) -> list[str]:
    return [entry["answer"] for entry in result.report.transcript if entry["role"] == "tool"]


def outcomes(result: ModelResult) -> list[tuple[str, str]]:
    return [(use.name, use.outcome) for use in result.report.tool_uses]


def test_a_loop_of_calls_and_an_answer(shelf: Shelf):
    made = shelf.ask(call("look", title="Emma"), call("lend", title="Emma"), submit(n=1), keep_transcript=True)
    assert made.outcome == Done({"n": 1})
    # The number of the call is its own idempotency key.
    assert shelf.called() == ["look Emma", "lend Emma fwd-1-2-2"]
    assert outcomes(made) == [("look", "ok"), ("lend", "ok")]
    assert made.report.tool_uses[0].arguments_digest == canonical_json.digest({"title": "Emma"}).hex()
    assert made.report.acted
    assert min(made.report.setup_ms, made.report.tool_ms, made.report.tool_uses[0].ms) > 0
    assert told(made)[:2] == ['{"title":"Emma","copies":3,"place":{"row":"B","number":12}}', '{"lent":"Emma"}']


def test_facts_are_what_the_tool_said_last(shelf: Shelf):
    facts = [Fact("row", "look", "$.place.row"), Fact("title", "look", "$.title")]
    script = [call("look", title="Emma"), call("look", title="Ulysses"), submit(n=1, note="row Z of Emma")]
    made = shelf.ask(*script, facts=facts)
    assert made.facts == {"row": "B", "title": "Ulysses"}


def test_a_fact_that_cannot_be_taken(shelf: Shelf):
    made = shelf.ask(submit(n=1), facts=[Fact("row", "look", "$.place.row")])
    assert error(made) == "FACT_EXTRACTION_FAILED"
    assert made.facts == {}
    made = shelf.ask(call("lend", title="a"), submit(n=1), facts=[Fact("row", "lend", "$.place.row")])
    assert error(made) == "FACT_EXTRACTION_FAILED"
    assert made.outcome.acted


def test_only_allowed_tools(shelf: Shelf):
    made = shelf.ask(call("look", title="a"), call("burn", title="a"), submit(n=1), tools=["look"])
    assert error(made) == "TOOL_NOT_ALLOWED"
    assert shelf.called() == ["look a"]
    assert outcomes(made) == [("look", "ok"), ("burn", "not_allowed")]
    assert not made.outcome.acted


def local(server: LlmServer, shelf: Shelf, **options: object) -> ModelResult:
    client = ToolClient()
    runner = ModelRunner(client, settings(SAGAHOLD_LOCAL_LLM_URL=f"{server.url}/v1"))
    try:
        return runner.ask_model(shelf.question(provider="local", model="m", **options)).result(120)
    finally:
        client.close()


def test_a_turn_with_something_forbidden_in_it_calls_nothing(shelf: Shelf):
    turn = Call([("look", {"title": "a"}), ("delete_everything", {}), ("_submit", {"n": 1})])
    with LlmServer(turn) as server:
        made = local(server, shelf, tools=["look"])
        assert sorted(server.asked[0].tools) == ["_submit", "look"]
    assert error(made) == "TOOL_NOT_ALLOWED"
    assert shelf.called() == []


def test_beside_an_answer_nothing_is_called(shelf: Shelf):
    with LlmServer(Call([("burn", {"title": "a"}), ("_submit", {"n": 1}), ("burn", {"title": "b"})])) as server:
        made = local(server, shelf)
    assert made.outcome == Done({"n": 1})
    assert shelf.called() == []


def test_calls_of_one_turn_run_one_after_the_other(shelf: Shelf):
    turn = Call([("slowly", {"title": "a"}), ("slowly", {"title": "b"}), ("_submit", {"n": "many"})])
    with LlmServer(turn, Call([("_submit", {"n": 1})])) as server:
        made = local(server, shelf)
    assert made.outcome == Done({"n": 1})
    assert shelf.called() == ["begin a", "end a", "begin b", "end b"]


def test_a_hundred_calls_and_no_more(shelf: Shelf):
    turn = Call([("look", {"title": str(n)}) for n in range(102)])
    with LlmServer(turn, Call([("_submit", {"n": 1})])) as server:
        made = local(server, shelf)
    assert made.outcome == Done({"n": 1})
    assert len(shelf.called()) == len(made.report.tool_uses) == 100


def test_arguments_that_are_no_json_are_reported(shelf: Shelf):
    turns = [Call([("look", '{"title": ')]), Call([("look", '["a"]')]), Call([("look", {"titel": "a"})])]
    with LlmServer(*turns, Call([("_submit", {"n": 1})])) as server:
        made = local(server, shelf)
    assert made.outcome == Done({"n": 1})
    assert outcomes(made) == [("look", "failed")]
    assert shelf.called() == []


def test_a_tool_that_fails_is_reported(shelf: Shelf):
    made = shelf.ask(call("lend", title="locked"), submit(n=1), keep_transcript=True)
    assert made.outcome == Done({"n": 1})
    assert "that book is locked away" in told(made)[0]
    assert outcomes(made) == [("lend", "failed")]
    assert not made.report.acted


def test_a_long_answer_is_cut(shelf: Shelf):
    with LlmServer(Call([("page", {"kib": 100})]), Call([("_submit", {"n": 1})])) as server:
        made = local(server, shelf)
        read = str(server.asked[1].body["messages"])
    assert made.outcome == Done({"n": 1})
    assert "the end" not in read
    assert "the first 65536 of" in read


def test_a_lost_call_that_may_be_repeated_is_reported(shelf: Shelf):
    made = shelf.ask(call("crash"), call("look", title="a"), submit(n=1), keep_transcript=True)
    assert made.outcome == Done({"n": 1})
    assert outcomes(made) == [("crash", "lost"), ("look", "ok")]
    assert "may be called again" in told(made)[0]
    assert made.report.acted


def test_a_lost_call_that_may_not_be_repeated_ends_it(shelf: Shelf):
    made = shelf.ask(call("burn", title="all"), submit(n=1))
    assert isinstance(made.outcome, Lost)
    assert made.outcome.idempotent is False
    assert outcomes(made) == [("burn", "lost")]
    assert made.report.acted


@pytest.mark.parametrize("code", [422, 429, 504])
def test_an_error_after_the_act_ends_the_model_request(shelf: Shelf, code: int):
    server = ByHand()
    server.answers = [status(code, error_body(-32603, "no"), content_type="application/json"), paid]
    try:
        made = shelf.ask(call("pay"), call("pay"), submit(n=1), tools=["pay"], sources=[server.source])
    finally:
        server.receiver.close()
    assert isinstance(made.outcome, Lost)
    assert made.outcome.answer
    assert made.report.acted
    assert len(server.calls) == 1


def test_a_model_reads_every_kind_of_content(shelf: Shelf):
    server = ByHand()
    link = {"type": "resource_link", "uri": "https://example.com/big.csv", "name": "big.csv"}
    contents = [[{"type": "text", "text": "paid"}], [link]]
    for blocks in contents:
        server.answers.append(lambda exchange, message, said=blocks: result(exchange, message, {"content": said}))
    try:
        script = call("pay"), call("pay"), submit(n=1)
        made = shelf.ask(*script, tools=["pay"], sources=[server.source], keep_transcript=True)
    finally:
        server.receiver.close()
    plain, linked, *_ = told(made)
    assert plain == "paid"
    assert "big.csv" in linked


def test_the_deadline_during_a_call(shelf: Shelf):
    assert shelf.ask(call("look", title="a"), submit(n=1)).outcome == Done({"n": 1})  # the server is up
    made = shelf.ask(call("burn", title="slow"), submit(n=1), timeout=3)
    assert isinstance(made.outcome, TimedOut)
    assert made.outcome.acted
    assert outcomes(made) == [("burn", "lost")]
    assert shelf.called() == ["look a", "burn slow"]


def test_cancelling_ends_a_call(shelf: Shelf):
    future = shelf.runner.ask_model(shelf.question(call("burn", title="slow"), submit(n=1)))
    eventually(lambda: shelf.called() == ["burn slow"])
    assert future.cancel()
    assert shelf.ask(call("look", title="a"), submit(n=1)).outcome == Done({"n": 1})


def test_a_repeated_model_request(shelf: Shelf):
    made = shelf.ask(submit(n=1), again=True)
    assert isinstance(made.outcome, Lost)
    assert made.report.requests == 0
    made = shelf.ask(submit(n=1), again=True, tools=["look", "lend"])
    assert made.outcome == Done({"n": 1})
    assert made.report.acted
    assert not shelf.ask(submit(n=1), again=True, tools=["look"]).report.acted
    assert isinstance(shelf.ask(submit(n=1), again=True, tools=["gone"]).outcome, Lost)


def test_a_tool_that_no_source_has(shelf: Shelf):
    made = shelf.ask(submit(n=1), tools=["look", "steal"])
    assert error(made) == "TOOL_NOT_FOUND"
    assert "'steal'" in made.outcome.error.message
    assert made.report.requests == 0


def test_names_of_the_engine(shelf: Shelf):
    made = shelf.ask(submit(n=1), tools=["_submit"])
    assert error(made) == "TOOL_NOT_FOUND"
    assert "_submit" in made.outcome.error.message


def test_a_source_that_is_away(shelf: Shelf):
    away = ToolSource("away", Transport.STREAMABLE_HTTP, url="http://127.0.0.1:9/mcp")
    made = shelf.ask(submit(n=1), tools=["look"], sources=[away, shelf.source])
    assert isinstance(made.outcome, NotSent)
    assert made.outcome.error.code == "MCP_UNAVAILABLE"
    assert shelf.ask(submit(n=1), tools=["look"], sources=[shelf.source, away]).outcome == Done({"n": 1})
    assert shelf.ask(submit(n=1), tools=[], sources=[away], adapter=Adapter.SIMPLE).outcome == Done({"n": 1})


def test_of_two_sources_the_first_is_called(shelf: Shelf, tmp_path: Path):
    elsewhere = replace(shelf.source, name="other", env={"CALLED": str(tmp_path / "elsewhere")})
    made = shelf.ask(
        call("look", title="a"),
        call("balance", customer="ada"),
        submit(n=1),
        tools=["look", "balance"],
        sources=[shelf.source, elsewhere, ledger(tmp_path)],
    )
    assert made.outcome == Done({"n": 1})
    assert shelf.called() == ["look a"]


def test_what_is_not_allowed_is_not_called_even_if_it_came_so_far(shelf: Shelf):
    """Where the model's answers are looked at is the first gate; this is the second."""
    asked = shelf.question(tools=["look"])
    progress = Progress(asked)
    allowed = AllowedTools(ToolClient(), asked, {}, progress)
    context: Any = None
    for name in ("burn", "read_resource"):
        with pytest.raises(RunEnded) as ended:
            asyncio.run(allowed.call_tool(name, {"title": "a"}, context, context))
        assert ended.value.outcome.error.code == "TOOL_NOT_ALLOWED"
    assert [use.outcome for use in progress.uses] == ["not_allowed", "not_allowed"]


def test_a_source_that_is_not_configured(shelf: Shelf):
    unset = ToolSource("unset", Transport.STREAMABLE_HTTP, url="${ENV:NO_SUCH_VARIABLE}/mcp")
    made = shelf.ask(submit(n=1), sources=[unset])
    assert error(made) == "WORKER_CONFIG_LOAD_FAILED"
    assert "NO_SUCH_VARIABLE" in made.outcome.error.message


def test_resources_that_are_allowed(shelf: Shelf):
    script = [call("read_resource", uri="book://Emma/text"), submit(n=1)]
    made = shelf.ask(*script, resources=["book://Emma/text"], keep_transcript=True)
    assert made.outcome == Done({"n": 1})
    assert told(made)[0] == "the text of Emma"
    assert outcomes(made) == [("read_resource", "ok")]


def test_a_resource_is_read_from_the_first_source_that_has_it(shelf: Shelf, tmp_path: Path):
    script = [call("read_resource", uri="book://Emma/text"), submit(n=1)]
    sources = [ledger(tmp_path), shelf.source]
    made = shelf.ask(*script, tools=[], sources=sources, resources=["book://Emma/text"])
    assert made.outcome == Done({"n": 1})
    assert outcomes(made) == [("read_resource", "ok")]


@pytest.mark.parametrize("uri", ["book://Ulysses/text", "book://Emma/../Ulysses/text", 7, None])
def test_resources_that_are_not(shelf: Shelf, uri: object):
    made = shelf.ask(call("read_resource", uri=uri), submit(n=1), resources=["book://Emma/text"])
    assert error(made) == "TOOL_NOT_ALLOWED"
    assert outcomes(made) == [("read_resource", "not_allowed")]
    assert shelf.called() == []


def test_without_resources_nothing_is_read(shelf: Shelf):
    made = shelf.ask(call("read_resource", uri="book://Emma/text"), submit(n=1))
    assert error(made) == "TOOL_NOT_ALLOWED"


def test_a_missing_resource_is_reported(shelf: Shelf):
    script = [call("read_resource", uri="book://missing/text"), submit(n=1)]
    made = shelf.ask(*script, resources=["book://missing/text"], keep_transcript=True)
    assert made.outcome == Done({"n": 1})
    assert outcomes(made) == [("read_resource", "failed")]

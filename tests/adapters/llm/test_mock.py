"""Model results from the mock provider: every way in which a model request can end without tools."""

import threading
from concurrent.futures import CancelledError, wait
from dataclasses import replace
from typing import Any

import pytest

from adapters.llm import ModelRunner
from adapters.mcp import ToolClient
from domain.manifests.definition import Adapter
from domain.sagas.outcome import Done, Failed, NotSent, TimedOut
from domain.sagas.reasoning import ModelInput, ModelResult
from domain.values import canonical_json
from tests.adapters.llm.questions import call, question, settings, submit


@pytest.fixture
def runner():
    client = ToolClient()
    yield ModelRunner(client, settings())
    client.close()


def result(runner: ModelRunner, asked: ModelInput) -> ModelResult:
    return runner.ask_model(asked).result(120)


def code(result: ModelResult) -> str:
    assert isinstance(result.outcome, Failed), result
    return result.outcome.error.code


SIMPLE = Adapter.SIMPLE


def test_an_example_of_the_schema(runner: ModelRunner):
    schema = {
        "type": "object",
        "properties": {"kind": {"enum": ["bug", "idea"]}, "n": {"type": "integer", "minimum": 3}},
        "required": ["kind", "n"],
    }
    for adapter in Adapter:
        first = result(runner, question(adapter=adapter, schema=schema))
        assert isinstance(first.outcome, Done)
        assert first.outcome.data["kind"] in ("bug", "idea")
        assert first.outcome.data["n"] >= 3
        assert result(runner, question(adapter=adapter, schema=schema)).outcome == first.outcome
        assert (first.report.mock, first.report.provider, first.report.requests) == (True, "mock", 1)


@pytest.mark.parametrize("top", [{"$ref": "#/definitions/A"}, {"allOf": [{"$ref": "#/definitions/A"}]}])
def test_a_schema_that_begins_with_a_reference(runner: ModelRunner, top: dict[str, Any]):
    """As generators write it; providers want the type of an object at the top."""
    shape = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", **top, "definitions": {"A": shape}}
    for adapter in Adapter:
        assert result(runner, question(submit(n=4), adapter=adapter, schema=schema)).outcome == Done({"n": 4})
        refused = result(runner, question(*[submit(n="x")] * 9, adapter=adapter, schema=schema))
        assert code(refused) == "OUTPUT_SCHEMA_VALIDATION_FAILED"


def test_a_schema_with_references(runner: ModelRunner):
    """A reference inside a nullable object works too, although the library does not follow it."""
    schema = {
        "type": "object",
        "properties": {"at": {"type": ["object", "null"], "properties": {"n": {"$ref": "#/$defs/n"}}}},
        "required": ["at"],
        "$defs": {"n": {"type": "integer", "minimum": 3}},
    }
    asked = question(submit(at={"n": 4}), adapter=SIMPLE, schema=schema)
    assert result(runner, asked).outcome == Done({"at": {"n": 4}})
    wrong = question(submit(at={"n": 1}), adapter=SIMPLE, schema=schema)
    assert code(result(runner, wrong)) == "OUTPUT_SCHEMA_VALIDATION_FAILED"


def test_a_script_in_its_order(runner: ModelRunner):
    asked = question(submit(n="many"), submit(n=7), submit(n=8))
    made = result(runner, asked)
    assert made.outcome == Done({"n": 7})
    assert made.report.requests == 2
    assert made.report.input_tokens > 0
    assert made.report.output_tokens > 0
    assert made.report.llm_ms > 0
    assert made.report.transcript == ()


def test_a_simple_answer(runner: ModelRunner):
    assert result(runner, question(submit(n=7), adapter=SIMPLE)).outcome == Done({"n": 7})


def test_numbers_in_quotes_are_read(runner: ModelRunner):
    assert result(runner, question(submit(n="7"), adapter=SIMPLE)).outcome == Done({"n": 7})


def test_a_simple_answer_has_one_try(runner: ModelRunner):
    made = result(runner, question(submit(n="many"), submit(n=7), adapter=SIMPLE))
    assert code(made) == "OUTPUT_SCHEMA_VALIDATION_FAILED"
    assert "output.n" in made.outcome.error.message
    assert made.report.requests == 1


@pytest.mark.parametrize("adapter", Adapter)
def test_an_empty_answer(runner: ModelRunner, adapter: Adapter):
    assert code(result(runner, question(submit(), adapter=adapter, turns=1))) == "EMPTY_STRUCTURED_RESULT"


def test_an_empty_answer_may_be_all_that_is_wanted(runner: ModelRunner):
    assert result(runner, question(submit(), adapter=SIMPLE, schema={"type": "object"})).outcome == Done({})


def test_a_react_step_that_never_submits(runner: ModelRunner):
    """After its script the mock only talks."""
    made = result(runner, question(submit(n="many"), turns=3))
    assert code(made) == "OUTPUT_SCHEMA_VALIDATION_FAILED"
    assert made.report.requests == 3


def test_a_tool_that_is_not_allowed_ends_it(runner: ModelRunner):
    for adapter in Adapter:
        made = result(runner, question(call("delete_everything", really=True), submit(n=1), adapter=adapter))
        assert code(made) == "TOOL_NOT_ALLOWED"
        assert "delete_everything" in made.outcome.error.message
        assert [(use.name, use.outcome) for use in made.report.tool_uses] == [("delete_everything", "not_allowed")]
        assert made.report.requests == 1


def test_tokens_are_counted(runner: ModelRunner):
    made = result(runner, question(submit(n=1, note="long " * 100), tokens=20))
    assert code(made) == "STEP_TOKEN_LIMIT_EXCEEDED"
    assert made.report.output_tokens > 20


def test_the_deadline(runner: ModelRunner):
    made = result(runner, question(submit(after=60, n=1), timeout=0.2))
    assert isinstance(made.outcome, TimedOut)
    assert (made.outcome.error.code, made.outcome.acted) == ("STEP_TIMED_OUT", False)


def test_a_model_request_that_is_cancelled(runner: ModelRunner):
    future = runner.ask_model(question(submit(after=60, n=1)))
    assert future.cancel()
    with pytest.raises(CancelledError):
        future.result(90)


def test_many_at_once_cost_no_threads(runner: ModelRunner):
    result(runner, question(submit(n=0)))
    before = threading.active_count()
    futures = [runner.ask_model(question(submit(after=0.5, n=n))) for n in range(100)]
    assert threading.active_count() <= before
    done, _ = wait(futures, 60)
    assert sorted(future.result().outcome.data["n"] for future in done) == list(range(100))


def test_what_was_said_is_kept(runner: ModelRunner):
    made = result(runner, question(submit(n="many\x00"), submit(n=7), keep_transcript=True))
    roles = [entry["role"] for entry in made.report.transcript]
    assert roles[:3] == ["system", "user", "model"]
    assert made.report.transcript[0]["text"] == "Be brief."
    assert made.report.transcript[1]["text"] == "What is n?"
    assert made.report.transcript[2]["call"] == "_submit"
    assert "\x00" not in str(made.report.transcript)
    assert {"role": "model", "call": "_submit", "arguments": {"n": 7}} in made.report.transcript


def test_what_is_kept_can_be_stored(runner: ModelRunner):
    asked = replace(question(submit(n=7), keep_transcript=True), message="What is\x00 n \ud800?")
    made = result(runner, asked)
    assert next(canonical_json.field_errors(list(made.report.transcript), ""), None) is None


def test_what_was_said_is_kept_also_where_nothing_came_of_it(runner: ModelRunner):
    made = result(runner, question(call("nothing"), keep_transcript=True))
    assert code(made) == "TOOL_NOT_ALLOWED"
    assert [entry["role"] for entry in made.report.transcript][:2] == ["system", "user"]


def test_a_transcript_is_bounded(runner: ModelRunner):
    script = [submit(n="x" * 200_000) for _ in range(9)]
    made = result(runner, question(*script, keep_transcript=True))
    assert len(str(made.report.transcript)) < 300_000
    assert "left out" in made.report.transcript[-1]["text"]


def test_a_worker_without_a_model(runner: ModelRunner):
    assert code(result(runner, question(provider=None))) == "WORKER_CONFIG_LOAD_FAILED"


@pytest.mark.parametrize(
    ("provider", "variable"),
    [("openai", "OPENAI_API_KEY"), ("anthropic", "ANTHROPIC_API_KEY"), ("local", "SAGAHOLD_LOCAL_LLM_URL")],
)
def test_what_a_provider_needs_is_named(runner: ModelRunner, provider: str, variable: str):
    made = result(runner, question(provider=provider, model="m"))
    assert code(made) == "WORKER_CONFIG_LOAD_FAILED"
    assert variable in made.outcome.error.message
    assert made.report.mock is False


def test_nothing_begins_after_the_end():
    client = ToolClient()
    runner = ModelRunner(client, settings())
    client.close()
    assert isinstance(runner.ask_model(question()).result(90).outcome, NotSent)


def test_an_answer_that_is_long_to_check_holds_nobody_up(runner: ModelRunner):
    """It takes seconds; the other has its turns meanwhile, each some hundredths after the one before."""
    texts = {"anyOf": [{"type": "string", "pattern": f"^(a|b|c)+{number}$"} for number in range(60)]}
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": texts}}}
    order: list[str] = []
    slow = runner.ask_model(question(submit(a=["abcabc" * 10] * 1000), schema=schema, turns=1))
    slow.add_done_callback(lambda _: order.append("slow"))
    turns = [submit(after=0.05, n="many")] * 5
    other = runner.ask_model(question(*turns, submit(n=1)))
    other.add_done_callback(lambda _: order.append("other"))
    assert code(slow.result(120)) == "OUTPUT_SCHEMA_VALIDATION_FAILED"
    assert other.result(120).outcome == Done({"n": 1})
    assert order == ["other", "slow"]

"""What comes of a thought, played by the mock provider: every way in which it can end without tools."""

import threading
from concurrent.futures import CancelledError, wait
from dataclasses import replace
from typing import Any

import pytest

from adapters.llm import Thinker
from adapters.mcp import ToolClient
from domain.manifests.definition import Adapter
from domain.sagas.outcome import Done, Failed, NotSent, TimedOut
from domain.sagas.reasoning import Question, Thought
from domain.values import canonical_json
from tests.adapters.llm_questions import call, question, settings, submit


@pytest.fixture
def thinker():
    client = ToolClient()
    yield Thinker(client, settings())
    client.close()


def thought(thinker: Thinker, asked: Question) -> Thought:
    return thinker.think(asked).result(60)


def code(thought: Thought) -> str:
    assert isinstance(thought.outcome, Failed), thought
    return thought.outcome.error.code


SIMPLE = Adapter.SIMPLE


def test_an_example_of_the_schema(thinker: Thinker):
    schema = {
        "type": "object",
        "properties": {"kind": {"enum": ["bug", "idea"]}, "n": {"type": "integer", "minimum": 3}},
        "required": ["kind", "n"],
    }
    for adapter in Adapter:
        first = thought(thinker, question(adapter=adapter, schema=schema))
        assert isinstance(first.outcome, Done)
        assert first.outcome.data["kind"] in ("bug", "idea")
        assert first.outcome.data["n"] >= 3
        assert thought(thinker, question(adapter=adapter, schema=schema)).outcome == first.outcome
        assert (first.report.mock, first.report.provider, first.report.requests) == (True, "mock", 1)


@pytest.mark.parametrize("top", [{"$ref": "#/definitions/A"}, {"allOf": [{"$ref": "#/definitions/A"}]}])
def test_a_schema_that_begins_with_a_reference(thinker: Thinker, top: dict[str, Any]):
    """As generators write it; providers want the type of an object at the top."""
    shape = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", **top, "definitions": {"A": shape}}
    for adapter in Adapter:
        assert thought(thinker, question(submit(n=4), adapter=adapter, schema=schema)).outcome == Done({"n": 4})
        refused = thought(thinker, question(*[submit(n="x")] * 9, adapter=adapter, schema=schema))
        assert code(refused) == "OUTPUT_SCHEMA_VALIDATION_FAILED"


def test_a_schema_with_references(thinker: Thinker):
    """Also where they stand in something that may be null, which the library would not follow."""
    schema = {
        "type": "object",
        "properties": {"at": {"type": ["object", "null"], "properties": {"n": {"$ref": "#/$defs/n"}}}},
        "required": ["at"],
        "$defs": {"n": {"type": "integer", "minimum": 3}},
    }
    asked = question(submit(at={"n": 4}), adapter=SIMPLE, schema=schema)
    assert thought(thinker, asked).outcome == Done({"at": {"n": 4}})
    wrong = question(submit(at={"n": 1}), adapter=SIMPLE, schema=schema)
    assert code(thought(thinker, wrong)) == "OUTPUT_SCHEMA_VALIDATION_FAILED"


def test_a_script_in_its_order(thinker: Thinker):
    asked = question(submit(n="many"), submit(n=7), submit(n=8))
    made = thought(thinker, asked)
    assert made.outcome == Done({"n": 7})
    assert made.report.requests == 2
    assert made.report.input_tokens > 0
    assert made.report.output_tokens > 0
    assert made.report.llm_ms > 0
    assert made.report.transcript == ()


def test_a_simple_answer(thinker: Thinker):
    assert thought(thinker, question(submit(n=7), adapter=SIMPLE)).outcome == Done({"n": 7})


def test_numbers_in_quotes_are_read(thinker: Thinker):
    assert thought(thinker, question(submit(n="7"), adapter=SIMPLE)).outcome == Done({"n": 7})


def test_a_simple_answer_has_one_try(thinker: Thinker):
    made = thought(thinker, question(submit(n="many"), submit(n=7), adapter=SIMPLE))
    assert code(made) == "OUTPUT_SCHEMA_VALIDATION_FAILED"
    assert "output.n" in made.outcome.error.message
    assert made.report.requests == 1


@pytest.mark.parametrize("adapter", Adapter)
def test_an_empty_answer(thinker: Thinker, adapter: Adapter):
    assert code(thought(thinker, question(submit(), adapter=adapter, turns=1))) == "EMPTY_STRUCTURED_RESULT"


def test_an_empty_answer_may_be_all_that_is_wanted(thinker: Thinker):
    assert thought(thinker, question(submit(), adapter=SIMPLE, schema={"type": "object"})).outcome == Done({})


def test_a_react_step_that_never_submits(thinker: Thinker):
    """After its script the mock only talks."""
    made = thought(thinker, question(submit(n="many"), turns=3))
    assert code(made) == "OUTPUT_SCHEMA_VALIDATION_FAILED"
    assert made.report.requests == 3


def test_a_tool_that_is_not_allowed_ends_it(thinker: Thinker):
    for adapter in Adapter:
        made = thought(thinker, question(call("delete_everything", really=True), submit(n=1), adapter=adapter))
        assert code(made) == "TOOL_NOT_ALLOWED"
        assert "delete_everything" in made.outcome.error.message
        assert [(use.name, use.outcome) for use in made.report.tool_uses] == [("delete_everything", "not_allowed")]
        assert made.report.requests == 1


def test_tokens_are_counted(thinker: Thinker):
    made = thought(thinker, question(submit(n=1, note="long " * 100), tokens=20))
    assert code(made) == "STEP_TOKEN_LIMIT_EXCEEDED"
    assert made.report.output_tokens > 20


def test_the_deadline(thinker: Thinker):
    made = thought(thinker, question(submit(after=60, n=1), timeout=0.2))
    assert isinstance(made.outcome, TimedOut)
    assert (made.outcome.error.code, made.outcome.acted) == ("STEP_TIMED_OUT", False)


def test_a_thought_that_is_cancelled(thinker: Thinker):
    future = thinker.think(question(submit(after=60, n=1)))
    assert future.cancel()
    with pytest.raises(CancelledError):
        future.result(10)


def test_many_at_once_cost_no_threads(thinker: Thinker):
    thought(thinker, question(submit(n=0)))
    before = threading.active_count()
    futures = [thinker.think(question(submit(after=0.5, n=n))) for n in range(100)]
    assert threading.active_count() <= before
    done, _ = wait(futures, 60)
    assert sorted(future.result().outcome.data["n"] for future in done) == list(range(100))


def test_what_was_said_is_kept(thinker: Thinker):
    made = thought(thinker, question(submit(n="many\x00"), submit(n=7), keep_transcript=True))
    roles = [entry["role"] for entry in made.report.transcript]
    assert roles[:3] == ["system", "user", "model"]
    assert made.report.transcript[0]["text"] == "Be brief."
    assert made.report.transcript[1]["text"] == "What is n?"
    assert made.report.transcript[2]["call"] == "_submit"
    assert "\x00" not in str(made.report.transcript)
    assert {"role": "model", "call": "_submit", "arguments": {"n": 7}} in made.report.transcript


def test_what_is_kept_can_be_stored(thinker: Thinker):
    asked = replace(question(submit(n=7), keep_transcript=True), message="What is\x00 n \ud800?")
    made = thought(thinker, asked)
    assert next(canonical_json.faults(list(made.report.transcript), ""), None) is None


def test_what_was_said_is_kept_also_where_nothing_came_of_it(thinker: Thinker):
    made = thought(thinker, question(call("nothing"), keep_transcript=True))
    assert code(made) == "TOOL_NOT_ALLOWED"
    assert [entry["role"] for entry in made.report.transcript][:2] == ["system", "user"]


def test_a_transcript_is_bounded(thinker: Thinker):
    script = [submit(n="x" * 200_000) for _ in range(9)]
    made = thought(thinker, question(*script, keep_transcript=True))
    assert len(str(made.report.transcript)) < 300_000
    assert "left out" in made.report.transcript[-1]["text"]


def test_a_worker_without_a_model(thinker: Thinker):
    assert code(thought(thinker, question(provider=None))) == "WORKER_CONFIG_LOAD_FAILED"


@pytest.mark.parametrize(
    ("provider", "variable"),
    [("openai", "OPENAI_API_KEY"), ("anthropic", "ANTHROPIC_API_KEY"), ("local", "SAGAHOLD_LOCAL_LLM_URL")],
)
def test_what_a_provider_needs_is_named(thinker: Thinker, provider: str, variable: str):
    made = thought(thinker, question(provider=provider, model="m"))
    assert code(made) == "WORKER_CONFIG_LOAD_FAILED"
    assert variable in made.outcome.error.message
    assert made.report.mock is False


def test_nothing_begins_after_the_end():
    client = ToolClient()
    thinker = Thinker(client, settings())
    client.close()
    assert isinstance(thinker.think(question()).result(1).outcome, NotSent)


def test_an_answer_that_is_long_to_check_holds_nobody_up(thinker: Thinker):
    """It takes seconds; the other has its turns meanwhile, each some hundredths after the one before."""
    texts = {"anyOf": [{"type": "string", "pattern": f"^(a|b|c)+{number}$"} for number in range(60)]}
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": texts}}}
    order: list[str] = []
    slow = thinker.think(question(submit(a=["abcabc" * 10] * 1000), schema=schema, turns=1))
    slow.add_done_callback(lambda _: order.append("slow"))
    turns = [submit(after=0.05, n="many")] * 5
    other = thinker.think(question(*turns, submit(n=1)))
    other.add_done_callback(lambda _: order.append("other"))
    assert code(slow.result(60)) == "OUTPUT_SCHEMA_VALIDATION_FAILED"
    assert other.result(60).outcome == Done({"n": 1})
    assert order == ["other", "slow"]

"""Loops of models and tools over both protocols: what the model reads about its calls, and when it has to stop."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from domain.manifests.definition import Adapter, ToolSource, Transport
from domain.sagas.outcome import Failed, Lost, NotSent, TimedOut
from domain.sagas.reasoning import ModelResult
from tests.adapters.llm.wire import (
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    SUBMIT,
    Asked,
    Call,
    Cut,
    Reply,
    Say,
    Slow,
    Status,
    submit,
)
from tests.adapters.llm.world import PROTOCOLS, Desk, done, fact, failure, late

GOOD = submit({"n": 3})
LOOK = Call([("look", {"customer": "ada"})])
KIBIBYTE = 1024
DeskFor = Callable[..., Desk]
pytestmark = pytest.mark.parametrize("provider", PROTOCOLS)


def uses(result: ModelResult) -> list[tuple[str, str]]:
    return [(use.name, use.outcome) for use in result.report.tool_uses]


def test_a_tool_then_the_answer(desk_for: DeskFor, provider: str):
    desk = desk_for(LOOK, GOOD)
    result = desk.react(provider, "look", "count")
    assert done(result) == {"n": 3}
    assert desk.tools.called() == ["look ada fwd-1-1"]
    first, second = desk.server.asked
    assert set(first.tools) == {"look", "count", SUBMIT}
    assert first.tools["look"]["required"] == ["customer"]
    assert first.results == []
    assert '"tier":"gold"' in second.results[0].replace(": ", ":")
    report = result.report
    assert (report.requests, report.input_tokens, report.output_tokens) == (2, 2 * INPUT_TOKENS, 2 * OUTPUT_TOKENS)
    (use,) = report.tool_uses
    assert (use.name, use.outcome) == ("look", "ok")
    assert use.arguments_digest == hashlib.sha256(b'{"customer":"ada"}').hexdigest()
    assert report.tool_ms >= use.ms > 0
    assert report.setup_ms > 0
    assert not report.acted


def test_a_tool_that_may_act_shows_in_the_report(desk_for: DeskFor, provider: str):
    desk = desk_for(Call([("write", {"text": "x"})]), GOOD)
    result = desk.react(provider, "write")
    assert done(result) == {"n": 3}
    assert result.report.acted


def test_100_calls_in_a_turn(desk_for: DeskFor, provider: str):
    desk = desk_for(Call([("count", {"number": number}) for number in range(100)]), GOOD)
    result = desk.react(provider, "count")
    assert done(result) == {"n": 3}
    assert desk.tools.called() == [f"count {number} fwd-1-{number + 1}" for number in range(100)]
    assert len(desk.server.asked[1].results) == 100
    assert uses(result) == [("count", "ok")] * 100


def test_100_calls_over_as_many_turns(desk_for: DeskFor, provider: str):
    def script(asked: Asked) -> Reply:
        number = len(asked.results)
        return GOOD if number == 100 else Call([("count", {"number": number})])

    desk = desk_for(by=script)
    result = desk.react(provider, "count", max_turns=101)
    assert done(result) == {"n": 3}
    assert desk.tools.called() == [f"count {number} fwd-1-{number + 1}" for number in range(100)]
    assert result.report.requests == 101


def test_the_101st_call_is_not_made(desk_for: DeskFor, provider: str):
    desk = desk_for(Call([("count", {"number": number}) for number in range(101)]), GOOD)
    assert done(desk.react(provider, "count")) == {"n": 3}
    assert len(desk.tools.called()) == 100
    assert "100 calls" in desk.server.asked[1].results[100]


def test_a_model_that_never_submits(desk_for: DeskFor, provider: str):
    desk = desk_for(LOOK)
    assert failure(desk.react(provider, "look", max_turns=4)) == "NO_SUBMIT_CALL"
    assert len(desk.server.asked) == 4


def test_a_model_that_only_talks(desk_for: DeskFor, provider: str):
    desk = desk_for(Say("Done! All is well."))
    assert failure(desk.react(provider, "look", max_turns=3)) == "NO_SUBMIT_CALL"
    assert len(desk.server.asked) == 3


def test_talk_then_the_answer(desk_for: DeskFor, provider: str):
    desk = desk_for(Say("Let me think."), GOOD)
    assert done(desk.react(provider, "look")) == {"n": 3}


def test_an_answer_that_breaks_the_schema_may_be_corrected(desk_for: DeskFor, provider: str):
    desk = desk_for(submit({"n": 0}), submit({"n": "many"}), submit({}), GOOD)
    assert done(desk.react(provider, "look")) == {"n": 3}
    told = str(desk.server.asked[1].body["messages"][-1])
    assert "minimum" in told or "less than" in told


def test_an_answer_that_stays_wrong(desk_for: DeskFor, provider: str):
    desk = desk_for(submit({"n": 0}))
    assert failure(desk.react(provider, "look", max_turns=3)) == "OUTPUT_SCHEMA_VALIDATION_FAILED"
    assert len(desk.server.asked) == 3


def test_too_many_tokens_over_the_turns(desk_for: DeskFor, provider: str):
    desk = desk_for(LOOK)
    limit = 3 * (INPUT_TOKENS + OUTPUT_TOKENS) - 1
    assert failure(desk.react(provider, "look", max_step_tokens=limit)) == "STEP_TOKEN_LIMIT_EXCEEDED"
    assert len(desk.server.asked) == 3


def test_the_error_of_a_tool_reaches_the_model(desk_for: DeskFor, provider: str):
    desk = desk_for(Call([("fail", {"message": "no such customer"}), ("look", {"customer": 7})]), GOOD)
    result = desk.react(provider, "fail", "look")
    assert done(result) == {"n": 3}
    refused, bad = desk.server.asked[1].results
    assert "no such customer" in refused
    assert "valid string" in bad
    assert uses(result) == [("fail", "failed"), ("look", "failed")]


def test_the_model_reads_64_kib_and_facts_see_all(desk_for: DeskFor, provider: str):
    desk = desk_for(Call([("long", {"kilobytes": 300})]), GOOD)
    result = desk.react(provider, "long", facts=(fact("last", "long", "$.last"),))
    assert done(result) == {"n": 3}
    assert result.facts == {"last": "the end"}
    (seen,) = desk.server.asked[1].results
    assert 60 * KIBIBYTE < len(seen.encode()) < 66 * KIBIBYTE
    assert "the end" not in seen


def test_facts_are_the_tools_not_the_models(desk_for: DeskFor, provider: str):
    desk = desk_for(LOOK, Call([("look", {"customer": "bob"})]), submit({"n": 3, "why": "the tier is iron"}))
    facts = (fact("tier", "look", "$.tier"), fact("who", "look", "$.customer"))
    assert desk.react(provider, "look", facts=facts).facts == {"tier": "gold", "who": "bob"}


@pytest.mark.parametrize("script", [(LOOK, GOOD), (GOOD,)])
def test_a_fact_that_is_not_there(desk_for: DeskFor, provider: str, script: tuple[Reply, ...]):
    result = desk_for(*script).react(provider, "look", facts=(fact("age", "look", "$.age"),))
    assert failure(result) == "FACT_EXTRACTION_FAILED"
    assert isinstance(result.outcome, Failed)
    assert "age" in result.outcome.error.message
    assert result.facts == {}


def test_a_tool_nobody_has(desk_for: DeskFor, provider: str):
    desk = desk_for(GOOD)
    result = desk.react(provider, "look", "no_such_tool")
    assert failure(result) == "TOOL_NOT_FOUND"
    assert isinstance(result.outcome, Failed)
    assert "no_such_tool" in result.outcome.error.message
    assert desk.server.asked == []


def test_a_source_that_is_away(desk_for: DeskFor, provider: str):
    desk = desk_for(GOOD)
    away = ToolSource("away", Transport.STREAMABLE_HTTP, url="http://127.0.0.1:9/mcp")
    outcome = desk.react(provider, "look", tool_sources=(away,)).outcome
    assert isinstance(outcome, NotSent)
    assert outcome.error.code == "MCP_UNAVAILABLE"
    assert desk.server.asked == []


def test_a_source_without_its_variable(desk_for: DeskFor, provider: str):
    desk = desk_for(GOOD)
    source = desk.tools.source
    unset = replace(source, env={**source.env, "TOKEN": "${ENV:TEST_UNSET}"})
    result = desk.react(provider, "look", tool_sources=(unset,))
    assert failure(result) == "WORKER_CONFIG_LOAD_FAILED"
    assert isinstance(result.outcome, Failed)
    assert "TEST_UNSET" in result.outcome.error.message
    assert desk.server.asked == []


def test_a_lost_call_that_may_have_acted_ends_the_model_request(desk_for: DeskFor, provider: str):
    desk = desk_for(Call([("crash", {})]), GOOD)
    result = desk.react(provider, "crash", "look")
    assert isinstance(result.outcome, Lost)
    assert not result.outcome.idempotent
    assert uses(result) == [("crash", "lost")]
    assert desk.tools.called() == ["crash fwd-1-1"]
    assert len(desk.server.asked) == 1


def test_a_lost_call_that_only_read_is_reported_to_the_model(desk_for: DeskFor, provider: str):
    desk = desk_for(Call([("crash_reading", {})]), LOOK, GOOD)
    result = desk.react(provider, "crash_reading", "look")
    assert done(result) == {"n": 3}
    assert uses(result) == [("crash_reading", "lost"), ("look", "ok")]


def test_a_tool_that_never_answers(desk_for: DeskFor, provider: str):
    desk = desk_for(LOOK, GOOD, Call([("hang", {})]))
    done(desk.react(provider, "look"))  # the tool server runs
    hang = late(
        lambda seconds: desk.react(provider, "hang", timeout=seconds), lambda: "hang" in str(desk.tools.called())
    )
    outcome = hang.outcome
    assert isinstance(outcome, TimedOut)
    assert outcome.error.code == "STEP_TIMED_OUT"
    assert outcome.acted


def test_late_after_tools_that_only_read(desk_for: DeskFor, provider: str):
    desk = desk_for(LOOK, GOOD, LOOK, Slow(60, GOOD))
    done(desk.react(provider, "look"))  # the tool server runs
    slow = late(lambda seconds: desk.react(provider, "look", timeout=seconds), lambda: len(desk.server.asked) > 3)
    outcome = slow.outcome
    assert isinstance(outcome, TimedOut)
    assert not outcome.acted
    desk.server.wait_until(lambda: desk.server.asked[3].left)


def test_whether_it_could_have_changed_anything(desk_for: DeskFor, provider: str):
    """Also the times before: what a dead worker's model may have done is in doubt only where a tool could do it."""
    desk = desk_for(GOOD, GOOD, GOOD, Status(400))
    assert desk.react(provider, "look", again=True).report.harmless
    assert not desk.react(provider, "look", "write").report.harmless
    assert desk.ask_model(provider).report.harmless
    refused = desk.react(provider, "look", again=True)
    assert (failure(refused), refused.report.harmless) == ("PROVIDER_REJECTED", True)


def test_a_retried_request_repeats_no_call(desk_for: DeskFor, provider: str):
    desk = desk_for(Call([("write", {"text": "x"})]), Status(503), Cut(), GOOD)
    assert done(desk.react(provider, "write")) == {"n": 3}
    assert desk.tools.called() == ["write x fwd-1-1"]


def test_a_repeated_request_with_tools_that_may_act(desk_for: DeskFor, provider: str):
    desk = desk_for(GOOD)
    outcome = desk.react(provider, "write", again=True).outcome
    assert isinstance(outcome, Lost)
    assert not outcome.idempotent
    assert desk.server.asked == []


def test_a_repeated_request_with_tools_that_may_be_repeated(desk_for: DeskFor, provider: str):
    desk = desk_for(GOOD)
    assert done(desk.react(provider, "count", "look", again=True)) == {"n": 3}


def test_the_transcript_is_kept_when_it_is_wanted(desk_for: DeskFor, provider: str):
    desk = desk_for(LOOK, GOOD, LOOK, GOOD)
    given = {"adapter": Adapter.REACT, "tools": ("look",)}
    assert desk.ask_model(provider, **given).report.transcript == ()
    kept = str(desk.ask_model(provider, keep_transcript=True, **given).report.transcript)
    for said in ("You count.", "How many?", "ada", "gold"):
        assert said in kept


def test_the_transcript_is_kept_of_a_failure_too(desk_for: DeskFor, provider: str):
    desk = desk_for(LOOK, Call([("delete_everything", {})]))
    result = desk.react(provider, "look", keep_transcript=True)
    assert failure(result) == "TOOL_NOT_ALLOWED"
    assert "gold" in str(result.report.transcript)
    assert result.report.transcript[-1] == {"role": "model", "call": "delete_everything", "arguments": {}}


def test_the_turn_that_ended_it_is_kept_after_whatever_was_said(desk_for: DeskFor, provider: str):
    desk = desk_for(Call([("long", {"kilobytes": 60})] * 10), Call([("delete_everything", {"sure": True})]))
    result = desk.react(provider, "long", keep_transcript=True)
    assert failure(result) == "TOOL_NOT_ALLOWED"
    assert result.report.transcript[-1]["arguments"] == {"sure": True}
    assert len(str(result.report.transcript)) < 300 * KIBIBYTE


def test_no_turn_is_kept_twice(desk_for: DeskFor, provider: str):
    desk = desk_for(LOOK, Call([("read_resource", {"uri": "orders://8"})]))
    result = desk.react(provider, "look", resources=("orders://7",), keep_transcript=True)
    assert failure(result) == "TOOL_NOT_ALLOWED"
    assert [entry["call"] for entry in result.report.transcript if "call" in entry] == ["look", "read_resource"]


def test_the_transcript_is_bounded(desk_for: DeskFor, provider: str):
    desk = desk_for(Call([("long", {"kilobytes": 60})] * 10), GOOD)
    result = desk.react(provider, "long", keep_transcript=True)
    assert done(result) == {"n": 3}
    assert 100 * KIBIBYTE < len(str(result.report.transcript)) < 300 * KIBIBYTE

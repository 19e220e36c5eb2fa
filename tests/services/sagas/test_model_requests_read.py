"""The stored report of a model request, and the parts of it that can be read."""

from typing import Any
from uuid import UUID

import pytest

from domain.sagas.outcome import Done, Failed
from domain.sagas.reasoning import ToolUse
from domain.sagas.step import Error
from domain.values import canonical_json
from services.kernel.unit_of_work import Database
from services.reviews.step_decisions import rerun_step
from services.sagas.queries import get_saga, get_step
from tests.services.model_world import ABOUT, go_on, model, reason, result
from tests.services.saga_world import approve_held, current_ref, error_of, ref, start, statuses, step, step_of
from tests.services.world import REVIEWER, one

FAILED = Failed(Error("NO_SUBMIT_CALL", "no answer"))
TALK = ({"role": "user", "text": "What of 1?"}, {"role": "model", "text": "\ud7ff\x00 <b>1</b>"})


def read(database: Database, trace_id: UUID, id_: str = "a") -> dict[str, Any]:
    return get_step(database, REVIEWER, trace_id, ref(trace_id, step_of(database, trace_id, id_)).span, None)


def test_how_it_went(database: Database) -> None:
    """Times, tokens, tools; of the step of a saga that ended well, and of one that failed."""
    use = ToolUse("look", "e" * 64, 12.34, "ok")
    about = {"provider": "local", "model": "m1", "mock": False, "requests": 3, "input_tokens": 20, "output_tokens": 7}
    times = {"setup_ms": 1.04, "llm_ms": 200.06, "tool_ms": 12.34}
    for outcome in (Done({"n": 1}), FAILED):
        trace_id = start(database, reason("a"))
        go_on(database, trace_id, model(a=result(outcome, **about, **times, tool_uses=(use,))))
        found = read(database, trace_id)
        timing = found["timing"]
        assert timing.pop("queue_ms") >= 0
        assert timing == {"schedule_ms": 1.0, "setup_ms": 1.0, "llm_ms": 200.1, "tool_ms": 12.3}
        assert found["usage"] == {"requests": 3, "input_tokens": 20, "output_tokens": 7}
        assert found["tool_calls"] == [{"name": "look", "arguments_digest": "e" * 64, "ms": 12.3, "outcome": "ok"}]
        assert {name: found[name] for name in ABOUT} == ABOUT
        assert (found["provider"], found["model"], found["mock"], found["transcript"]) == ("local", "m1", False, None)
        (listed,) = get_saga(database, REVIEWER, trace_id)["steps"]
        assert (listed["usage"], listed["mock"]) == (found["usage"], False)


def test_the_transcript_is_of_the_last_execution(database: Database) -> None:
    """Replaced by each; one that kept none leaves none: it would be taken for what was said there."""
    trace_id = start(database, reason("a", hitl=True, keep_transcript=True))
    go_on(database, trace_id, model(a=result(1, transcript=TALK)))
    assert read(database, trace_id)["transcript"] == list(TALK)
    rerun_step(database, REVIEWER, current_ref(database, trace_id), None, None)
    go_on(database, trace_id, model(a=result(2, transcript=({"role": "user", "text": "again"},))))
    assert read(database, trace_id)["transcript"] == [{"role": "user", "text": "again"}]
    rerun_step(database, REVIEWER, current_ref(database, trace_id), None, None)
    go_on(database, trace_id, model(a=FAILED))
    assert read(database, trace_id)["transcript"] is None
    assert one(database, "SELECT count(*) FROM saga_transcripts") == 0


def test_facts_of_what_was_not_merged_are_nowhere_but_at_the_step(database: Database) -> None:
    trace_id = start(database, reason("a", hitl=True))
    go_on(database, trace_id, model(a=result(1, {"id": 3})))
    empty = {"output": {"data": None}, "facts": {}}
    assert get_saga(database, REVIEWER, trace_id)["context"]["steps"]["a"] == empty
    assert read(database, trace_id)["facts"] == {"id": 3}
    approve_held(database, trace_id, arguments={"n": 8})
    go_on(database, trace_id, model())
    merged = {"output": {"data": {"n": 8}}, "facts": {"id": 3}}
    assert get_saga(database, REVIEWER, trace_id)["context"]["steps"]["a"] == merged


@pytest.mark.parametrize("number", [1e22, -0.0, 1.5, 0.1 + 0.2])
def test_numbers_on_their_way_through_the_database(database: Database, number: float) -> None:
    """At the merge, a model's answer still equals the held one: it is not taken for an edit."""
    only_once = {"name": "p", "cel": "phase == 'after_reason'"}
    trace_id = start(database, reason("a", hitl=True, policy=only_once, output_schema={"type": "object"}))
    go_on(database, trace_id, model(a=result(Done({"x": number}))))
    held = step_of(database, trace_id, "a").proposal
    assert one(database, "SELECT arguments_digest FROM pauses").tobytes() == canonical_json.digest(held)
    approve_held(database, trace_id)
    go_on(database, trace_id, model())
    assert step_of(database, trace_id, "a").output == {"x": number}


def test_large_answers_do_not_grow_beyond_what_arguments_may_be(database: Database) -> None:
    """Each is as large as may be; what takes them all in fails cleanly, before anything is called."""
    text = "x" * (canonical_json.MAX_BYTES - 100)
    large = {"type": "object", "properties": {"text": {"type": "string"}}}
    every = {"all": {"from": "$.steps"}}
    answers = {id_: result(Done({"text": text})) for id_ in "ab"}
    asks = (reason(id_, output_schema=large) for id_ in answers)
    trace_id = start(database, *asks, step("c", **{"with": every}))
    used = go_on(database, trace_id, model(**answers))
    assert statuses(database, trace_id) == ("FAILED", "COMPLETED", "COMPLETED", "FAILED")
    assert (error_of(database, trace_id, "c"), used.calls) == ("ARGUMENTS_TOO_LARGE", [])

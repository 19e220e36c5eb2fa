"""Structured answers over both protocols: what is taken for one, and what is said of the rest."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.adapters.llm.wire import INPUT_TOKENS, OUTPUT_TOKENS, Call, Empty, Garbage, Reply, Say, submit
from tests.adapters.llm.world import (
    PROTOCOLS,
    Desk,
    done,
    failure,
)

GOOD = submit({"n": 3})
DeskFor = Callable[..., Desk]
on_both = pytest.mark.parametrize("provider", PROTOCOLS)


@on_both
@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"null", b'"text"', b"{}", b'{"choices": 7, "content": 7}', b"\xff"]
)
def test_garbage(desk_for: DeskFor, provider: str, body: bytes):
    desk = desk_for(Garbage(body))
    assert failure(desk.ask_model(provider)) == "STRUCTURED_OUTPUT_FAILED"
    assert len(desk.server.asked) == 1


@on_both
@pytest.mark.parametrize("reply", [Say("I would rather talk about it."), Say('{"n": 3}')])
def test_words_instead_of_an_answer(desk_for: DeskFor, provider: str, reply: Reply):
    desk = desk_for(reply)
    assert failure(desk.ask_model(provider)) == "STRUCTURED_OUTPUT_FAILED"
    assert len(desk.server.asked) == 1


@on_both
@pytest.mark.parametrize("reply", [Empty(), Say(""), Call([])])
def test_no_answer_at_all(desk_for: DeskFor, provider: str, reply: Reply):
    desk = desk_for(reply)
    assert failure(desk.ask_model(provider)) in ("STRUCTURED_OUTPUT_FAILED", "EMPTY_STRUCTURED_RESULT")
    assert len(desk.server.asked) == 1


@on_both
def test_nothing_submitted_where_something_is_required(desk_for: DeskFor, provider: str):
    desk = desk_for(submit({}))
    assert failure(desk.ask_model(provider)) == "EMPTY_STRUCTURED_RESULT"
    assert len(desk.server.asked) == 1


def test_arguments_that_are_no_json(desk_for: DeskFor):
    assert failure(desk_for(submit('{"n": 3')).ask_model("openai")) == "STRUCTURED_OUTPUT_FAILED"


@on_both
@pytest.mark.parametrize("answer", [{"n": 0}, {"n": "many"}, {"n": 3, "more": 1}, {"why": "none"}, {"n": None}])
def test_an_answer_that_breaks_the_schema(desk_for: DeskFor, provider: str, answer: Any):
    desk = desk_for(submit(answer))
    assert failure(desk.ask_model(provider)) == "OUTPUT_SCHEMA_VALIDATION_FAILED"
    assert len(desk.server.asked) == 1


@on_both
def test_sloppy_json_is_read_where_it_can_mean_one_thing(desk_for: DeskFor, provider: str):
    desk = desk_for(submit({"n": "3", "why": "4"}))
    assert done(desk.ask_model(provider)) == {"n": 3, "why": "4"}


@on_both
def test_a_simple_step_has_no_tools(desk_for: DeskFor, provider: str):
    desk = desk_for(Call([("delete_everything", {})]))
    assert failure(desk.ask_model(provider)) == "TOOL_NOT_ALLOWED"
    assert desk.tools.called() == []
    assert len(desk.server.asked) == 1


@on_both
def test_too_many_tokens(desk_for: DeskFor, provider: str):
    desk = desk_for(GOOD)
    assert (
        failure(desk.ask_model(provider, max_step_tokens=INPUT_TOKENS + OUTPUT_TOKENS - 1))
        == "STEP_TOKEN_LIMIT_EXCEEDED"
    )
    assert done(desk.ask_model(provider, max_step_tokens=INPUT_TOKENS + OUTPUT_TOKENS)) == {"n": 3}

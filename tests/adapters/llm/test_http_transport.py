"""The scripted provider says what the real ones would: their own SDKs read it without a complaint."""

from typing import Any

import anthropic
import jsonschema_rs
import openai
import pytest
from anthropic.types import Message
from openai.types.chat import ChatCompletion

from tests.adapters.llm.server import LlmServer
from tests.adapters.llm.wire import Asked, Call, Empty, Say, Status, body, example, submit

TWO = Call([("look", {"customer": "ada"}), ("_submit", {"n": 1})])


@pytest.mark.parametrize("reply", [Say("yes"), TWO, Empty()])
def test_answers_have_the_right_form(reply: Any):
    request = {"model": "m", "messages": []}
    ChatCompletion.model_validate(body(Asked("/v1/chat/completions", {}, request, 0.0), reply, 1), strict=True)
    Message.model_validate(body(Asked("/v1/messages", {}, request, 0.0), reply, 1), strict=True)


@pytest.mark.parametrize(("code", "retry_after"), [(429, "7"), (503, None)])
def test_errors_have_the_right_form(code: int, retry_after: str | None):
    with LlmServer(Status(code, retry_after, "too much")) as server:
        for raised in _ask(server):
            assert (raised.status_code, raised.response.headers.get("retry-after")) == (code, retry_after)
            assert "too much" in raised.message


def test_both_sdks_read_the_same_script():
    with LlmServer(TWO, submit({"n": 2})) as server:
        first, second = _ask(server)
    assert first.choices[0].message.tool_calls[0].function.arguments == '{"customer": "ada"}'
    assert second.content[0].input == {"n": 2}
    assert [asked.key for asked in server.asked] == ["k", "k"]
    assert [asked.system for asked in server.asked] == ["be short", "be short"]
    assert [asked.user for asked in server.asked] == [["hello"], ["hello"]]
    assert all(asked.answered for asked in server.asked)


def _ask(server: LlmServer) -> list[Any]:
    """Return the answer or the error of each SDK."""
    system, user = {"role": "system", "content": "be short"}, {"role": "user", "content": "hello"}
    one = openai.OpenAI(base_url=f"{server.url}/v1", api_key="k", max_retries=0)
    other = anthropic.Anthropic(base_url=server.url, api_key="k", max_retries=0)
    calls = (
        lambda: one.chat.completions.create(model="m", messages=[system, user]),
        lambda: other.messages.create(model="m", max_tokens=9, system="be short", messages=[user]),
    )
    answers: list[Any] = []
    with one, other:
        for call in calls:
            try:
                answers.append(call())
            except (openai.APIStatusError, anthropic.APIStatusError) as error:
                answers.append(error)
    return answers


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "string", "minLength": 3}, "b": {}}, "required": ["a"]},
        {"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 2},
        {"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer", "exclusiveMinimum": 4}}},
        {"anyOf": [{"type": "null"}, {"type": "number"}]},
        {"type": ["boolean", "null"]},
        {"const": {"a": 1}},
    ],
)
def test_examples_fit(schema: Any):
    jsonschema_rs.validate(schema, example(schema))

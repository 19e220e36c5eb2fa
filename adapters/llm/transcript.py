"""What was said between the engine and a model, for the person who reviews its answer."""

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    RetryFeedbackPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from adapters.llm.progress import clean
from domain import json_value

# Of all of it: as much as a pause's context may have.
MAX_BYTES = 256 * 1024
# Of one text in it, so that a single long answer does not push out the rest.
_MAX_TEXT = 64 * 1024


def of(messages: Sequence[ModelMessage]) -> tuple[Any, ...]:
    """`{role, text}` of system, user, model and engine; `{role: model, call, arguments}`; `{role: tool, tool, answer}`.
    What is over the limit is left out at the end, and the last entry says so."""
    kept: list[Any] = []
    rest = MAX_BYTES
    for entry in _entries(messages):
        rest -= json_value.size(entry)
        if rest < 0:
            kept.append({"role": "engine", "text": "(the rest is left out: it is too long to be kept)"})
            break
        kept.append(entry)
    return tuple(kept)


def _entries(messages: Sequence[ModelMessage]) -> Iterator[dict[str, Any]]:
    system = None
    for message in messages:
        if isinstance(message, ModelRequest) and message.instructions and message.instructions != system:
            system = message.instructions
            yield {"role": "system", "text": _text(system)}
        for part in message.parts:
            match part:
                case UserPromptPart():
                    yield {"role": "user", "text": _text(part.content)}
                case ToolReturnPart():
                    yield {"role": "tool", "tool": _text(part.tool_name), "answer": _text(part.model_response_str())}
                case RetryFeedbackPart():
                    yield {"role": "engine", "text": _text(part.content)}
                case TextPart():
                    yield {"role": "model", "text": _text(part.content)}
                case ThinkingPart():
                    yield {"role": "model", "thought": _text(part.content)}
                case ToolCallPart():
                    yield {"role": "model", "call": _text(part.tool_name), "arguments": _arguments(part)}


def _arguments(call: ToolCallPart) -> Any:
    arguments = call.args_as_dict()
    if next(json_value.faults(arguments, ""), None) is None and json_value.size(arguments) <= _MAX_TEXT:
        return arguments
    return _text(call.args_as_json_str())


def _text(value: Any) -> str:
    text = clean(value if isinstance(value, str) else str(value))
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "…"

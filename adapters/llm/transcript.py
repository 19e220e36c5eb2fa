"""The transcript of a model request, for the person who reviews its answer."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    RetryFeedbackPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from adapters.llm.progress import clean
from domain.values import canonical_json

# Bytes in all: as much as a pause's context may have.
MAX_BYTES = 256 * 1024
# Bytes of a last turn that ended the request. The reviewer needs it, however long the rest is.
_MAX_LAST = MAX_BYTES // 2
# Characters of one text, so that one long answer leaves room for the rest.
_MAX_TEXT = 64 * 1024


def of(messages: Sequence[ModelMessage], last: ModelResponse | None, names: Mapping[str, str]) -> tuple[Any, ...]:
    """Return `{role, text}`, `{role: model, call, arguments}` and `{role: tool, tool, answer}` entries.

    Roles of texts are system, user, model and engine. Entries over the limit are left out, and the last one says so.

    Args:
        last: the model's last turn. It is not among the messages if it ended the request.
        names: the tools' own names, by those in the messages.
    """
    ending: list[Any] = []
    if last is not None and not any(message is last for message in messages):
        ending = _bounded(_entries([last], names), _MAX_LAST)
    return *_bounded(_entries(messages, names), MAX_BYTES - canonical_json.size(ending)), *ending


def _bounded(entries: Iterable[Any], most: int) -> list[Any]:
    kept: list[Any] = []
    rest = most
    for entry in entries:
        rest -= canonical_json.size(entry)
        if rest < 0:
            kept.append({"role": "engine", "text": "(the rest is left out: it is too long to be kept)"})
            break
        kept.append(entry)
    return kept


def _entries(messages: Sequence[ModelMessage], names: Mapping[str, str]) -> Iterator[dict[str, Any]]:
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
                    yield {"role": "tool", "tool": _tool(part, names), "answer": _text(part.model_response_str())}
                case RetryFeedbackPart():
                    yield {"role": "engine", "text": _text(part.content)}
                case TextPart():
                    yield {"role": "model", "text": _text(part.content)}
                case ThinkingPart():
                    yield {"role": "model", "thought": _text(part.content)}
                case ToolCallPart():
                    yield {"role": "model", "call": _tool(part, names), "arguments": _arguments(part)}


def _tool(part: ToolCallPart | ToolReturnPart, names: Mapping[str, str]) -> str:
    return _text(names.get(part.tool_name, part.tool_name))


def _arguments(call: ToolCallPart) -> Any:
    arguments = call.args_as_dict()
    if next(canonical_json.field_errors(arguments, ""), None) is None and canonical_json.size(arguments) <= _MAX_TEXT:
        return arguments
    return _text(call.args_as_json_str())


def _text(value: Any) -> str:
    text = clean(value if isinstance(value, str) else str(value))
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "…"

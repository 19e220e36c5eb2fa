"""Answers of a scripted model, in the format of OpenAI's chat completions and of Anthropic's messages."""

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

SUBMIT = "_submit"
# The cost that every good answer reports.
INPUT_TOKENS = 11
OUTPUT_TOKENS = 7


@dataclass(frozen=True)
class Say:
    text: str


@dataclass(frozen=True)
class Call:
    """Tools to call in one turn: (name, arguments). Arguments that are a string go out as they are."""

    calls: Sequence[tuple[str, Any]]


def submit(answer: Any) -> Call:
    return Call([(SUBMIT, answer)])


@dataclass(frozen=True)
class Status:
    """An error of the provider's.

    Attributes:
        retry_after: seconds, or any other text that the header may have.
    """

    code: int
    retry_after: float | str | None = None
    words: str = "scripted"
    location: str | None = None


@dataclass(frozen=True)
class Slow:
    """`then` comes after so many seconds: all of it, or `within_body` the second half of it."""

    seconds: float
    then: "Reply"
    within_body: bool = False


@dataclass(frozen=True)
class Cut:
    """The connection breaks within the answer; with `at_once` before it."""

    at_once: bool = False


@dataclass(frozen=True)
class Garbage:
    """200 and a body that is no answer."""

    body: bytes = b"<html>not JSON</html>"


@dataclass(frozen=True)
class Empty:
    """An answer of the right form with nothing in it."""


@dataclass(frozen=True)
class Huge:
    """A good answer but for its size; `packed` it is small on the wire."""

    megabytes: int
    packed: bool = False


@dataclass(frozen=True)
class Together:
    """`then`, once so many requests have been open at a time."""

    count: int
    then: "Reply"


@dataclass(frozen=True)
class After:
    """`then`, once the test says so."""

    said: threading.Event
    then: "Reply"


Reply = After | Together | Say | Call | Status | Slow | Cut | Garbage | Empty | Huge


@dataclass
class Asked:
    """One request.

    Attributes:
        headers: their names in lower case.
        at: when all of it was there, by the monotonic clock.
        sent: bytes of the answer that were given to the socket.
        left: the client was gone before the answer was.
    """

    path: str
    headers: Mapping[str, str]
    body: Any
    at: float
    sent: int = 0
    left: bool = False
    answered: bool = False

    @property
    def anthropic(self) -> bool:
        return self.path.endswith("/messages")

    @cached_property
    def key(self) -> str | None:
        return self.headers.get("x-api-key") or self.headers.get("authorization", "").removeprefix("Bearer ") or None

    @cached_property
    def tools(self) -> dict[str, Any]:
        """The schemas of what the model may call."""
        if self.anthropic:
            return {tool["name"]: tool["input_schema"] for tool in self.body.get("tools", ())}
        named = [tool["function"] for tool in self.body.get("tools", ())]
        return {function["name"]: function.get("parameters", {}) for function in named}

    @property
    def forced(self) -> str | None:
        """The tool that the model must call: its name, "*" for any, None when the model may also talk."""
        choice = self.body.get("tool_choice")
        if isinstance(choice, Mapping):
            return choice.get("name") or choice.get("function", {}).get("name") or {"any": "*"}.get(choice["type"])
        return "*" if choice == "required" else None

    @cached_property
    def system(self) -> str:
        if self.anthropic:
            return _text(self.body.get("system", ""))
        above = [message for message in self.body["messages"] if message["role"] in ("system", "developer")]
        return "\n".join(_text(message["content"]) for message in above)

    @cached_property
    def user(self) -> list[str]:
        """The user's texts, one for each message."""
        said = [_text(message["content"]) for message in self.body["messages"] if message["role"] == "user"]
        return [text for text in said if text]

    @cached_property
    def results(self) -> list[str]:
        """The results of its calls that the model receives, from the first on."""
        messages = self.body["messages"]
        if not self.anthropic:
            return [_text(message["content"]) for message in messages if message["role"] == "tool"]
        blocks = [block for message in messages if isinstance(message["content"], list) for block in message["content"]]
        return [_text(block.get("content", "")) for block in blocks if block["type"] == "tool_result"]


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content or () if part.get("type") == "text")


def body(asked: Asked, reply: Say | Call | Status | Empty, number: int) -> Any:
    """The answer to the `number`th request, in the words of its protocol."""
    return (_message if asked.anthropic else _completion)(asked, reply, number)


def _completion(asked: Asked, reply: Say | Call | Status | Empty, number: int) -> Any:
    if isinstance(reply, Status):
        return {"error": {"message": reply.words, "type": "scripted", "param": None, "code": None}}
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    if isinstance(reply, Say):
        message["content"] = reply.text
    elif isinstance(reply, Call):
        message["tool_calls"] = [
            {
                "id": f"call_{number}_{place}",
                "type": "function",
                "function": {"name": name, "arguments": _written(given)},
            }
            for place, (name, given) in enumerate(reply.calls)
        ]
    reason = "tool_calls" if isinstance(reply, Call) else "stop"
    choice = {"index": 0, "finish_reason": reason, "logprobs": None, "message": message}
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": asked.body["model"],
        "choices": [] if isinstance(reply, Empty) else [choice],
        "usage": {
            "prompt_tokens": INPUT_TOKENS,
            "completion_tokens": OUTPUT_TOKENS,
            "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
        },
    }


def _written(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


def _message(asked: Asked, reply: Say | Call | Status | Empty, number: int) -> Any:
    if isinstance(reply, Status):
        return {"type": "error", "error": {"type": "scripted", "message": reply.words}, "request_id": f"req_{number}"}
    content: list[Any] = []
    if isinstance(reply, Say):
        content = [{"type": "text", "text": reply.text}]
    elif isinstance(reply, Call):
        content = [
            {"type": "tool_use", "id": f"toolu_{number}_{place}", "name": name, "input": given}
            for place, (name, given) in enumerate(reply.calls)
        ]
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": asked.body["model"],
        "content": content,
        "stop_reason": "tool_use" if isinstance(reply, Call) else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS},
    }


def example(schema: Mapping[str, Any], root: Mapping[str, Any] | None = None) -> Any:
    """The least that fits a plain JSON Schema: what is required, and of each range its lower end."""
    root = schema if root is None else root
    if "$ref" in schema:
        found: Any = root
        for name in schema["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        return example(found, root)
    for given in ("const", "default"):
        if given in schema:
            return schema[given]
    if "enum" in schema:
        return schema["enum"][0]
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            return example({**schema[choice][0], **{k: v for k, v in schema.items() if k != choice}}, root)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    match kind[0] if isinstance(kind, list) else kind:
        case "object":
            known = schema.get("properties", {})
            return {name: example(known.get(name, {}), root) for name in schema.get("required", ())}
        case "array":
            return [example(schema.get("items", {}), root)] * schema.get("minItems", 0)
        case "integer" | "number":
            return schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
        case "boolean":
            return True
        case "null":
            return None
    return "x" * max(1, schema.get("minLength", 1))

"""Questions to models for the tests: a thinker on a scripted provider, and a tool server that notes what reaches it."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from adapters.llm import LlmSettings, Thinker
from adapters.mcp import ToolClient
from domain.manifests.definition import Adapter, Fact, Thinking, ToolSource, Transport, WorkerDefinition
from domain.sagas.outcome import Done, Failed
from domain.sagas.reasoning import Question, Thought
from tests.adapters.llm_server import LlmServer
from tests.adapters.odd_server import lines

T = TypeVar("T", Question, Thinking, WorkerDefinition)
SERVER = Path(__file__).parent / "mcp_servers" / "thinking.py"
PROVIDERS = ["openai", "anthropic", "local"]
# One of each protocol.
PROTOCOLS = ["openai", "anthropic"]
KEY = "sk-test-0123456789-never-to-be-shown"
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 1}, "why": {"type": "string"}},
    "required": ["n"],
    "additionalProperties": False,
}
QUESTION = Question(
    WorkerDefinition("w", "default", "1", "", "mock", None, 0.0, None, None, ()),
    Thinking("", "inline", Adapter.SIMPLE, (), (), (), SCHEMA, 10, None, keep_transcript=False, script=()),
    message="How many?",
    system="You count.",
    resources=(),
    key="fwd-1",
    meta={},
    timeout=30.0,
    again=False,
)
# For the tests that are not about waiting: the wait between attempts is next to nothing.
ATTEMPTS = 3
WAIT = 0.01


def environ(url: str) -> dict[str, str]:
    """Every provider is the scripted server at this address."""
    return {
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": f"{url}/v1",
        "ANTHROPIC_API_KEY": KEY,
        "ANTHROPIC_BASE_URL": url,
        "SAGAHOLD_LOCAL_LLM_URL": f"{url}/v1",
    }


def settings(environ: Mapping[str, str], **changes: Any) -> LlmSettings:
    given: dict[str, Any] = {
        "retry_enabled": True,
        "retry_max_attempts": ATTEMPTS,
        "retry_base_delay": WAIT,
        "retry_max_delay": 10 * WAIT,
        "environ": environ,
    }
    return LlmSettings(**(given | changes))


class Tools:
    """`mcp_servers/thinking.py`, started with the first call, for as many tests as like."""

    def __init__(self, folder: Path) -> None:
        self.client = ToolClient()
        self._called = folder / "called"
        notes = {"CALLED": str(self._called)}
        self.source = ToolSource("tools", Transport.STDIO, command=sys.executable, args=(str(SERVER),), env=notes)

    def called(self) -> list[str]:
        """What reached a tool or a resource, with the keys."""
        return lines(self._called)

    def forget(self) -> None:
        self._called.write_text("")


class Desk:
    """One thinker on one scripted server."""

    def __init__(self, server: LlmServer, tools: Tools, thinker: Thinker) -> None:
        self.server = server
        self.tools = tools
        self.thinker = thinker

    def think(self, provider: str, **given: Any) -> Thought:
        return self.thinker.think(self.question(provider, **given)).result(60)

    def react(self, provider: str, *tools: str, **given: Any) -> Thought:
        return self.think(provider, adapter=Adapter.REACT, tools=tools, **given)

    def question(self, provider: str, **given: Any) -> Question:
        """By default a simple one. Every field of the question, its thinking and its worker can be given."""
        worker = {"provider": provider, "model_name": "m-1", "temperature": 0.25, "tool_sources": (self.tools.source,)}
        return question(**(worker | given))


@contextlib.contextmanager
def desks(server: LlmServer, tools: Tools, **changes: Any) -> Iterator[Desk]:
    tools.forget()
    with server:
        yield Desk(server, tools, thinker(tools, environ(server.url), **changes))


def thinker(tools: Tools, environ: Mapping[str, str], **changes: Any) -> Thinker:
    return Thinker(tools.client, settings(environ, **changes))


def question(**given: Any) -> Question:
    """Every field of it, its thinking and its worker can be given; `resources` are those of both."""
    left = set(given)

    def changed(made: T) -> T:
        names = {field.name for field in fields(made)}
        left.difference_update(names)
        return replace(made, **{name: given[name] for name in names & given.keys()})

    made = changed(replace(QUESTION, worker=changed(QUESTION.worker), thinking=changed(QUESTION.thinking)))
    assert not left, left
    return made


def late(think: Callable[[float], Thought], reached: Callable[[], bool]) -> Thought:
    """With the least time in which it gets so far: on a busy machine half a second is over before anybody is asked."""
    for seconds in (0.5, 2.0, 8.0, 32.0):
        thought = think(seconds)
        if reached():
            return thought
    raise AssertionError("it never got so far")


def done(thought: Thought) -> Any:
    assert isinstance(thought.outcome, Done), thought.outcome
    return thought.outcome.data


def failure(thought: Thought) -> str:
    """Its code. What it says is fit to be shown."""
    assert isinstance(thought.outcome, Failed), thought.outcome
    assert KEY not in json.dumps(thought.outcome.error.document())
    return thought.outcome.error.code


def fact(name: str, tool: str, path: str) -> Fact:
    return Fact(name, tool, path)

"""Model requests for the tests: a runner on a scripted provider, and a tool server that notes what reaches it."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from adapters.llm import LlmSettings, ModelRunner
from adapters.mcp import ToolClient
from domain.manifests.definition import Adapter, Fact, Reasoning, ToolSource, Transport, WorkerDefinition
from domain.sagas.outcome import Done, Failed
from domain.sagas.reasoning import ModelInput, ModelResult
from tests.adapters.llm.server import LlmServer
from tests.adapters.odd_server import lines

T = TypeVar("T", ModelInput, Reasoning, WorkerDefinition)
SERVER = Path(__file__).parents[1] / "mcp_servers" / "thinking.py"
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
QUESTION = ModelInput(
    WorkerDefinition("w", "default", "1", "", "mock", None, 0.0, None, None, ()),
    Reasoning("", "inline", Adapter.SIMPLE, (), (), (), SCHEMA, 10, None, keep_transcript=False, script=()),
    message="How many?",
    system="You count.",
    resources=(),
    key="fwd-1",
    meta={},
    timeout=120.0,
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
        """The calls that reached a tool or a resource, with their keys."""
        return lines(self._called)

    def forget(self) -> None:
        self._called.write_text("")


class Desk:
    """One model runner on one scripted server."""

    def __init__(self, server: LlmServer, tools: Tools, runner: ModelRunner) -> None:
        self.server = server
        self.tools = tools
        self.runner = runner

    def ask_model(self, provider: str, **given: Any) -> ModelResult:
        return self.runner.ask_model(self.question(provider, **given)).result(120)

    def react(self, provider: str, *tools: str, **given: Any) -> ModelResult:
        return self.ask_model(provider, adapter=Adapter.REACT, tools=tools, **given)

    def question(self, provider: str, **given: Any) -> ModelInput:
        """By default a simple one. Every field of the question, its thinking and its worker can be given."""
        worker = {"provider": provider, "model_name": "m-1", "temperature": 0.25, "tool_sources": (self.tools.source,)}
        return question(**(worker | given))


@contextlib.contextmanager
def desks(server: LlmServer, tools: Tools, **changes: Any) -> Iterator[Desk]:
    tools.forget()
    with server:
        yield Desk(server, tools, runner(tools, environ(server.url), **changes))


def runner(tools: Tools, environ: Mapping[str, str], **changes: Any) -> ModelRunner:
    return ModelRunner(tools.client, settings(environ, **changes))


def question(**given: Any) -> ModelInput:
    """Every field of it, its thinking and its worker can be given; `resources` are those of both."""
    left = set(given)

    def changed(made: T) -> T:
        names = {field.name for field in fields(made)}
        left.difference_update(names)
        return replace(made, **{name: given[name] for name in names & given.keys()})

    made = changed(replace(QUESTION, worker=changed(QUESTION.worker), reasoning=changed(QUESTION.reasoning)))
    assert not left, left
    return made


def late(ask_model: Callable[[float], ModelResult], reached: Callable[[], bool]) -> ModelResult:
    """With the least time in which it gets so far: on a busy machine half a second is over before anybody is asked."""
    for seconds in (0.5, 2.0, 8.0, 32.0):
        result = ask_model(seconds)
        if reached():
            return result
    raise AssertionError("it never got so far")


def done(result: ModelResult) -> Any:
    assert isinstance(result.outcome, Done), result.outcome
    return result.outcome.data


def failure(result: ModelResult) -> str:
    """Return the failure's code. Its document is fit to be shown."""
    assert isinstance(result.outcome, Failed), result.outcome
    assert KEY not in json.dumps(result.outcome.error.document())
    return result.outcome.error.code


def fact(name: str, tool: str, path: str) -> Fact:
    return Fact(name, tool, path)

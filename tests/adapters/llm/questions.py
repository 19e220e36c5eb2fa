"""Questions for a `ModelRunner`, short enough for tests."""

from collections.abc import Mapping, Sequence
from typing import Any

from adapters.llm import LlmSettings
from domain.manifests.definition import Adapter, Fact, MockTurn, Reasoning, ToolSource, WorkerDefinition
from domain.sagas.reasoning import ModelInput

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "note": {"type": "string"}},
    "required": ["n"],
    "additionalProperties": False,
}


def question(
    *script: MockTurn,
    adapter: Adapter = Adapter.REACT,
    tools: Sequence[str] = (),
    sources: Sequence[ToolSource] = (),
    resources: Sequence[str] = (),
    facts: Sequence[Fact] = (),
    schema: Mapping[str, Any] = SCHEMA,
    turns: int = 10,
    tokens: int | None = None,
    keep_transcript: bool = False,
    provider: str | None = "mock",
    model: str | None = None,
    timeout: float = 60.0,
    again: bool = False,
) -> ModelInput:
    worker = WorkerDefinition("w", "default", "1", "", provider, model, 0.0, None, None, tuple(sources))
    reasoning = Reasoning(
        prompt="",
        prompt_ref="inline",
        adapter=adapter,
        tools=tuple(tools),
        resources=tuple(resources),
        facts=tuple(facts),
        output_schema=schema,
        max_turns=turns,
        max_step_tokens=tokens,
        keep_transcript=keep_transcript,
        script=tuple(script),
    )
    meta = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    return ModelInput(worker, reasoning, "What is n?", "Be brief.", tuple(resources), "fwd-1-2", meta, timeout, again)


def settings(**environ: str) -> LlmSettings:
    return LlmSettings(True, 3, 0.01, 0.05, environ)


def call(tool: str, **arguments: Any) -> MockTurn:
    return MockTurn(tool, arguments)


def submit(after: float = 0.0, **answer: Any) -> MockTurn:
    return MockTurn(None, answer, after)

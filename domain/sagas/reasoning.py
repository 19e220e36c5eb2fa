"""What a model is asked, and what came of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from domain.manifests.definition import Reasoning, ToolSource, WorkerDefinition
from domain.sagas.outcome import Outcome


@dataclass(frozen=True, slots=True)
class ModelInput:
    """
    Attributes:
        message: the rendered prompt; on a re-run with the previous answer and what the reviewer said of it.
        system: what stands above it, None for nothing.
        resources: URIs and URI patterns that may be read, with the step's arguments put in.
        key: the idempotency key of the step; that of its tool calls is this with their number.
        meta: goes along with each tool call (`traceparent`, …).
        timeout: seconds, for all of it.
        again: it was asked before, and nobody knows which tools that called.
        heard: told how far a tool call has come, of how much, and in words.
        ours: False once another worker may have taken the step over: then nothing that changes something is called.
    """

    worker: WorkerDefinition
    reasoning: Reasoning
    message: str
    system: str | None
    resources: tuple[str, ...]
    key: str
    meta: Mapping[str, str]
    timeout: float
    again: bool
    ours: Callable[[], bool] = lambda: True
    heard: Callable[[float, float | None, str | None], None] = lambda done, total, message: None

    @property
    def sources(self) -> tuple[ToolSource, ...]:
        """Where tools and resources may be found, in their order."""
        return self.worker.tool_sources


@dataclass(frozen=True, slots=True)
class ToolUse:
    """One tool call of a model.

    Attributes:
        arguments_digest: SHA-256 of their canonical form, in hex.
        outcome: ok, failed (the tool says so, or its answer is of no use), unavailable (not sent), lost (nobody knows),
            not_allowed.
    """

    name: str
    arguments_digest: str
    ms: float
    outcome: str


@dataclass(frozen=True, slots=True)
class RunReport:
    """How an answer came about, also where none did.

    Attributes:
        mock: no model was asked: a script, or an example of the schema.
        acted: a tool that does not say of itself that it only reads was called: it may have changed something.
        harmless: every tool it may call says that it only reads, so that no execution can have changed anything. False
            also where the tools were not found.
        setup_ms: to find the tools. llm_ms: waiting for the model, with retries and their pauses. tool_ms: in tools.
        requests: to the model that were answered.
        transcript: every message, as JSON values that the reviewer may read; empty unless the manifest wants it kept.
    """

    provider: str
    model: str | None
    mock: bool
    acted: bool = False
    harmless: bool = False
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    setup_ms: float = 0.0
    llm_ms: float = 0.0
    tool_ms: float = 0.0
    tool_uses: tuple[ToolUse, ...] = ()
    transcript: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelResult:
    """
    Attributes:
        outcome: `Done` has the answer, checked by the schema; `Failed`, `TimedOut` and `Lost` say with `acted`, or by
            being `Lost`, whether a tool may have changed something.
        facts: taken out of the tools' own answers; empty unless done.
    """

    outcome: Outcome
    report: RunReport
    facts: Mapping[str, Any] = field(default_factory=dict)

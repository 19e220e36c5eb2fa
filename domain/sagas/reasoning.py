"""The input of a model request, and its result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from domain.manifests.definition import Reasoning, WorkerDefinition
from domain.sagas.outcome import Outcome


@dataclass(frozen=True, slots=True)
class ModelInput:
    """
    Attributes:
        worker: its tool sources are searched for tools and resources, in their order.
        message: the rendered prompt; on a re-run with the previous answer and what the reviewer said of it.
        system: the system prompt, or None.
        resources: URIs and URI patterns that may be read, with the step's arguments put in.
        key: the idempotency key of the step. Each tool call adds its number to it.
        meta: sent with each tool call (`traceparent`, …).
        timeout: seconds in all.
        again: an earlier request may have called tools, with an unknown outcome.
        heard: receives the progress of a tool call, its total, and a message.
        ours: False once another worker may have taken over the step. Tools that may act are then not called.
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


@dataclass(frozen=True, slots=True)
class ToolUse:
    """One tool call of a model.

    Attributes:
        arguments_digest: SHA-256 of their canonical form, in hex.
        outcome: ok, failed (the tool says so, or its answer is of no use), unavailable (not sent), lost (unknown),
            not_allowed.
    """

    name: str
    arguments_digest: str
    ms: float
    outcome: str


@dataclass(frozen=True, slots=True)
class RunReport:
    """The course of a model request, with or without an answer.

    Attributes:
        mock: the answer is a script's, or an example of the schema.
        acted: a tool was called that may have changed something, as it does not say that it only reads.
        harmless: every allowed tool says that it only reads, so no execution can have changed anything. False if the
            tools were not found.
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
        outcome: `Done` has the answer, which fits the schema. `acted` of `Failed` and `TimedOut` says whether a tool
            may have changed something. `Lost` means that it may.
        facts: from the tools' own answers; empty unless done.
    """

    outcome: Outcome
    report: RunReport
    facts: Mapping[str, Any] = field(default_factory=dict)

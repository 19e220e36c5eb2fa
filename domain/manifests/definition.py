"""The content of a deployed manifest, parsed and checked. It is frozen, so that a running saga's rules never change."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from domain.pauses.pause import OnTimeout


class StepKind(StrEnum):
    """The kind of a step: a reason step runs a model, a commit step makes one tool call."""

    REASON = "reason"
    COMMIT = "commit"


class Transport(StrEnum):
    STREAMABLE_HTTP = "streamable_http"
    SSE = "sse"
    STDIO = "stdio"


@dataclass(frozen=True, slots=True)
class ToolSource:
    """An MCP server. The worker replaces `${ENV:NAME}` in its texts when a step runs.

    Attributes:
        env_inherit: names of the worker's environment variables that a stdio server also gets.
        scoped: an admin of only some namespaces deployed it, so the operator's lists limit its use of the machine.
    """

    name: str
    transport: Transport
    url: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    command: str | None = None
    args: tuple[str, ...] = ()
    cwd: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    env_inherit: tuple[str, ...] = ()
    scoped: bool = False


@dataclass(frozen=True, slots=True)
class WorkerDefinition:
    name: str
    namespace: str
    version: str
    description: str
    provider: str | None
    model_name: str | None
    temperature: float
    system_prompt: str | None
    compensation_prompt: str | None
    tool_sources: tuple[ToolSource, ...]
    # Places of a stored manifest that this version does not understand. Such a manifest is shown but not run.
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Binding:
    """A value, or its place in the saga's context when the step is scheduled.

    Attributes:
        path: a JSONPath, or None for a fixed `value`.
        required: null fails the step before it acts. None means that the tool's schema decides.
    """

    path: str | None = None
    value: Any = None
    required: bool | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """A CEL expression that must be true."""

    name: str
    cel: str


class Adapter(StrEnum):
    """The way a model runs: react calls tools in a loop until it submits; simple gives one answer without tools."""

    REACT = "react"
    SIMPLE = "simple"


@dataclass(frozen=True, slots=True)
class Fact:
    """A value from the tool's last answer at a JSONPath, not from the model's account of it.

    Attributes:
        group: the common name of several facts of one tool. They are omitted if the tool was not called.
    """

    name: str
    tool: str
    path: str
    group: str | None = None


@dataclass(frozen=True, slots=True)
class MockTurn:
    """One answer of the mock: a call of `tool` with the arguments, or without a tool, these as its submission.

    Attributes:
        after: seconds before the answer.
    """

    tool: str | None
    arguments: Mapping[str, Any]
    after: float = 0.0


@dataclass(frozen=True, slots=True)
class Reasoning:
    """The fields of a reason step only.

    Attributes:
        output_schema: the schema of the submitted object.
        script: the mock provider's answers, turn by turn. If empty, the mock generates an example of the schema.
    """

    prompt: str
    prompt_ref: str
    adapter: Adapter
    tools: tuple[str, ...]
    resources: tuple[str, ...]
    facts: tuple[Fact, ...]
    output_schema: Mapping[str, Any]
    max_turns: int
    max_step_tokens: int | None
    keep_transcript: bool
    script: tuple[MockTurn, ...]


@dataclass(frozen=True, slots=True)
class Compensation:
    """The undo of a step: a call of its one tool, or a model that may call several.

    Attributes:
        timeout_seconds: the limit for one execution.
        tool: the one tool, or None for a model.
        reasoning: the model's fields, or None for one tool.
    """

    worker: str
    worker_version: str
    bindings: Mapping[str, Binding]
    tools: tuple[str, ...]
    timeout_seconds: float
    tool: str | None = None
    reasoning: Reasoning | None = None


@dataclass(frozen=True, slots=True)
class StepDefinition:
    """
    Attributes:
        when: a CEL expression; false skips the step.
        hitl_max_retries: the number of runs that reviewers may request again; None means no limit.
        review: the approval policy of the held step, as in a pause.
        hitl_timeout_seconds: the time until the held step expires; None means never.
        timeout_seconds: the limit for one execution.
        tool: the tool of a commit step.
        idempotent: a call may be repeated when its outcome is unknown; None means that the tool's annotation decides.
        reasoning: the fields of a reason step.
    """

    id: str
    name: str
    kind: StepKind
    worker: str
    worker_version: str
    bindings: Mapping[str, Binding]
    when: str | None
    policy: Policy | None
    hitl: bool
    hitl_max_retries: int | None
    hitl_retry_guidance: str | None
    review: Mapping[str, Any] | None
    hitl_timeout_seconds: float | None
    hitl_on_timeout: OnTimeout
    undo: Compensation | None
    timeout_seconds: float
    tool: str | None = None
    idempotent: bool | None = None
    reasoning: Reasoning | None = None


@dataclass(frozen=True, slots=True)
class SagaDefinition:
    """
    Attributes:
        input_schema: the schema of the saga's input; None allows any object.
    """

    name: str
    namespace: str
    version: str
    description: str
    steps: tuple[StepDefinition, ...]
    input_schema: Mapping[str, Any] | None = None
    unreadable: tuple[str, ...] = ()

    def step(self, id_: str) -> StepDefinition:
        return next(step for step in self.steps if step.id == id_)

    @property
    def undoable(self) -> frozenset[str]:
        """The ids of the steps that have a compensation."""
        return frozenset(step.id for step in self.steps if step.undo is not None)


class DefinitionGone(LookupError):
    """The definition no longer exists. Operators read the message."""

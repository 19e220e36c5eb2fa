"""What a deployed manifest says, once it is parsed and checked: frozen, so that a running saga's rules never change."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from domain.pauses.pause import OnTimeout


class StepKind(StrEnum):
    """reason: a model thinks. commit: one tool call acts."""

    REASON = "reason"
    COMMIT = "commit"


class Transport(StrEnum):
    STREAMABLE_HTTP = "streamable_http"
    SSE = "sse"
    STDIO = "stdio"


@dataclass(frozen=True, slots=True)
class ToolSource:
    """An MCP server. `${ENV:NAME}` in its texts is replaced in the worker, when a step runs.

    Attributes:
        env_inherit: names of the worker's environment variables that a stdio server gets too.
        scoped: deployed by an admin of some namespaces only, who may use of the machine what the operator names.
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
    # Places of a stored manifest that this version does not understand: it is shown, but not run.
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Binding:
    """A value, or where in the saga's context it is taken from when the step is scheduled.

    Attributes:
        path: a JSONPath; None when `value` is meant.
        required: null there fails the step before it acts; None leaves it to what the tool's schema requires.
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
    """react: a loop of tool calls that ends with its submission. simple: one structured answer, no tools."""

    REACT = "react"
    SIMPLE = "simple"


@dataclass(frozen=True, slots=True)
class Fact:
    """Taken by a JSONPath out of what the tool answered last, not out of what the model says about it.

    Attributes:
        group: the name that several facts of one tool stand under. They are left out where the tool was not called.
    """

    name: str
    tool: str
    path: str
    group: str | None = None


@dataclass(frozen=True, slots=True)
class MockTurn:
    """What the mock answers once: a call of `tool` with the arguments, or (no tool) these as its submission.

    Attributes:
        after: it takes so long. Seconds.
    """

    tool: str | None
    arguments: Mapping[str, Any]
    after: float = 0.0


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What only a reason step has.

    Attributes:
        output_schema: of an object.
        script: what the mock provider answers, turn by turn; empty has it make an example of the schema up.
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
    """How a step is undone: by a call of its one tool, or by a model that may call several.

    Attributes:
        timeout_seconds: of one execution.
        tool: the one. thinking: of the model.
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
        when: CEL; false skips the step.
        hitl_max_retries: how often a reviewer may ask for a re-run; None is without limit.
        review: the review policy of its hold, as in a pause.
        hitl_timeout_seconds: after which the hold expires; None is never.
        timeout_seconds: of one execution.
        tool: of a commit step.
        idempotent: whether a call may be repeated when its outcome is unknown; None leaves it to the tool's own hint.
        thinking: of a reason step.
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
        input_schema: what the input must fit at the start; None takes any object.
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
        """Ids of the steps that have a compensation."""
        return frozenset(step.id for step in self.steps if step.undo is not None)


class DefinitionGone(LookupError):
    """There is no such definition any more. Its words are for operators."""

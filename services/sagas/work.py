"""What a worker does outside of transactions for a step: one tool call, one question to a model, or a look at a tool
that is to be called."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from domain.manifests.definition import Reasoning, ToolSource, WorkerDefinition
from services.kernel.leases import Lease


@dataclass(frozen=True, slots=True)
class Execution:
    """Which one a worker is at, for whoever watches. `attempt`: 1 for the first; each is begun once."""

    saga: str
    version: str
    namespace: str
    step: str
    undoes: bool
    attempt: int


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One tool call to make.

    Attributes:
        sources: where the tool may be found, in their order.
        may_be_null: arguments whose null the manifest wants: the tool is called with them.
        idempotent: whether the manifest says that it may be repeated; None leaves it to the tool's own hint.
        again: an earlier call may have reached the tool: only if it is idempotent may this one be made.
        timeout: seconds.
        queue_ms: from when the saga was due until a worker took it; 0 where the worker was at it already.
    """

    lease: Lease
    span_id: int
    sources: tuple[ToolSource, ...]
    tool: str
    arguments: dict[str, Any]
    idempotency_key: str
    timeout: float
    idempotent: bool | None
    again: bool
    queue_ms: float
    execution: Execution
    may_be_null: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One question to a model.

    Attributes:
        system: stands above the question. undoes: what is asked is to undo a step.
        previous: its answer before, where a reviewer wants another one. guidance: what the reviewer said of it.
        again: it was asked before, and nobody knows which tools that called.
        timeout: seconds. queue_ms: as in `ToolCall`.
    """

    lease: Lease
    span_id: int
    worker: WorkerDefinition
    system: str | None
    undoes: bool
    reasoning: Reasoning
    arguments: dict[str, Any]
    previous: dict[str, Any] | None
    guidance: str | None
    idempotency_key: str
    timeout: float
    again: bool
    queue_ms: float
    execution: Execution


@dataclass(frozen=True, slots=True)
class ToolLookup:
    """Look up what a tool wants to be called with, before its call is held. Nothing is called."""

    lease: Lease
    span_id: int
    sources: tuple[ToolSource, ...]
    tool: str
    timeout: float
    queue_ms: float
    execution: Execution

    @property
    def idempotency_key(self) -> str:
        """For the log alone."""
        return f"look-up-{self.lease.id.hex}"


Work = ToolCall | ModelRequest | ToolLookup

# By its namespace: whether a worker has room for one more.
MayTake = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Capacity:
    """Asked when a saga comes to such work. Without room for it the saga is left to others, or to later."""

    for_call: MayTake = lambda _: True
    for_thought: MayTake = lambda _: True


ROOM_FOR_ALL = Capacity()

"""The work of a worker outside of transactions: a tool call, a model request, or a tool look-up."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from domain.manifests.definition import Reasoning, ToolSource, WorkerDefinition
from services.kernel.leases import Lease


@dataclass(frozen=True, slots=True)
class Execution:
    """The execution of a step, as traces and logs name it. `attempt`: 1 for the first; each is begun once."""

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
        sources: the tool sources to search, in this order.
        may_be_null: required arguments that the manifest allows to be null.
        idempotent: whether the manifest allows a repeated call; None leaves that to the tool's own hint.
        again: an earlier call may have reached the tool. This one is made only if it is idempotent.
        timeout: seconds.
        queue_ms: from the saga's due time until a worker claimed it; 0 if the worker had it already.
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
    """One request to a model.

    Attributes:
        system: the system prompt.
        undoes: the request is to undo a step.
        previous: the model's earlier answer, if a reviewer wants another one.
        guidance: the reviewer's comment on that answer.
        again: an earlier request may have called tools, with an unknown outcome.
        timeout: seconds.
        queue_ms: as in `ToolCall`.
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
    """One look-up of a tool's arguments, before its call is held. Nothing is called."""

    lease: Lease
    span_id: int
    sources: tuple[ToolSource, ...]
    tool: str
    timeout: float
    queue_ms: float
    execution: Execution

    @property
    def idempotency_key(self) -> str:
        """The name of the work in the log."""
        return f"look-up-{self.lease.id.hex}"


Work = ToolCall | ModelRequest | ToolLookup


@dataclass(frozen=True, slots=True)
class Capacity:
    """The room of a worker for the next work of a saga. Without room, the saga is left for later or for others.

    Attributes:
        for_call: whether it has room for one more call, of this namespace and of these tool servers.
        for_thought: whether it has room for one more model request of this namespace.
    """

    for_call: Callable[[str, str], bool] = lambda *_: True
    for_thought: Callable[[str], bool] = lambda _: True


ROOM_FOR_ALL = Capacity()

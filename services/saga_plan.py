"""What the turn of a step means, by its manifest: skip it, refuse it, hold it, or call its tool."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from domain import bindings, json_value, policy, review
from domain import step as steps
from domain.compensation import undo_facts
from domain.definition import SagaDefinition, StepDefinition, ToolSource, Undo, WorkerDefinition
from domain.outcome import CALLS_AGAIN
from domain.pause import STEP, Pause, Status
from domain.saga import Saga, context
from domain.saga_document import idempotency_key, span_text
from domain.step import Error, Step, StepStatus
from services import due
from services.definitions import load_saga, load_worker
from services.pauses import find_pause, store_pause
from services.saga_rows import Stored
from services.transaction import Store, Tx

# Of an action's text, as of every pause's.
MAX_ACTION = 500


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call to make.

    Attributes:
        sources: where the tool may be found, in their order.
        idempotent: whether the manifest says that it may be repeated; None leaves it to the tool's own hint.
        again: an earlier call may have reached the tool: only if it is idempotent may this one be made.
        timeout: seconds.
    """

    lease: due.Lease
    span_id: int
    sources: tuple[ToolSource, ...]
    tool: str
    arguments: dict[str, Any]
    idempotency_key: str
    timeout: float
    idempotent: bool | None
    again: bool


class Plan:
    """The rules of one saga's manifest, within one transaction."""

    def __init__(self, store: Store, tx: Tx, stored: Stored) -> None:
        self._store, self._tx, self._stored = store, tx, stored
        self.definition: SagaDefinition = load_saga(tx.conn, stored.definition_id)

    def next_command(self, saga: Saga, step: Step) -> steps.Command | None:
        """What happens to the step whose turn it is; None: somebody has to decide first."""
        if step.status is StepStatus.IN_PROGRESS:
            return self._go_on_after_a_break(step)
        if step.compensates is not None:
            return self._begin_undo(saga, step)
        if step.status is StepStatus.AWAITING_HUMAN:
            return self._decided(saga, step)
        return self._schedule(saga, step)

    def call(self, saga: Saga, step: Step, lease: due.Lease, *, again: bool) -> Call:
        declared = self.definition.step(step.id)
        user = declared if step.compensates is None else self._undo(step)
        tool = user.tools[0] if isinstance(user, Undo) else user.tool
        assert tool is not None, "only commit steps call"
        return Call(
            lease=lease,
            span_id=step.span_id,
            sources=self._worker(user).tool_sources,
            tool=tool,
            arguments=step.arguments or {},
            idempotency_key=idempotency_key(saga, step),
            timeout=user.timeout_seconds,
            idempotent=self._idempotent(step),
            again=again,
        )

    def _schedule(self, saga: Saga, step: Step) -> steps.Command:
        declared = self.definition.step(step.id)
        seen = self._seen(saga, step)
        if declared.when is not None:
            try:
                if not policy.judge(declared.when, seen):
                    return steps.Skip()
            except policy.EvaluationFailed as error:
                return steps.Fail(Error("WHEN_EVALUATION_FAILED", str(error)))
        arguments = bindings.resolve(declared.bindings, context(saga))
        refused = _too_large(arguments) or self._refused(declared, seen, arguments)
        if refused is not None:
            return steps.Fail(refused)
        digest = json_value.digest(arguments)
        if declared.hitl:
            return steps.Hold(self._hold(saga, step, arguments, digest), arguments, digest)
        return steps.Begin(arguments, digest)

    def _refused(self, declared: StepDefinition, seen: Mapping[str, Any], arguments: dict[str, Any]) -> Error | None:
        """A policy that says no, or cannot say, fails the step: it never becomes a hold."""
        if declared.policy is None:
            return None
        worker = {"name": declared.worker, "version": declared.worker_version}
        more = {"phase": "before_commit", "arguments": arguments, "output": None, "worker": worker}
        try:
            allowed = policy.judge(declared.policy.cel, {**seen, **more, "tool": declared.tool})
        except policy.EvaluationFailed as error:
            return Error("POLICY_EVALUATION_FAILED", f"policy {declared.policy.name!r}: {error}")
        return None if allowed else Error("POLICY_COMMIT_DENIED", f"policy {declared.policy.name!r} says no")

    def _hold(self, saga: Saga, step: Step, arguments: dict[str, Any], digest: bytes) -> UUID:
        declared = self.definition.step(step.id)
        seconds = declared.hitl_timeout_seconds
        pause = Pause(
            id=self._tx.new_id(),
            namespace=saga.namespace,
            action=f"{self.definition.name}: {declared.name}"[:MAX_ACTION],
            created_by=self._stored.created_by,
            created_at=self._tx.now,
            expires_at=None if seconds is None else self._tx.now + timedelta(seconds=seconds),
            kind=STEP,
            context={
                "saga": {"name": self.definition.name, "version": self.definition.version},
                "trace_id": saga.trace_id.hex,
                "step_span_id": span_text(step.span_id),
                "step_id": step.id,
                "step_kind": str(declared.kind),
                "tool": declared.tool,
                "worker": f"{declared.worker}@{declared.worker_version}",
            },
            arguments=arguments,
            arguments_digest=digest,
            on_timeout=declared.hitl_on_timeout,
            review=review.parse(declared.review),
        )
        store_pause(self._store, self._tx, pause)
        return pause.id

    def _decided(self, saga: Saga, step: Step) -> steps.Command | None:
        assert step.watch_id is not None, "the table says so"
        pause = find_pause(self._tx, step.watch_id)
        if pause.decision is None:
            return None
        if pause.status is not Status.APPROVED:
            return steps.Fail(_not_approved(pause))
        approved = pause.arguments or {}
        digest = json_value.digest(approved)
        if digest != pause.arguments_digest:
            return steps.Fail(_CHANGED)
        if digest != step.arguments_digest:
            # A reviewer may change what is called, not what may be called.
            refused = self._refused(self.definition.step(step.id), self._seen(saga, step), approved)
            if refused is not None:
                return steps.Fail(refused)
        return steps.Begin(approved, digest)

    def _begin_undo(self, saga: Saga, step: Step) -> steps.Command:
        forward = saga.undone_by(step)
        spans = span_text(step.span_id), span_text(forward.span_id)
        facts = undo_facts(*spans, forward, idempotency_key(saga, step))
        seen = {**context(saga), "_compensation": facts}
        arguments = bindings.resolve(self._undo(step).bindings, seen)
        if (error := _too_large(arguments)) is not None:
            return steps.Fail(error)
        return steps.Begin(arguments, json_value.digest(arguments))

    def _go_on_after_a_break(self, step: Step) -> steps.Command:
        """A worker ended in the middle of it, or it was postponed."""
        if json_value.digest(step.arguments or {}) != step.arguments_digest:
            return steps.LoseTrack(_CHANGED.message) if step.call_began else steps.Fail(_CHANGED)
        if not step.call_began or step.may_repeat:
            return steps.Repeat()
        if self._idempotent(step) is False or step.attempt >= CALLS_AGAIN:
            return steps.LoseTrack("the worker ended before the tool's answer was recorded")
        return steps.Repeat()

    def _idempotent(self, step: Step) -> bool | None:
        """Of an undo only the tool itself can say."""
        return self.definition.step(step.id).idempotent if step.compensates is None else None

    def _seen(self, saga: Saga, step: Step) -> dict[str, Any]:
        declared = self.definition.step(step.id)
        return {
            **context(saga),
            "saga": {
                "trace_id": saga.trace_id.hex,
                "namespace": saga.namespace,
                "name": self.definition.name,
                "version": self.definition.version,
            },
            "step": {"id": step.id, "name": declared.name, "kind": str(declared.kind), "attempt": step.attempt},
        }

    def _undo(self, step: Step) -> Undo:
        undo = self.definition.step(step.id).undo
        assert undo is not None, "an undo is planned only where one is declared"
        return undo

    def _worker(self, user: StepDefinition | Undo) -> WorkerDefinition:
        id_ = self._stored.workers[f"{user.worker}@{user.worker_version}"]
        return load_worker(self._tx.conn, UUID(hex=id_))


_CHANGED = Error("ARGUMENTS_CHANGED", "the arguments are no longer those that were approved; nothing was called")


def _too_large(arguments: dict[str, Any]) -> Error | None:
    if json_value.size(arguments) <= json_value.MAX_BYTES:
        return None
    return Error("ARGUMENTS_TOO_LARGE", f"the arguments are larger than {json_value.MAX_BYTES // 1024} KiB")


def _not_approved(pause: Pause) -> Error:
    assert pause.decision is not None
    by, comment = pause.decision.by.name, pause.decision.comment
    given = pause.decision.response
    match pause.status:
        case Status.EXPIRED:
            return Error("HITL_EXPIRED", "nobody decided in time")
        case Status.CANCELLED:
            return Error("CANCELLED", comment or f"taken back by {by}")
    return Error("HUMAN_REJECTED", comment or f"rejected by {by}", given)

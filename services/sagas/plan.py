"""The next command of a step by its manifest: skip it, refuse it, hold it, call its tool, or request its model."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from domain.manifests import bindings, cel
from domain.manifests.definition import (
    Binding,
    Compensation,
    DefinitionGone,
    SagaDefinition,
    StepDefinition,
    StepKind,
    WorkerDefinition,
)
from domain.sagas import step as steps
from domain.sagas import tool_schema
from domain.sagas.compensation import undo_facts
from domain.sagas.outcome import CALLS_AGAIN
from domain.sagas.saga import Saga, context
from domain.sagas.serialization import idempotency_key, span_text
from domain.sagas.step import Error, Step, StepStatus
from domain.values import canonical_json
from services.kernel.leases import Lease
from services.kernel.unit_of_work import Database, UnitOfWork
from services.manifests.definitions import load_saga, load_worker
from services.sagas.holds import CHANGED, decision, hold
from services.sagas.repository import SagaRecord
from services.sagas.work import Execution, ModelRequest, ToolCall, ToolLookup, Work

# Characters of a model's text in an error, as of a tool's.
MAX_SUMMARY = 2_000
# Bytes of arguments in an error.
MAX_TOLD = 16 * 1024
# Seconds for a server to list its tools.
MAX_LOOK_UP = 60.0


class ToolLookupNeeded:
    """The tool of a step that is to be held has to be looked up first (`Plan.looked_up`)."""


class Plan:
    """The rules of one saga's manifest, within one transaction."""

    def __init__(self, database: Database, uow: UnitOfWork, record: SagaRecord) -> None:
        self._database, self._uow, self._stored = database, uow, record
        self.definition: SagaDefinition = load_saga(uow.conn, record.definition_id)
        # The argument schemas of tools that were looked up, by span.
        self._tools: dict[int, Mapping[str, Any]] = {}

    def next_command(self, saga: Saga, step: Step) -> steps.Command | ToolLookupNeeded | None:
        """Return the next command of the current step; None: it waits for a decision."""
        if step.status is StepStatus.IN_PROGRESS:
            return self._go_on_after_a_break(saga, step)
        if step.compensates is not None:
            return self._begin_undo(saga, step)
        if step.status is StepStatus.AWAITING_HUMAN:
            return self._decided(saga, step)
        return self._schedule(saga, step)

    def work(self, saga: Saga, step: Step, lease: Lease, *, again: bool, queue_ms: float) -> Work:
        user = self._user(step)
        worker, key = self._worker(user), idempotency_key(saga, step)
        arguments, timeout, execution = step.arguments or {}, user.timeout_seconds, self._execution(saga, step)
        if user.reasoning is not None:
            undoes = step.compensates is not None
            return ModelRequest(
                lease=lease,
                span_id=step.span_id,
                worker=worker,
                system=worker.compensation_prompt if undoes else worker.system_prompt,
                undoes=undoes,
                reasoning=user.reasoning,
                arguments=arguments,
                previous=None if undoes else step.proposal,
                guidance=step.guidance,
                # Each execution has its own key, as a model's n-th call differs from one execution to the next.
                idempotency_key=f"{key}-{step.attempt}",
                timeout=timeout,
                again=again,
                queue_ms=queue_ms,
                execution=execution,
            )
        assert user.tool is not None, "a step without a model calls a tool"
        return ToolCall(
            lease=lease,
            span_id=step.span_id,
            sources=worker.tool_sources,
            tool=user.tool,
            arguments=arguments,
            may_be_null=_may_be_null(user.bindings),
            idempotency_key=key,
            timeout=timeout,
            idempotent=self._idempotent(step),
            again=again,
            queue_ms=queue_ms,
            execution=execution,
        )

    def look_up(self, saga: Saga, step: Step, lease: Lease, queue_ms: float) -> ToolLookup:
        declared = self.definition.step(step.id)
        assert declared.tool is not None, "a reason step is held with its output's schema"
        sources = self._worker(declared).tool_sources
        timeout = min(declared.timeout_seconds, MAX_LOOK_UP)
        return ToolLookup(lease, step.span_id, sources, declared.tool, timeout, queue_ms, self._execution(saga, step))

    def looked_up(self, step: Step, schema: Mapping[str, Any]) -> None:
        """Note the schema of the tool's arguments. `next_command` then holds the step with it."""
        self._tools[step.span_id] = schema

    def edit_refused(self, saga: Saga, step: Step, subject: dict[str, Any]) -> Error | None:
        """Return the objection of the step's policy to a reviewer's edit."""
        reasons = self.definition.step(step.id).kind is StepKind.REASON
        return self._refused(saga, step, *((step.arguments or {}, subject) if reasons else (subject, None)))

    def _execution(self, saga: Saga, step: Step) -> Execution:
        of = self.definition
        return Execution(of.name, of.version, saga.namespace, step.id, step.compensates is not None, step.attempt)

    def answered(self, saga: Saga, step: Step, answer: dict[str, Any], *, acted: bool) -> steps.Command:
        """Return the command for the model's answer, which fits its schema."""
        if step.compensates is not None:
            failed = Error("UNDO_NOT_DONE", str(answer["summary"])[:MAX_SUMMARY])
            return steps.Succeed(answer) if answer["undone"] else steps.Fail(failed, acted=acted)
        refused = self._refused(saga, step, step.arguments or {}, answer)
        if refused is not None:
            return steps.Fail(refused, acted=acted)
        if not self.definition.step(step.id).hitl:
            return steps.Succeed(answer)
        if saga.cancelled is not None:
            # A cancelled saga needs no review.
            return steps.Fail(Error("CANCELLED", saga.cancelled), acted=acted)
        reasoning = self.definition.step(step.id).reasoning
        assert reasoning is not None, "only a model answers"
        return steps.HoldAnswer(self._hold(saga, step, answer, (dict(reasoning.output_schema), None)), acted)

    def reasons(self, step: Step) -> bool:
        return self._user(step).reasoning is not None

    def tries(self, step: Step) -> int:
        """Return the number of executions, without the one of each requested re-run of a reason step."""
        return step.attempt - step.retries if self.reasons(step) else step.attempt

    def _schedule(self, saga: Saga, step: Step) -> steps.Command | ToolLookupNeeded:
        declared = self.definition.step(step.id)
        if declared.when is not None:
            try:
                if not cel.judge(declared.when, self._seen(saga, step)):
                    return steps.Skip()
            except cel.EvaluationFailed as error:
                return steps.Fail(Error("WHEN_EVALUATION_FAILED", str(error)))
        arguments = bindings.resolve(declared.bindings, context(saga))
        reasons = declared.kind is StepKind.REASON
        refused = _unfit(declared.bindings, arguments) or (None if reasons else self._refused(saga, step, arguments))
        if refused is not None:
            return steps.Fail(refused)
        if declared.hitl and not reasons:
            return self._held_call(saga, step, arguments)
        return steps.Begin(arguments, canonical_json.digest(arguments), self._acts(step))

    def _held_call(self, saga: Saga, step: Step, arguments: dict[str, Any]) -> steps.Command | ToolLookupNeeded:
        """Hold the call, unless it cannot be made: an impossible call needs no review."""
        schema, declared = self._tools.get(step.span_id), self.definition.step(step.id)
        if schema is None:
            return ToolLookupNeeded()
        form, unchecked = tool_schema.usable(schema, arguments)
        if form is not None:
            nulls = _may_be_null(declared.bindings)
            refused = tool_schema.domain_error(str(declared.tool), form, arguments, nulls)
            if refused is not None:
                return steps.Fail(refused)
        held = self._hold(saga, step, arguments, (form, unchecked))
        return steps.Hold(held, arguments, canonical_json.digest(arguments))

    def _refused(
        self, saga: Saga, step: Step, arguments: dict[str, Any], answer: dict[str, Any] | None = None
    ) -> Error | None:
        """Return the policy's error. A policy that denies, or cannot decide, fails the step, which is never held.

        `answer`: that of a model.
        """
        declared = self.definition.step(step.id)
        if declared.policy is None:
            return None
        reasons = declared.kind is StepKind.REASON
        more = {
            "phase": "after_reason" if reasons else "before_commit",
            "arguments": arguments,
            "output": answer,
            "worker": {"name": declared.worker, "version": declared.worker_version},
            "tool": declared.tool,
        }
        try:
            allowed = cel.judge(declared.policy.cel, {**self._seen(saga, step), **more})
        except cel.EvaluationFailed as error:
            return Error("POLICY_EVALUATION_FAILED", f"policy {declared.policy.name!r}: {error}")
        code = "POLICY_REASON_DENIED" if reasons else "POLICY_COMMIT_DENIED"
        return None if allowed else Error(code, f"policy {declared.policy.name!r} says no")

    def _hold(
        self, saga: Saga, step: Step, subject: dict[str, Any], form: tuple[dict[str, Any] | None, str | None]
    ) -> UUID:
        return hold(self._database, self._uow, self._stored, self.definition, saga, step, subject, form)

    def _decided(self, saga: Saga, step: Step) -> steps.Command | None:
        reasons = self.definition.step(step.id).kind is StepKind.REASON
        approved = decision(self._uow, step, canonical_json.digest(step.proposal) if reasons else step.arguments_digest)
        if approved is None:
            return None
        if isinstance(approved, Error):
            return steps.Fail(approved)
        if approved.edited:
            # An edit must satisfy the policy too. It was checked when it was made, unless an earlier release accepted
            # it.
            refused = self.edit_refused(saga, step, approved.subject)
            if refused is not None:
                return steps.Fail(refused)
        return steps.Succeed(approved.subject) if reasons else steps.Begin(approved.subject, approved.digest)

    def _begin_undo(self, saga: Saga, step: Step) -> steps.Command:
        forward = saga.undone_by(step)
        spans = span_text(step.span_id), span_text(forward.span_id)
        facts = undo_facts(*spans, forward, idempotency_key(saga, step))
        seen = {**context(saga), "_compensation": facts}
        undo = self._undo(step)
        # An operator's correction is used as it is.
        given = step.arguments if step.correction is not None else None
        arguments = bindings.resolve(undo.bindings, seen) if given is None else given
        error = _unfit(undo.bindings if given is None else {}, arguments)
        if error is not None:
            return steps.Fail(error)
        if undo.reasoning is not None:
            arguments = {**arguments, "_compensation": facts}
        return steps.Begin(arguments, canonical_json.digest(arguments))

    def _go_on_after_a_break(self, saga: Saga, step: Step) -> steps.Command:
        """Return the command for an execution that was postponed, or whose worker ended during it."""
        if step.compensates is None and self.reasons(step) and saga.cancelled is not None:
            # A cancelled saga needs no answer from a model.
            return steps.Fail(Error("CANCELLED", saga.cancelled), acted=self._acts(step))
        if canonical_json.digest(step.arguments or {}) != step.arguments_digest:
            return steps.MarkOutcomeUnknown(CHANGED.message) if step.call.may_have_acted else steps.Fail(CHANGED)
        again = steps.Repeat(self._acts(step))
        if step.call.requeued or not (step.call.unanswered or self.reasons(step)):
            return again
        if self._idempotent(step) is False or self.tries(step) >= CALLS_AGAIN:
            return steps.MarkOutcomeUnknown("the worker ended before the answer was recorded")
        return again

    def _acts(self, step: Step) -> bool:
        """Whether the execution may change something: a model can only by tools."""
        reasoning = self._user(step).reasoning
        return reasoning is None or bool(reasoning.tools)

    def _idempotent(self, step: Step) -> bool | None:
        """Whether the manifest allows a repeated call. For an undo, only the tool itself can say."""
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
                "status": str(saga.status),
            },
            "step": {
                "id": step.id,
                "name": declared.name,
                "kind": str(declared.kind),
                "order_index": step.order,
                "attempt": step.attempt,
            },
        }

    def _user(self, step: Step) -> StepDefinition | Compensation:
        return self.definition.step(step.id) if step.compensates is None else self._undo(step)

    def _undo(self, step: Step) -> Compensation:
        undo = self.definition.step(step.id).undo
        assert undo is not None, "an undo is planned only where one is declared"
        return undo

    def _worker(self, user: StepDefinition | Compensation) -> WorkerDefinition:
        name = f"{user.worker}@{user.worker_version}"
        id_ = self._stored.workers.get(name)
        if id_ is None:
            raise DefinitionGone(f"the saga has no worker {name}")
        return load_worker(self._uow.conn, UUID(hex=id_))


def _unfit(declared: Mapping[str, Binding], arguments: Mapping[str, Any]) -> Error | None:
    """Return the error of arguments that cannot be used."""
    missing = bindings.missing(declared, arguments)
    if missing is not None:
        # The resolved arguments, for the person who corrects them.
        found = {"arguments": dict(arguments)} if canonical_json.size(arguments) <= MAX_TOLD else None
        return Error("ARGUMENT_MISSING", f"{missing.path} {missing.message}: nothing was called", found)
    return _too_large(arguments)


def _too_large(arguments: Mapping[str, Any]) -> Error | None:
    if canonical_json.size(arguments) <= canonical_json.MAX_BYTES:
        return None
    return Error("ARGUMENTS_TOO_LARGE", f"the arguments are larger than {canonical_json.MAX_BYTES // 1024} KiB")


def _may_be_null(bindings_: Mapping[str, Binding]) -> frozenset[str]:
    """Return the arguments that may be null by the manifest."""
    return frozenset(name for name, of in bindings_.items() if of.path is None or of.required is False)

"""The next command of a step by its manifest: skip it, refuse it, hold it, call its tool, or request its model."""

import shlex
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
from services.manifests.definitions import load_worker
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
    """The tool of a step that is to be held has to be looked up first. Its schema is then given to `next_command`."""


class StepPlan:
    """The rules of the manifest for one step or undo in its present state, within one transaction.

    Attributes:
        reasons: it requests a model.
    """

    def __init__(
        self,
        database: Database,
        uow: UnitOfWork,
        record: SagaRecord,
        definition: SagaDefinition,
        saga: Saga,
        step: Step,
    ) -> None:
        self._database, self._uow, self._record = database, uow, record
        self._definition, self._saga, self._step = definition, saga, step
        self._declared = definition.step(step.id)
        self._runs: StepDefinition | Compensation = self._declared
        if step.compensates is not None:
            assert self._declared.undo is not None, "an undo is planned only where one is declared"
            self._runs = self._declared.undo
        self.reasons = self._runs.reasoning is not None

    @property
    def tries(self) -> int:
        """The number of executions, without the one of each requested re-run of a reason step."""
        return self._step.attempt - self._step.retries if self.reasons else self._step.attempt

    @property
    def tool_servers(self) -> str:
        """The servers that the step's tool is searched on, as one name."""
        return " ".join(
            source.url or shlex.join((source.command or "", *source.args)) for source in self._worker().tool_sources
        )

    def next_command(self, schema: Mapping[str, Any] | None) -> steps.Command | ToolLookupNeeded | None:
        """Return the next command; None: the step waits for a decision.

        `schema`: that of the tool's arguments, if the tool was looked up.
        """
        if self._step.status is StepStatus.IN_PROGRESS:
            return self._go_on_after_a_break()
        if self._step.compensates is not None:
            return self._begin_undo()
        if self._step.status is StepStatus.AWAITING_HUMAN:
            return self._decided()
        return self._schedule(schema)

    def work(self, step: Step, lease: Lease, *, again: bool, queue_ms: float) -> Work:
        """Return the work of `step`, which is this one after its command: before that, it is a tool look-up."""
        runs, of, worker = self._runs, self._definition, self._worker()
        undoes, timeout = step.compensates is not None, runs.timeout_seconds
        execution = Execution(of.name, of.version, self._saga.namespace, step.id, undoes, step.attempt)
        arguments, key = step.arguments or {}, idempotency_key(self._saga, step)
        if runs.reasoning is not None:
            return ModelRequest(
                lease=lease,
                span_id=step.span_id,
                worker=worker,
                system=worker.compensation_prompt if undoes else worker.system_prompt,
                undoes=undoes,
                reasoning=runs.reasoning,
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
        assert runs.tool is not None, "a step without a model calls a tool"
        if step.status is StepStatus.PENDING:
            limit = min(timeout, MAX_LOOK_UP)
            return ToolLookup(lease, step.span_id, worker.tool_sources, runs.tool, limit, queue_ms, execution)
        return ToolCall(
            lease=lease,
            span_id=step.span_id,
            sources=worker.tool_sources,
            tool=runs.tool,
            arguments=arguments,
            may_be_null=_may_be_null(runs.bindings),
            idempotency_key=key,
            timeout=timeout,
            idempotent=self._idempotent,
            again=again,
            queue_ms=queue_ms,
            execution=execution,
        )

    def edit_refused(self, subject: dict[str, Any]) -> Error | None:
        """Return the objection of the step's policy to a reviewer's edit."""
        return self._refused(*((self._step.arguments or {}, subject) if self.reasons else (subject, None)))

    def answered(self, answer: dict[str, Any], *, acted: bool) -> steps.Command:
        """Return the command for the model's answer, which fits its schema."""
        if self._step.compensates is not None:
            failed = Error("UNDO_NOT_DONE", str(answer["summary"])[:MAX_SUMMARY])
            return steps.Succeed(answer) if answer["undone"] else steps.Fail(failed, acted=acted)
        refused = self._refused(self._step.arguments or {}, answer)
        if refused is not None:
            return steps.Fail(refused, acted=acted)
        if not self._declared.hitl:
            return steps.Succeed(answer)
        if self._saga.cancelled is not None:
            # A cancelled saga needs no review.
            return steps.Fail(Error("CANCELLED", self._saga.cancelled), acted=acted)
        reasoning = self._declared.reasoning
        assert reasoning is not None, "only a model answers"
        return steps.HoldAnswer(self._hold(answer, (dict(reasoning.output_schema), None)), acted)

    def _schedule(self, schema: Mapping[str, Any] | None) -> steps.Command | ToolLookupNeeded:
        declared = self._declared
        if declared.when is not None:
            try:
                if not cel.judge(declared.when, self._seen()):
                    return steps.Skip()
            except cel.EvaluationFailed as error:
                return steps.Fail(Error("WHEN_EVALUATION_FAILED", str(error)))
        arguments = bindings.resolve(declared.bindings, context(self._saga))
        refused = _unfit(declared.bindings, arguments) or (None if self.reasons else self._refused(arguments))
        if refused is not None:
            return steps.Fail(refused)
        if declared.hitl and not self.reasons:
            return ToolLookupNeeded() if schema is None else self._held_call(arguments, schema)
        return steps.Begin(arguments, canonical_json.digest(arguments), self._acts)

    def _held_call(self, arguments: dict[str, Any], schema: Mapping[str, Any]) -> steps.Command:
        """Hold the call, unless it cannot be made: an impossible call needs no review."""
        form, unchecked = tool_schema.usable(schema, arguments)
        if form is not None:
            nulls = _may_be_null(self._declared.bindings)
            refused = tool_schema.domain_error(str(self._declared.tool), form, arguments, nulls)
            if refused is not None:
                return steps.Fail(refused)
        return steps.Hold(self._hold(arguments, (form, unchecked)), arguments, canonical_json.digest(arguments))

    def _refused(self, arguments: dict[str, Any], answer: dict[str, Any] | None = None) -> Error | None:
        """Return the policy's error. A policy that denies, or cannot decide, fails the step, which is never held.

        `answer`: that of a model.
        """
        declared = self._declared
        if declared.policy is None:
            return None
        more = {
            "phase": "after_reason" if self.reasons else "before_commit",
            "arguments": arguments,
            "output": answer,
            "worker": {"name": declared.worker, "version": declared.worker_version},
            "tool": declared.tool,
        }
        try:
            allowed = cel.judge(declared.policy.cel, {**self._seen(), **more})
        except cel.EvaluationFailed as error:
            return Error("POLICY_EVALUATION_FAILED", f"policy {declared.policy.name!r}: {error}")
        code = "POLICY_REASON_DENIED" if self.reasons else "POLICY_COMMIT_DENIED"
        return None if allowed else Error(code, f"policy {declared.policy.name!r} says no")

    def _hold(self, subject: dict[str, Any], form: tuple[dict[str, Any] | None, str | None]) -> UUID:
        return hold(self._database, self._uow, self._record, self._definition, self._saga, self._step, subject, form)

    def _decided(self) -> steps.Command | None:
        step = self._step
        held = canonical_json.digest(step.proposal) if self.reasons else step.arguments_digest
        approved = decision(self._uow, step, held)
        if approved is None:
            return None
        if isinstance(approved, Error):
            return steps.Fail(approved)
        if approved.edited:
            # An edit must satisfy the policy too. It was checked when it was made, unless an earlier release accepted
            # it.
            refused = self.edit_refused(approved.subject)
            if refused is not None:
                return steps.Fail(refused)
        return steps.Succeed(approved.subject) if self.reasons else steps.Begin(approved.subject, approved.digest)

    def _begin_undo(self) -> steps.Command:
        saga, step, undo = self._saga, self._step, self._runs
        forward = saga.undone_by(step)
        spans = span_text(step.span_id), span_text(forward.span_id)
        facts = undo_facts(*spans, forward, idempotency_key(saga, step))
        seen = {**context(saga), "_compensation": facts}
        # An operator's correction is used as it is.
        given = step.arguments if step.correction is not None else None
        arguments = bindings.resolve(undo.bindings, seen) if given is None else given
        error = _unfit(undo.bindings if given is None else {}, arguments)
        if error is not None:
            return steps.Fail(error)
        if self.reasons:
            arguments = {**arguments, "_compensation": facts}
        return steps.Begin(arguments, canonical_json.digest(arguments))

    def _go_on_after_a_break(self) -> steps.Command:
        """Return the command for an execution that was postponed, or whose worker ended during it."""
        saga, step = self._saga, self._step
        if step.compensates is None and self.reasons and saga.cancelled is not None:
            # A cancelled saga needs no answer from a model.
            return steps.Fail(Error("CANCELLED", saga.cancelled), acted=self._acts)
        if canonical_json.digest(step.arguments or {}) != step.arguments_digest:
            return steps.MarkOutcomeUnknown(CHANGED.message) if step.call.may_have_acted else steps.Fail(CHANGED)
        again = steps.Repeat(self._acts)
        if step.call.requeued or not (step.call.unanswered or self.reasons):
            return again
        if self._idempotent is False or self.tries >= CALLS_AGAIN:
            return steps.MarkOutcomeUnknown("the worker ended before the answer was recorded")
        return again

    @property
    def _acts(self) -> bool:
        """Whether the execution may change something: a model can only by tools."""
        return self._runs.reasoning is None or bool(self._runs.reasoning.tools)

    @property
    def _idempotent(self) -> bool | None:
        """Whether the manifest allows a repeated call. For an undo, only the tool itself can say."""
        return self._declared.idempotent if self._step.compensates is None else None

    def _seen(self) -> dict[str, Any]:
        saga, step = self._saga, self._step
        return {
            **context(saga),
            "saga": {
                "trace_id": saga.trace_id.hex,
                "namespace": saga.namespace,
                "name": self._definition.name,
                "version": self._definition.version,
                "status": str(saga.status),
            },
            "step": {
                "id": step.id,
                "name": self._declared.name,
                "kind": str(self._declared.kind),
                "order_index": step.order,
                "attempt": step.attempt,
            },
        }

    def _worker(self) -> WorkerDefinition:
        name = f"{self._runs.worker}@{self._runs.worker_version}"
        id_ = self._record.workers.get(name)
        if id_ is None:
            raise DefinitionGone(f"the saga has no worker {name}")
        return load_worker(self._uow.lookups, UUID(hex=id_))


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

"""Audit log entries about a saga: the end of each step, with the digest of its arguments, and the saga's end."""

from typing import Any

from domain.log.audit_facts import step_facts
from domain.sagas.saga import TERMINAL, Saga
from domain.sagas.serialization import span_text
from domain.sagas.step import Step
from models.sagas import step_values
from services.kernel.unit_of_work import UnitOfWork


def record_changes(uow: UnitOfWork, before: Saga, after: Saga) -> None:
    known = {step.span_id: step for step in before.all_steps}
    for step in after.all_steps:
        earlier = known.get(step.span_id)
        if step.ended_at is not None and (earlier is None or earlier.status is not step.status):
            uow.record(None, after.namespace, f"step.{step.status.lower()}", after.trace_id.hex, **_about(step))
    if after.needs_operator and (not before.needs_operator or after.status is not before.status):
        uow.record(None, after.namespace, "saga.needs_operator", after.trace_id.hex)
    if after.status is not before.status and after.status in TERMINAL:
        uow.record(None, after.namespace, f"saga.{after.status.lower()}", after.trace_id.hex)


def _about(step: Step) -> dict[str, Any]:
    return {
        "step": step.id,
        "span": span_text(step.span_id),
        "compensates": None if step.compensates is None else span_text(step.compensates),
        "called": step.call.may_have_acted,
        "arguments_digest": None if step.arguments_digest is None else step.arguments_digest.hex(),
        "error": None if step.error is None else step.error.code,
        "row": step_facts(step_values(None, step)),
    }

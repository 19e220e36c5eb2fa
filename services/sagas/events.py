"""Which webhooks a change of a saga sets off."""

from collections.abc import Iterator
from datetime import datetime
from functools import partial

from domain.manifests.definition import SagaDefinition
from domain.sagas.saga import Saga, SagaStatus
from domain.sagas.serialization import saga_event, step_document
from domain.sagas.step import BROKEN, Step, StepStatus
from services.webhooks.outbox import WebhookEvent

_TOLD = {
    SagaStatus.AWAITING_HUMAN: "saga.awaiting_human",
    SagaStatus.COMPLETED: "saga.completed",
    SagaStatus.FAILED: "saga.failed",
    SagaStatus.COMPENSATED: "saga.compensated",
}
_UNDOING = (StepStatus.COMPENSATING, StepStatus.COMPENSATED)


def notices(before: Saga, after: Saga, definition: SagaDefinition, at: datetime) -> list[WebhookEvent]:
    return [*_of_steps(before, after, definition, at), *_of_the_saga(before, after, definition, at)]


def _of_steps(before: Saga, after: Saga, definition: SagaDefinition, at: datetime) -> Iterator[WebhookEvent]:
    for step in after.all_steps:
        earlier = before.find(step.span_id)
        if _has_failed(step) and (earlier is None or not _has_failed(earlier)):
            body = partial(_event, "step.failed", at, after, definition, step.span_id)
            yield WebhookEvent("step.failed", after.namespace, body)


def _has_failed(step: Step) -> bool:
    """Also where its undo has begun in the same transaction. A step that was done, and is undone, has no error."""
    return step.status in BROKEN or (step.status in _UNDOING and step.error is not None)


def _of_the_saga(before: Saga, after: Saga, definition: SagaDefinition, at: datetime) -> Iterator[WebhookEvent]:
    current = after.current
    span_id = None if current is None else current.span_id
    # Told again where the question is another: an undo of unknown outcome that was not made has failed.
    if after.needs_operator and (not before.needs_operator or after.status is not before.status):
        type_ = "saga.needs_operator"
        yield WebhookEvent(type_, after.namespace, partial(_event, type_, at, after, definition, span_id))
    held = after.status is SagaStatus.AWAITING_HUMAN
    # Held again, after a retry or at the next step, without having run in between.
    new_hold = (
        held and before.current is not None and current is not None and before.current.watch_id != current.watch_id
    )
    if after.status in _TOLD and (after.status is not before.status or new_hold):
        type_ = _TOLD[after.status]
        yield WebhookEvent(
            type_, after.namespace, partial(_event, type_, at, after, definition, span_id if held else None)
        )


def _event(type_: str, at: datetime, saga: Saga, definition: SagaDefinition, span_id: int | None) -> dict[str, object]:
    error = saga.stuck or saga.error
    data: dict[str, object] = {
        "trace_id": saga.trace_id.hex,
        "namespace": saga.namespace,
        "name": definition.name,
        "version": definition.version,
        "status": str(saga.status),
        "error_details": None if error is None else error.document(),
    }
    step = None if span_id is None else saga.find(span_id)
    if step is not None:
        data["step"] = step_document(saga, definition, step)
    return saga_event(type_, at, data)

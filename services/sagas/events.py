"""The webhook events of a change of a saga."""

from collections.abc import Iterator
from datetime import datetime
from functools import partial

from domain.manifests.definition import SagaDefinition
from domain.sagas.saga import Saga, SagaStatus
from domain.sagas.serialization import saga_event, step_document
from domain.sagas.step import BROKEN, Step, StepStatus
from services.webhooks.outbox import WebhookEvent

_EVENT_TYPES = {
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
    """Return whether the step failed, even if its compensation began in the same transaction.

    A step that succeeded and is compensated has no error.
    """
    return step.status in BROKEN or (step.status in _UNDOING and step.error is not None)


def _of_the_saga(before: Saga, after: Saga, definition: SagaDefinition, at: datetime) -> Iterator[WebhookEvent]:
    current = after.current
    span_id = None if current is None else current.span_id
    # Send the event again when the question changes: a compensation of unknown outcome turned out to have failed.
    if after.needs_operator and (not before.needs_operator or after.status is not before.status):
        type_ = "saga.needs_operator"
        yield WebhookEvent(type_, after.namespace, partial(_event, type_, at, after, definition, span_id))
    held = after.status is SagaStatus.AWAITING_HUMAN
    # Another pause holds the saga, after a retry or at the next step, and the status did not change in between.
    has_new_pause = (
        held and before.current is not None and current is not None and before.current.watch_id != current.watch_id
    )
    if after.status in _EVENT_TYPES and (after.status is not before.status or has_new_pause):
        type_ = _EVENT_TYPES[after.status]
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

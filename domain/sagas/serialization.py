"""Sagas and steps as JSON documents, in snake_case and with ISO 8601 times in UTC with milliseconds."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.manifests.definition import SagaDefinition, StepDefinition
from domain.pauses.serialization import instant, instant_or_none
from domain.sagas.reasoning import RunReport
from domain.sagas.saga import Saga
from domain.sagas.step import Step
from domain.values import ids


def span_text(span_id: int) -> str:
    """Return the span id as 16 lowercase hex digits."""
    return f"{span_id:016x}"


def traceparent(trace_id: UUID, span_id: int) -> str:
    """Return the `traceparent` header of W3C Trace Context."""
    return f"00-{trace_id.hex}-{span_text(span_id)}-01"


def idempotency_key(saga: Saga, step: Step) -> str:
    """Return the key of every call for this step, including repeated calls. An undo has its own key."""
    kind = "fwd" if step.compensates is None else "comp"
    return f"{kind}-{saga.trace_id.hex}-{span_text(step.span_id)}"


def saga_document(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the document of a saga's row, which includes the name and version of its definition."""
    return {
        "trace_id": row["id"].hex,
        "namespace": row["namespace"],
        "definition_id": ids.text(ids.DEFINITION, row["definition_id"]),
        "name": row["name"],
        "version": row["version"],
        "status": row["status"],
        "needs_operator": row["needs_operator"],
        "started_at": instant(row["created_at"]),
        "ended_at": instant_or_none(row["ended_at"]),
        "start_idempotency_key": row["start_idempotency_key"],
        "error_details": row["stuck"] or row["error"],
    }


def step_document(saga: Saga, definition: SagaDefinition, step: Step) -> dict[str, Any]:
    declared = definition.step(step.id)
    worker, version = _worker(declared, step)
    return {
        "step_span_id": span_text(step.span_id),
        "saga_trace_id": saga.trace_id.hex,
        "namespace": saga.namespace,
        "step_id": step.id,
        "step_name": declared.name,
        "step_kind": str(declared.kind),
        "order_index": step.order,
        "status": str(step.status),
        "worker": worker,
        "worker_version": version,
        "started_at": instant_or_none(step.started_at),
        "end_time": instant_or_none(step.ended_at),
        "attempt": step.attempt,
        "idempotency_key": idempotency_key(saga, step),
        "compensates_span_id": None if step.compensates is None else span_text(step.compensates),
        "error_details": None if step.error is None else step.error.document(),
        "timing": (step.report or {}).get("timing", {}),
        "usage": (step.report or {}).get("usage", {}),
        "mock": (step.report or {}).get("mock", False),
        "watch_id": None if step.watch_id is None else ids.text(ids.WATCH, step.watch_id),
    }


def report_document(report: RunReport, schedule_ms: float, queue_ms: float) -> dict[str, Any]:
    """Return the report of a reason step's execution.

    `schedule_ms` is its time without the model, the tools and their discovery. `queue_ms` is the wait for a worker.
    """
    times = {"queue_ms": queue_ms, "schedule_ms": schedule_ms}
    times |= {"setup_ms": report.setup_ms, "llm_ms": report.llm_ms, "tool_ms": report.tool_ms}
    return {
        "provider": report.provider,
        "model": report.model,
        "mock": report.mock,
        "timing": {name: round(ms, 1) for name, ms in times.items()},
        "usage": {
            "requests": report.requests,
            "input_tokens": report.input_tokens,
            "output_tokens": report.output_tokens,
        },
        "tool_calls": [
            {"name": use.name, "arguments_digest": use.arguments_digest, "ms": round(use.ms, 1), "outcome": use.outcome}
            for use in report.tool_uses
        ],
    }


def _worker(declared: StepDefinition, step: Step) -> tuple[str, str]:
    if step.compensates is not None and declared.undo is not None:
        return declared.undo.worker, declared.undo.worker_version
    return declared.worker, declared.worker_version


def saga_event(type_: str, at: datetime, data: dict[str, Any]) -> dict[str, Any]:
    """Return the body of a Standard Webhook."""
    return {"type": type_, "timestamp": instant(at), "data": data}

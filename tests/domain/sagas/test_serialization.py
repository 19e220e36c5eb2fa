"""The public form of sagas and steps."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from domain.manifests.manifest import parse_saga
from domain.sagas.reasoning import RunReport, ToolUse
from domain.sagas.saga import Saga, SagaStatus
from domain.sagas.serialization import (
    idempotency_key,
    report_document,
    saga_document,
    saga_event,
    span_text,
    step_document,
    traceparent,
)
from domain.sagas.step import Error, Step, StepStatus
from domain.values import ids

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
INSTANT = "2026-03-01T12:00:00.000Z"
ID, WATCH = UUID(int=0xAB), UUID(int=7)
SAGA = Saga(ID, "shop", SagaStatus.RUNNING, {}, ())
PAY, UNDO = Step(1, "pay", 0), Step(2, "pay", 0, compensates=1)
WORKER = {"worker": "bank", "worker_version": "1"}
DEFINITION = parse_saga(
    {
        **{"kind": "saga", "name": "trip", "namespace": "shop", "version": "1"},
        "steps": [
            {
                **{"id": "pay", "name": "Pay it", "kind": "commit", "tools": {"allow": ["pay"]}, **WORKER},
                "compensation": {"worker": "refunds", "worker_version": "2", "tools": ["refund"]},
            },
            {"id": "tell", "kind": "commit", "tools": {"allow": ["tell"]}, **WORKER},
        ],
    }
)


def test_ids_are_those_of_the_trace() -> None:
    assert span_text(0xAB) == "00000000000000ab"
    assert traceparent(ID, 1) == "00-000000000000000000000000000000ab-0000000000000001-01"


def test_an_undo_has_an_idempotency_key_of_its_own() -> None:
    assert idempotency_key(SAGA, PAY) == f"fwd-{ID.hex}-0000000000000001"
    assert idempotency_key(SAGA, UNDO) == f"comp-{ID.hex}-0000000000000002"


@pytest.mark.parametrize("stuck", [None, {"code": "DEFINITION_GONE"}])
def test_a_saga(stuck: dict[str, str] | None) -> None:
    """A reason why no worker can continue is more urgent than the saga's own error."""
    row = {
        **{"id": ID, "namespace": "shop", "definition_id": WATCH, "name": "trip", "version": "1"},
        **{"status": "RUNNING", "needs_operator": stuck is not None, "created_at": AT, "ended_at": None},
        **{"start_idempotency_key": "k", "stuck": stuck, "error": {"code": "NO"}},
    }
    assert saga_document(row) == {
        "trace_id": ID.hex,
        "namespace": "shop",
        "definition_id": ids.text(ids.DEFINITION, WATCH),
        "name": "trip",
        "version": "1",
        "status": "RUNNING",
        "needs_operator": stuck is not None,
        "started_at": INSTANT,
        "ended_at": None,
        "start_idempotency_key": "k",
        "error_details": stuck or {"code": "NO"},
    }


def test_a_step() -> None:
    report = {"timing": {"tool_ms": 1.5}, "usage": {"requests": 1}, "mock": True}
    step = Step(
        *(1, "pay", 0),
        status=StepStatus.FAILED,
        error=Error("NO", "no"),
        started_at=AT,
        ended_at=AT,
        attempt=2,
        report=report,
        watch_id=WATCH,
    )
    assert step_document(SAGA, DEFINITION, step) == {
        "step_span_id": "0000000000000001",
        "saga_trace_id": ID.hex,
        "namespace": "shop",
        "step_id": "pay",
        "step_name": "Pay it",
        "step_kind": "commit",
        "order_index": 0,
        "status": "FAILED",
        "worker": "bank",
        "worker_version": "1",
        "started_at": INSTANT,
        "end_time": INSTANT,
        "attempt": 2,
        "idempotency_key": idempotency_key(SAGA, step),
        "compensates_span_id": None,
        "error_details": {"code": "NO", "message": "no"},
        **report,
        "watch_id": ids.text(ids.WATCH, WATCH),
    }


def test_an_undo_names_its_own_worker() -> None:
    document = step_document(SAGA, DEFINITION, UNDO)
    assert (document["worker"], document["worker_version"]) == ("refunds", "2")
    assert document["compensates_span_id"] == "0000000000000001"
    assert (document["timing"], document["usage"], document["mock"]) == ({}, {}, False)
    assert (document["error_details"], document["watch_id"], document["started_at"]) == (None, None, None)


def test_the_report_of_a_model_request() -> None:
    use = ToolUse("look", "ab" * 32, 1.26, "ok")
    report = RunReport("openai", "small", False, True, False, 2, 30, 4, 0.11, 5.55, 1.26, (use,))
    assert report_document(report, schedule_ms=3.04, queue_ms=2.0) == {
        "provider": "openai",
        "model": "small",
        "mock": False,
        "timing": {"queue_ms": 2.0, "schedule_ms": 3.0, "setup_ms": 0.1, "llm_ms": 5.5, "tool_ms": 1.3},
        "usage": {"requests": 2, "input_tokens": 30, "output_tokens": 4},
        "tool_calls": [{"name": "look", "arguments_digest": "ab" * 32, "ms": 1.3, "outcome": "ok"}],
    }


def test_an_event() -> None:
    assert saga_event("saga.completed", AT, {"n": 1}) == {
        "type": "saga.completed",
        "timestamp": INSTANT,
        "data": {"n": 1},
    }

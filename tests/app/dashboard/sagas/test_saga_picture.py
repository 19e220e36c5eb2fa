"""A saga as a picture: what each row says of its step."""

from typing import Any
from uuid import UUID

import pytest

from app.dashboard.sagas.saga_picture import PictureRow, picture
from domain.manifests.definition import Compensation, Policy, SagaDefinition, StepDefinition, StepKind
from domain.pauses.pause import OnTimeout
from domain.sagas.saga import Saga, SagaStatus
from domain.sagas.step import Error, Step, StepStatus

S = StepStatus
WATCH = UUID(int=7)


def declared(id_: str, kind: StepKind = StepKind.COMMIT, **more: Any) -> StepDefinition:
    undo = Compensation("worker", "2", {}, (f"undo_{id_}",), 5, tool=f"undo_{id_}")
    given: dict[str, Any] = {
        "id": id_,
        "name": id_.title(),
        "kind": kind,
        "worker": "worker",
        "worker_version": "1",
        "bindings": {},
        "when": None,
        "policy": Policy("careful", "true"),
        "hitl": False,
        "hitl_max_retries": None,
        "hitl_retry_guidance": None,
        "review": None,
        "hitl_timeout_seconds": None,
        "hitl_on_timeout": OnTimeout.EXPIRE,
        "undo": undo,
        "timeout_seconds": 5,
        "tool": id_,
    }
    return StepDefinition(**given | more)


def drawn(*steps: Step, undos: tuple[Step, ...] = (), **more: Any) -> tuple[PictureRow, ...]:
    definition = SagaDefinition("saga", "default", "1", "", tuple(declared(step.id, **more) for step in steps))
    saga = Saga(UUID(int=1), "default", SagaStatus.AWAITING_HUMAN, {}, steps, undos)
    return picture(saga, definition, WATCH)


def test_where_it_is_held_and_what_a_reject_would_undo() -> None:
    held = Step(3, "c", 2, status=S.AWAITING_HUMAN, watch_id=WATCH, retries=1)
    rows = drawn(Step(1, "a", 0, S.COMPLETED), Step(2, "b", 1, S.COMPLETED), held, Step(4, "d", 3), hitl_max_retries=3)
    assert [(row.held, row.here, row.undone_as) for row in rows] == [
        (False, False, 2),
        (False, False, 1),
        (True, True, None),
        (False, False, None),
    ]
    assert (rows[0].tools, rows[0].undo_by, rows[0].worker) == (("a",), ("undo_a",), "worker@1")
    assert rows[2].retries_left == 2


def test_what_is_not_held_is_not_said_to_be_undone() -> None:
    assert [row.undone_as for row in drawn(Step(1, "a", 0, S.COMPLETED), Step(2, "b", 1, S.IN_PROGRESS))] == [
        None,
        None,
    ]


def test_an_undo_stands_with_its_step() -> None:
    undo = Step(9, "a", 2, S.FAILED, compensates=1, error=Error("TOOL_INVOKE_FAILED", "no"))
    first, second = drawn(Step(1, "a", 0, S.COMPENSATING), Step(2, "b", 1, S.FAILED), undos=(undo,))
    assert second.undo is None
    assert first.undo is not None
    assert (first.undo.tools, first.undo.worker, first.undo.tone) == (("undo_a",), "worker@2", "bad")
    assert (first.undo.undo_by, first.undo.policy) == (None, None)


@pytest.mark.parametrize(
    ("step", "kind", "verdict"),
    [
        (Step(1, "a", 0), StepKind.COMMIT, None),
        (Step(1, "a", 0, S.SKIPPED), StepKind.COMMIT, None),
        (Step(1, "a", 0, S.AWAITING_HUMAN), StepKind.COMMIT, "allowed"),
        (Step(1, "a", 0, S.IN_PROGRESS, attempt=1), StepKind.COMMIT, "allowed"),
        (Step(1, "a", 0, S.IN_PROGRESS, attempt=1), StepKind.REASON, None),
        (Step(1, "a", 0, S.COMPLETED, attempt=1), StepKind.REASON, "allowed"),
        (Step(1, "a", 0, S.FAILED, error=Error("POLICY_COMMIT_DENIED", "")), StepKind.COMMIT, "denied"),
        (Step(1, "a", 0, S.FAILED, error=Error("POLICY_EVALUATION_FAILED", "")), StepKind.COMMIT, "no answer"),
        (Step(1, "a", 0, S.FAILED, error=Error("STEP_TIMED_OUT", "")), StepKind.REASON, None),
        (Step(1, "a", 0, S.FAILED, watch_id=WATCH, error=Error("HUMAN_REJECTED", "")), StepKind.COMMIT, "allowed"),
        (Step(1, "a", 0, S.FAILED, watch_id=WATCH, error=Error("HITL_EXPIRED", "")), StepKind.REASON, "allowed"),
    ],
)
def test_what_the_policy_said(step: Step, kind: StepKind, verdict: str | None) -> None:
    (row,) = drawn(step, kind=kind)
    assert (row.policy, row.verdict) == ("careful", verdict)

"""Rows compared with their log entries: every column that an entry mentions, and nothing else."""

from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest

from domain.log.audit import digest
from domain.log.audit_facts import PAUSE_FACTS, STEP_FACTS, changed_facts, pause_facts, step_facts
from domain.log.audit_rows import Difference, LoggedPause, LoggedSaga, LoggedStep, pause_row, step_row
from domain.sagas.saga import SagaStatus
from domain.sagas.step import StepStatus
from domain.values import canonical_json

L = TypeVar("L", LoggedPause, LoggedSaga, LoggedStep)
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
INSTANT = "2026-03-01T12:00:00.000Z"
ARGUMENTS = {"amount": 5}
DIGEST = canonical_json.digest(ARGUMENTS)
OTHER = canonical_json.digest({"amount": 6}).hex()

PAUSE: dict[str, Any] = {
    **dict.fromkeys((*PAUSE_FACTS, "decided_by", "decided_by_name", "comment", "resolved_at", "claim")),
    **{"status": "pending", "kind": "agent", "revision": 1, "created_at": AT, "votes": []},
    **{"arguments": ARGUMENTS, "arguments_digest": DIGEST},
}
APPROVED = PAUSE | {"status": "approved", "decided_by": "usr_1", "decided_by_name": "Anne", "resolved_at": AT}
STEP: dict[str, Any] = {
    **dict.fromkeys((*STEP_FACTS, "compensates", "error")),
    **{"span_id": 7, "step_id": "pay", "status": str(StepStatus.COMPLETED), "ended_at": AT, "call_began": True},
    **{"attempt": 1, "output": {"id": 7}, "arguments": ARGUMENTS, "arguments_digest": DIGEST},
}
SAGA: dict[str, Any] = {
    **{"definition": "trip 1", "input": {"n": 1}, "cancelled": None},
    **{"status": str(SagaStatus.COMPLETED), "ended_at": AT},
}


def entry(type_: str, **details: Any) -> dict[str, Any]:
    return {"type": type_, "by": "usr_1", "by_name": "Anne", "at": INSTANT, "details": details}


CREATED = entry("pause.created", row=pause_facts(PAUSE))
DECIDED = entry("pause.approved", revision=1, arguments_digest=DIGEST.hex(), outcome="approved", row={})
STARTED = entry("saga.started", name="trip", version="1", input_digest=digest({"n": 1}))
ENDED = entry("saga.completed")


def step_entry(type_: str = "step.completed", **changes: Any) -> dict[str, Any]:
    about = {"step": "pay", "span": f"{7:016x}", "compensates": None, "called": True, "error": None}
    return entry(type_, **about | {"arguments_digest": DIGEST.hex(), "row": step_facts(STEP)} | changes)


def read(logged: L, *entries: dict[str, Any]) -> L:
    for seq, each in enumerate(entries, start=1):
        logged.read(seq, each)
    return logged


def pause_differences(row: dict[str, Any], *entries: dict[str, Any]) -> list[Difference]:
    return list(read(LoggedPause(), *entries).against(pause_row(row)))


def step_differences(row: dict[str, Any], *entries: dict[str, Any]) -> list[Difference]:
    return list(read(LoggedStep(), *entries).against(step_row(row)))


def saga_differences(row: dict[str, Any], *entries: dict[str, Any]) -> list[Difference]:
    return list(read(LoggedSaga(), *entries).against(row))


def test_a_pause_as_it_is_logged() -> None:
    assert pause_differences(PAUSE, CREATED) == []
    assert not read(LoggedPause(), CREATED).ended
    assert pause_differences(APPROVED, CREATED, DECIDED) == []
    assert read(LoggedPause(), CREATED, DECIDED).ended


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"status": "rejected"}, Difference("status", "approved", "rejected", 2)),
        ({"decided_by_name": "Ben"}, Difference("decided_by_name", "Anne", "Ben", 2)),
        ({"resolved_at": None}, Difference("resolved_at", INSTANT, None, 2)),
        ({"priority": 9}, Difference("priority", None, 9, 1)),
        ({"kind": "step"}, Difference("kind", "agent", "step", 1)),
        ({"claim": {"by": "usr_2"}}, Difference("claim", None, digest({"by": "usr_2"}), 1)),
        ({"arguments": {"amount": 6}}, Difference("arguments", DIGEST.hex(), OTHER, 2)),
    ],
)
def test_each_changed_column_of_a_pause_names_its_entry(changes: dict[str, Any], difference: Difference) -> None:
    assert pause_differences(APPROVED | changes, CREATED, DECIDED) == [difference]


def test_a_pause_that_no_entry_mentions() -> None:
    assert pause_differences(PAUSE) == [Difference("status", None, "pending", None)]
    assert pause_differences(PAUSE | {"arguments": {"amount": 6}})[1:] == [
        Difference("arguments", DIGEST.hex(), OTHER, None)
    ]


def test_forged_votes_are_named_as_a_whole() -> None:
    created = entry("pause.created", row=pause_facts(PAUSE))
    assert pause_differences(PAUSE | {"votes": "forged"}, created) == [
        Difference("votes", digest([]), digest("forged"), 1)
    ]


def test_the_comment_of_a_decision() -> None:
    decided = entry("pause.approved", comment="fine", row={}, arguments_digest=DIGEST.hex())
    assert pause_differences(APPROVED, CREATED, decided) == [Difference("comment", "fine", None, 2)]


def test_an_older_release_logged_no_columns() -> None:
    """Its entries leave unknown what the change may have set."""
    plain = entry("pause.created")
    assert read(LoggedPause(), plain).partly
    assert pause_differences(PAUSE | {"priority": 9}, plain) == []
    assert pause_differences(PAUSE | {"stage": 1}, CREATED, entry("pause.updated", arguments_digest=DIGEST.hex())) == []
    assert step_differences(STEP | {"output": 5}, step_entry(row=None)) == []
    assert read(LoggedStep(), step_entry(row=None)).partly


def test_a_claim_is_compared_alone() -> None:
    claim = {"by": "usr_1"}
    claimed = entry("review.claimed", row={"claim": digest(claim)})
    assert pause_differences(PAUSE | {"claim": claim}, CREATED, claimed) == []
    assert pause_differences(PAUSE, CREATED, claimed) == [Difference("claim", digest(claim), None, 2)]
    assert pause_differences(PAUSE | {"claim": claim}, CREATED, entry("review.released")) == []


VOTE: dict[str, Any] = {
    **{"by": {"id": "usr_1", "name": "Anne"}, "at": "2026-03-01T12:00:00+00:00", "approves": True, "revision": 1},
    **{"comment": "fine", "on_behalf_of": None},
}


def test_votes_are_compared_one_by_one() -> None:
    def differences(*stored: Any) -> list[Difference]:
        votes = list(stored)
        changed = changed_facts(PAUSE, PAUSE | {"votes": votes})
        details = {"outcome": "approved", "comment": "fine", "revision": 1, "arguments_digest": DIGEST.hex()}
        return [
            each
            for each in pause_differences(
                PAUSE | {"votes": votes}, CREATED, entry("pause.voted", **details, row=changed)
            )
            if each.field != "votes" or each.logged is not None
        ]

    assert differences(VOTE) == []
    assert differences(VOTE | {"approves": False}) == [Difference("votes[0].outcome", "approved", "rejected", 2)]
    assert differences(VOTE | {"at": "noon"}) == [Difference("votes[0].at", INSTANT, "noon", 2)]
    assert differences(VOTE | {"at": None}) == [Difference("votes[0].at", INSTANT, None, 2)]
    assert differences(VOTE | {"on_behalf_of": {"id": "usr_2"}}) == [
        Difference("votes[0].on_behalf_of", None, "usr_2", 2)
    ]
    assert differences(VOTE, VOTE) == [Difference("votes", 1, 2, 2)]
    assert differences("forged")[0] == Difference("votes[0].by", "usr_1", None, 2)


def test_a_step_as_it_is_logged() -> None:
    assert step_differences(STEP, step_entry()) == []
    undo = STEP | {"compensates": 6, "error": {"code": "TOOL_ERROR"}}
    assert step_differences(undo, step_entry(compensates=f"{6:016x}", error="TOOL_ERROR", row=step_facts(undo))) == []
    assert step_differences(STEP | {"status": str(StepStatus.IN_PROGRESS)}) == []


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"call_began": False}, Difference("call_began", True, False, 1)),
        ({"output": 5}, Difference("output", digest({"id": 7}), digest(5), 1)),
        ({"step_id": "book"}, Difference("step", "pay", "book", 1)),
        ({"arguments": {"amount": 6}}, Difference("arguments", DIGEST.hex(), OTHER, 1)),
        ({"arguments": None}, Difference("arguments", DIGEST.hex(), None, 1)),
        ({"status": str(StepStatus.IN_PROGRESS)}, Difference("status", "COMPLETED", "IN_PROGRESS", 1)),
        ({"status": str(StepStatus.FAILED)}, Difference("status", "COMPLETED", "FAILED", 1)),
    ],
)
def test_each_changed_column_of_a_step_names_its_entry(changes: dict[str, Any], difference: Difference) -> None:
    assert step_differences(STEP | changes, step_entry()) == [difference]


def test_a_step_without_an_end_in_the_log() -> None:
    assert step_differences(STEP) == [Difference("status", "not ended", "COMPLETED", None)]


def test_a_step_that_is_being_undone_keeps_its_logged_columns() -> None:
    undone = STEP | {"status": str(StepStatus.COMPENSATING), "ended_at": None}
    assert step_differences(undone, step_entry()) == []
    assert step_differences(undone | {"call_began": False}, step_entry()) == [Difference("call_began", True, False, 1)]


def test_a_step_that_an_operator_reopened_may_run_again() -> None:
    failed = step_entry("step.failed")
    again = STEP | {"status": str(StepStatus.IN_PROGRESS)}
    assert step_differences(again, failed, step_entry("step.retried")) == []
    assert step_differences(again, failed)[0].field == "status"


def test_an_undo_that_an_operator_gives_up_keeps_its_end() -> None:
    evidence = digest("Anne: gone")
    failed = STEP | {"status": str(StepStatus.FAILED), "evidence": "Anne: gone"}
    given_up = step_entry("step.resolved", done=False, evidence="gone")
    assert step_differences(failed, step_entry("step.failed"), given_up) == []
    assert step_differences(failed | {"evidence": "x"}, step_entry("step.failed"), given_up) == [
        Difference("evidence", evidence, digest("x"), 2)
    ]


def test_a_saga_as_it_is_logged() -> None:
    logged = read(LoggedSaga(), STARTED, step_entry(), ENDED)
    assert list(logged.against(SAGA)) == []
    assert (logged.ended, logged.entries, list(logged.steps)) == (True, 3, [f"{7:016x}"])
    assert saga_differences(SAGA | {"status": str(SagaStatus.RUNNING), "ended_at": None}, STARTED) == []


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"definition": "trip 2"}, Difference("definition", "trip 1", "trip 2", 1)),
        ({"input": {"n": 2}}, Difference("input", digest({"n": 1}), digest({"n": 2}), 1)),
        ({"cancelled": "late"}, Difference("cancelled", None, "late", 1)),
        ({"status": str(SagaStatus.FAILED)}, Difference("status", "COMPLETED", "FAILED", 2)),
        ({"ended_at": None}, Difference("ended_at", INSTANT, None, 2)),
    ],
)
def test_each_changed_column_of_a_saga_names_its_entry(changes: dict[str, Any], difference: Difference) -> None:
    assert saga_differences(SAGA | changes, STARTED, ENDED) == [difference]


def test_a_saga_without_a_start_or_an_end_in_the_log() -> None:
    assert saga_differences(SAGA) == [Difference("status", None, "COMPLETED", None)]
    assert saga_differences(SAGA, STARTED) == [Difference("status", "not ended", "COMPLETED", None)]


@pytest.mark.parametrize(("reason", "stored"), [("late", "late"), (None, "cancelled by Anne")])
def test_the_reason_of_a_cancelled_saga(reason: str | None, stored: str) -> None:
    cancelled = entry("saga.cancelled", reason=reason)
    assert saga_differences(SAGA | {"cancelled": stored}, STARTED, cancelled, ENDED) == []
    assert saga_differences(SAGA, STARTED, cancelled, ENDED) == [Difference("cancelled", stored, None, 2)]


def test_a_saga_that_an_operator_continued_runs_again() -> None:
    running = SAGA | {"status": str(SagaStatus.COMPENSATING), "ended_at": None}
    failed, again = entry("saga.failed"), step_entry("step.retried")
    assert saga_differences(running, STARTED, failed, again) == []
    assert saga_differences(running, STARTED, failed) == [
        Difference("status", "FAILED", "COMPENSATING", 2),
        Difference("ended_at", INSTANT, None, 2),
    ]
    assert saga_differences(SAGA, STARTED, failed, again, ENDED) == []

"""Rows that were changed in the database, past the service: the log knows what they were."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from cli.devstack.waiting import wait_until
from domain.identity.access import Role
from domain.pauses.consumption import ExecutionStatus
from domain.pauses.pause import OnTimeout
from domain.sagas.outcome import Failed
from domain.sagas.step import Error
from domain.values.errors import Forbidden
from services.kernel.unit_of_work import Database
from services.log import row_verification
from services.log.audit import verify
from services.log.row_verification import RowVerdict, verify_rows
from services.log.sequencer import link_entries
from services.pauses.execution import settle_outcome
from services.pauses.lifecycle import expire_due
from services.reviews.step_decisions import rerun_step
from services.sagas.queries import StepRef
from services.sagas.recovery import Retry, resolve, retry_compensation
from tests.services.by_watch_id import claim, consume, decide_pause, report
from tests.services.log.test_audit import tamper
from tests.services.reviewers import voter
from tests.services.saga_world import approve_held, current_ref, ref, start, step, tools, undo_of, work
from tests.services.world import (
    ADMIN,
    AGENT,
    OPERATOR,
    REVIEWER,
    approve,
    cancel,
    linked,
    one,
    post,
    reject,
    someone,
    uuid_of,
)

ALL = someone(Role.OPERATOR, "*")
FULL = {
    "arguments": {"amount": 5, "rate": 1e22},
    "context": {"why": "é", "n": [1.0, None, {"b": 1, "a": 2}]},
    "tags": ("a", "b"),
    "metadata": {"run": 7},
    "callback_url": "https://example.com/hook",
    "callback_format": "gotohuman",
    "priority": 3,
    "external_id": "order-7",
    "response_schema": {"type": "object"},
    "arguments_schema": {"type": "object"},
    "on_timeout": OnTimeout.REJECT,
}


def changed(
    database: Database, database_url: str, table: str, assignment: str, where: str = "true"
) -> list[dict[str, Any]]:
    """Return the verdict while rows are changed in this way, and restore them."""
    tamper(database_url, f"CREATE TABLE kept AS SELECT * FROM {table}")
    try:
        tamper(database_url, f"UPDATE {table} SET {assignment} WHERE {where}")
        assert verify(database, ALL)["ok"], "the log itself is whole"
        return verify_rows(database, ALL).bad
    finally:
        tamper(database_url, f"DELETE FROM {table}", f"INSERT INTO {table} SELECT * FROM kept", "DROP TABLE kept")


def fields(verdict: RowVerdict) -> list[tuple[str, str]]:
    return [(bad["id"], bad["field"]) for bad in verdict.bad]


def voted(database: Database) -> str:
    """One that waits for a third vote, as the second one's edit has voided the first."""
    people = [voter(database, f"p{number}") for number in range(4)]
    watch_id = post(database, review={"approvals": 3}, arguments={"amount": 5})
    decide_pause(database, people[0], watch_id, approve(people[0], comment="fine"))
    decide_pause(database, people[1], watch_id, approve(people[1], arguments={"amount": 4}, comment="less"))
    decide_pause(database, people[2], watch_id, approve(people[2], revision=2))
    return watch_id


def compensated(database: Database) -> UUID:
    """A saga with an approved step, an undone one, and one that failed."""
    trace_id = start(database, step("a", undo=True), step("b", hitl=True), step("c"))
    made = tools(do_c=Failed(Error("TOOL_ERROR", "no")))
    work(database, trace_id, made)
    approve_held(database, trace_id)
    work(database, trace_id, made)
    return trace_id


def test_what_the_service_did_fits(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """This works when a batch is smaller than the number of rows."""
    monkeypatch.setattr(row_verification, "ENTRIES", 2)
    short = post(database, expires=timedelta(seconds=1))
    decide_pause(database, REVIEWER, post(database, **FULL), approve(comment="fine", response={"ok": True}))
    decide_pause(database, REVIEWER, post(database), reject())
    decide_pause(database, AGENT, post(database), cancel())
    claim(database, REVIEWER, post(database, **FULL), take_over=False)
    voted(database)
    compensated(database)
    assert wait_until(lambda: expire_due(database) == 1, 90), f"{short} does not expire"
    found = verify_rows(database, ALL)
    assert found.bad == []
    assert (found.pauses, found.sagas, found.steps, found.partly) == (7, 1, 4, 0)
    assert verify_rows(database, someone(Role.OPERATOR, "elsewhere")).checked == 0
    with pytest.raises(Forbidden):
        verify_rows(database, someone(Role.OPERATOR, "elsewhere"), "default")


def test_what_went_on_after_its_end_fits(database: Database) -> None:
    """A step held again, a compensation tried again, and one that is given up."""
    trace_id = start(database, step("a", undo=True), step("b", hitl=True), step("c"))
    made = tools(do_c=Failed(Error("TOOL_ERROR", "no")), undo_a=[Failed(Error("TOOL_ERROR", "no"))] * 2)
    work(database, trace_id, made)
    rerun_step(database, REVIEWER, current_ref(database, trace_id), "again", None)
    work(database, trace_id, made)
    assert verify_rows(database, ALL).bad == []
    approve_held(database, trace_id)
    work(database, trace_id, made)
    which: StepRef = ref(trace_id, undo_of(database, trace_id, "a"))
    retry_compensation(database, someone(Role.OPERATOR), which, Retry(arguments={"n": 2}, allow_destructive=True))
    assert verify_rows(database, ALL).bad == []
    work(database, trace_id, made)
    resolve(database, someone(Role.OPERATOR), which, done=False, output=None, evidence="left as it is")
    assert verify_rows(database, ALL).bad == []


DECISIONS = [
    ("status = 'rejected'", "status"),
    ("decided_by = 'key_other'", "decided_by"),
    ("decided_by_name = 'Somebody Else'", "decided_by_name"),
    ("comment = 'never'", "comment"),
    ("comment = NULL", "comment"),
    ("revision = 7", "revision"),
    ("resolved_at = resolved_at - interval '1 day'", "resolved_at"),
    ("response = '{\"ok\": false}'", "response"),
    ("arguments = '{\"amount\": 5000}'", "arguments"),
    ("arguments = NULL, arguments_digest = NULL", "arguments_digest"),
]


def test_a_decision_that_was_changed_is_named(database: Database, database_url: str) -> None:
    watch_id = post(database, **FULL)
    decide_pause(database, REVIEWER, watch_id, approve(comment="fine", response={"ok": True}))
    decide_pause(database, REVIEWER, post(database), reject())
    for assignment, field in DECISIONS:
        found = changed(database, database_url, "pauses", assignment, "comment = 'fine'")
        assert [(bad["id"], bad["field"]) for bad in found] == [(watch_id, field)], assignment
        assert found[0]["logged"] != found[0]["found"]


WAITING = [
    ("action = 'another'", "action"),
    ('context = \'{"why": "e"}\'', "context"),
    ("context = NULL", "context"),
    ("arguments = '{\"amount\": 5000}'", "arguments"),
    ("arguments_schema = NULL", "arguments_schema"),
    ("response_schema = '{}'", "response_schema"),
    ("review = '{\"stages\": []}'", "review"),
    ("callback_url = 'https://example.net'", "callback_url"),
    ("callback_format = NULL", "callback_format"),
    ("tags = '{a}'", "tags"),
    ("metadata = NULL", "metadata"),
    ("external_id = 'order-8'", "external_id"),
    ("priority = 9", "priority"),
    ("on_timeout = 'approve'", "on_timeout"),
    ("expires_at = NULL", "expires_at"),
    ("created_by = 'key_other'", "created_by"),
    ("created_at = created_at - interval '1 day'", "created_at"),
    ("kind = 'step'", "kind"),
    ("stage = 1", "stage"),
    ("asked = '{person:x}'", "asked"),
    ("escalated_at = now()", "escalated_at"),
    ("claim = NULL", "claim"),
    ("revision = 2", "revision"),
]


def test_a_waiting_pause_that_was_changed_is_named(database: Database, database_url: str) -> None:
    watch_id = post(database, **FULL)
    claim(database, REVIEWER, watch_id, take_over=False)
    post(database)
    for assignment, field in WAITING:
        found = changed(database, database_url, "pauses", assignment, "priority = 3")
        assert [(bad["id"], bad["field"]) for bad in found] == [(watch_id, field)], assignment


def vote(number: int, path: str, value: str) -> str:
    return f"votes = jsonb_set(votes::jsonb, '{{{number},{path}}}', '{value}')::json"


VOTES = [
    (vote(0, "by,id", '"usr_x"'), "votes[0].by"),
    (vote(0, "by,name", '"Mallory"'), "votes[0].by_name"),
    (vote(0, "approves", "false"), "votes[0].outcome"),
    (vote(1, "comment", '"more"'), "votes[1].comment"),
    (vote(2, "revision", "1"), "votes[2].revision"),
    (vote(2, "at", '"2026-01-01T00:00:00+00:00"'), "votes[2].at"),
    (vote(1, "on_behalf_of", '{"id": "usr_x", "name": "x"}'), "votes[1].on_behalf_of"),
    (vote(0, "counts", "true"), "votes"),
    (vote(0, "stage", "1"), "votes"),
    ("posted_arguments = NULL", "posted_arguments"),
    ("votes = NULL", "votes"),
    ("votes = '[]'", "votes"),
]


def test_a_vote_that_was_changed_is_named(database: Database, database_url: str) -> None:
    """Not the last one only."""
    watch_id = voted(database)
    for assignment, field in VOTES:
        found = changed(database, database_url, "pauses", assignment)
        assert [(bad["id"], bad["field"]) for bad in found] == [(watch_id, field)], assignment


EXECUTIONS = [
    ("consumed_at = consumed_at - interval '1 day'", "consumed_at"),
    ("consumed_with = 'run-0002'", "consumed_with"),
    ("outcome_status = 'failed'", "outcome_status"),
    ("outcome_at = now() + interval '1 day'", "outcome_at"),
    ("outcome_note = NULL", "outcome_note"),
    ("outcome_result = '2'", "outcome_result"),
    ("outcome_by = 'usr_ana'", "outcome_by"),
    ("outcome_by_name = 'Ana'", "outcome_by_name"),
    ("approval_valid_for = NULL", "approval_valid_for"),
    ("outcome_within = 3600", "outcome_within"),
]
UNUSED = ("consumed_at", "consumed_with", "outcome_status", "outcome_at", "outcome_note", "outcome_result")


def test_a_use_or_an_outcome_that_was_changed_is_named(database: Database, database_url: str) -> None:
    watch_id = post(database, **FULL, approval_valid_for=900, outcome_within=600)
    decide_pause(database, REVIEWER, watch_id, approve(response={"ok": True}))
    consume(database, AGENT, watch_id)
    report(database, AGENT, watch_id, "succeeded", note="done", result=1)
    assert verify_rows(database, ALL).bad == []
    for assignment, field in EXECUTIONS:
        found = changed(database, database_url, "pauses", assignment)
        assert [(bad["id"], bad["field"]) for bad in found] == [(watch_id, field)], assignment
    unused = ", ".join(f"{name} = NULL" for name in UNUSED)
    assert {bad["field"] for bad in changed(database, database_url, "pauses", unused)} == set(UNUSED)


def test_an_operator_who_was_removed_from_an_outcome_is_named(database: Database, database_url: str) -> None:
    watch_id = post(database)
    decide_pause(database, REVIEWER, watch_id, approve())
    consume(database, AGENT, watch_id)
    report(database, AGENT, watch_id, "unknown")
    settle_outcome(database, OPERATOR, uuid_of(watch_id), ExecutionStatus.FAILED, "no trace of it")
    assert verify_rows(database, ALL).bad == []
    found = changed(database, database_url, "pauses", "outcome_by = NULL, outcome_by_name = NULL")
    assert [(bad["id"], bad["field"]) for bad in found] == [(watch_id, "outcome_by"), (watch_id, "outcome_by_name")]
    assert found[0]["logged"] == OPERATOR.id


def test_a_missing_outcome_that_is_made_due_again_is_named(database: Database, database_url: str) -> None:
    watch_id = post(database)
    decide_pause(database, REVIEWER, watch_id, approve())
    consume(database, AGENT, watch_id)
    later = "outcome_due_at = outcome_due_at + interval '1 day'"
    assert [bad["field"] for bad in changed(database, database_url, "pauses", later)] == ["outcome_due_at"]


def test_a_decision_that_nobody_made_is_named(database: Database, database_url: str) -> None:
    watch_id = post(database)
    forged = "status = 'approved', resolved_at = now(), decided_by = 'x', decided_by_name = 'x'"
    tamper(database_url, f"UPDATE pauses SET {forged}")
    found = verify_rows(database, ADMIN)
    which = {"namespace": "default", "kind": "pause", "id": watch_id, "span": None}
    assert found.first_bad == {**which, "field": "status", "logged": "pending", "found": "approved", "seq": 1}
    assert [bad["field"] for bad in found.bad] == ["status", "decided_by", "decided_by_name", "resolved_at"]
    assert one(linked(database), "SELECT count(*) FROM audit_events") == 1


def test_a_decision_that_was_taken_back_is_named(database: Database, database_url: str) -> None:
    watch_id = post(database)
    decide_pause(database, REVIEWER, watch_id, reject())
    undone = "status = 'pending', resolved_at = NULL, decided_by = NULL, decided_by_name = NULL"
    tamper(database_url, f"UPDATE pauses SET {undone}")
    assert (watch_id, "status") in fields(verify_rows(database, ALL))


def test_a_pause_that_was_put_in_is_named(database: Database, database_url: str) -> None:
    post(database)
    copy = "CREATE TEMP TABLE put_in AS SELECT * FROM pauses"
    tamper(database_url, copy, "UPDATE put_in SET id = gen_random_uuid()", "INSERT INTO pauses SELECT * FROM put_in")
    (bad,) = verify_rows(database, ALL).bad
    assert (bad["field"], bad["logged"], bad["found"], bad["seq"]) == ("status", None, "pending", None)


def test_what_was_taken_away_before_its_end_is_named(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ended pause or saga may be gone: retention leaves no entry."""
    monkeypatch.setattr(row_verification, "ENTRIES", 2)
    ended, pending, trace_id = post(database), post(database), start(database, step("a"))
    decide_pause(database, REVIEWER, ended, reject())
    tamper(database_url, "DELETE FROM pauses", "DELETE FROM saga_steps", "DELETE FROM sagas")
    found = verify_rows(database, ALL)
    assert [(bad["kind"], bad["id"], bad["field"], bad["found"]) for bad in found.bad] == [
        ("pause", pending, "status", None),
        ("saga", trace_id.hex, "status", None),
    ]


OF_A, UNDO, OF_B = "step_id = 'a' AND compensates IS NULL", "compensates IS NOT NULL", "step_id = 'b'"


STEPS = [
    (OF_A, "status = 'COMPLETED'", "status"),
    (OF_A, "status = 'PENDING', ended_at = NULL", "status"),
    (OF_A, 'output = \'{"data": {"of": "another"}}\'', "output"),
    (OF_A, "output = NULL", "output"),
    (OF_A, "ended_at = ended_at - interval '1 day'", "ended_at"),
    (OF_A, "started_at = NULL", "started_at"),
    (OF_A, "call_began = true", "call_began"),
    (OF_A, "evidence = 'somebody: I looked'", "evidence"),
    (UNDO, "output = '{\"data\": null}'", "output"),
    (UNDO, "attempt = 2", "attempt"),
    (UNDO, 'correction = \'{"by": "x"}\'', "correction"),
    (UNDO, "status = 'SKIPPED'", "status"),
    (OF_B, "arguments = '{\"n\": 2}'", "arguments"),
    (OF_B, "arguments_digest = sha256('x')", "arguments_digest"),
    (OF_B, "watch_id = NULL", "watch_id"),
    (OF_B, "facts = '{\"x\": 1}'", "facts"),
    ("step_id = 'c'", 'error = \'{"code": "TOOL_ERROR", "message": "yes"}\'', "error"),
    ("step_id = 'c'", "step_id = 'd'", "step"),
]


def test_a_step_that_was_changed_is_named(database: Database, database_url: str) -> None:
    trace_id = compensated(database)
    for which, assignment, field in STEPS:
        found = changed(database, database_url, "saga_steps", assignment, which)
        assert {(bad["kind"], bad["id"]) for bad in found} == {("step", trace_id.hex)}, assignment
        assert field in [bad["field"] for bad in found]
        assert len({bad["span"] for bad in found}) == 1


def test_a_step_that_was_never_run_is_named(database: Database, database_url: str) -> None:
    trace_id = start(database, step("a", hitl=True), step("b"))
    work(database, trace_id, tools())
    tamper(database_url, "UPDATE saga_steps SET status = 'COMPLETED', ended_at = now() WHERE step_id = 'a'")
    (bad,) = verify_rows(database, ALL).bad
    assert (bad["field"], bad["logged"], bad["found"]) == ("status", "not ended", "COMPLETED")


SAGAS = [
    ("input = '{\"n\": 2}'", "input"),
    ("status = 'COMPLETED'", "status"),
    ("status = 'RUNNING', ended_at = NULL", "status"),
    ("ended_at = ended_at - interval '1 day'", "ended_at"),
    ("cancelled = 'by nobody'", "cancelled"),
]


def test_a_saga_that_was_changed_is_named(database: Database, database_url: str) -> None:
    trace_id = compensated(database)
    for assignment, field in SAGAS:
        bad = changed(database, database_url, "sagas", assignment)[0]
        assert (bad["kind"], bad["id"], bad["field"]) == ("saga", trace_id.hex, field), assignment


def test_what_an_older_release_logged_is_compared_as_far_as_it_goes(database: Database, database_url: str) -> None:
    """Entries without the row: of them the decision, the votes and the ends of steps."""
    watch_id, trace_id = voted(database), compensated(database)
    # The chain no longer fits: that is another question.
    older = "UPDATE audit_events SET entry = (entry::jsonb #- '{details,row}')::json"
    link_entries(database)
    tamper(database_url, older, "UPDATE pauses SET context = '{\"x\": 1}'")
    found = verify_rows(database, ALL)
    assert (found.bad, found.partly) == ([], 6)
    other = vote(1, "comment", '"x"')
    tamper(database_url, f"UPDATE pauses SET {other} WHERE votes IS NOT NULL")
    tamper(database_url, "UPDATE saga_steps SET status = 'FAILED' WHERE step_id = 'b'")
    assert fields(verify_rows(database, ALL)) == [(watch_id, "votes[1].comment"), (trace_id.hex, "status")]


def test_all_differences_are_counted_and_the_first_are_reported(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_verification, "LISTED", 3)
    for _ in range(5):
        post(database)
    tamper(database_url, "UPDATE pauses SET action = 'another'")
    found: dict[str, Any] = verify_rows(database, ALL).document()
    assert (found["differences"], len(found["bad"]), found["checked"]) == (5, 3, 5)

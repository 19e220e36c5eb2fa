"""The use of approvals in a real database: one winner, the same answer for its key, and a report that counts once."""

from collections import Counter
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from domain.identity.access import Role
from domain.pauses.consumption import MISSING, NEEDS_LOOK, NO_OUTCOME, ExecutionStatus
from domain.pauses.serialization import pause_document
from domain.values import canonical_json
from domain.values.errors import (
    AlreadyConsumed,
    ApprovalExpired,
    ArgumentsChanged,
    DomainError,
    ExecutionConflict,
    Forbidden,
    NotApproved,
    NotConsumed,
    NotFound,
    OutcomeConflict,
)
from services.kernel.pagination import Page
from services.kernel.quarantine import OUTCOME
from services.kernel.unit_of_work import Database
from services.log.row_verification import verify_rows
from services.pauses.execution import MISSING_BATCH, settle_outcome, sweep_missing_outcomes
from services.pauses.namespaces import put_namespace
from services.pauses.queries import Filter, count_needing_look, list_pauses
from tests.conftest import Recorded
from tests.services.by_watch_id import consume, decide_pause, get_pause, report
from tests.services.world import (
    ADMIN,
    AGENT,
    CALLBACK,
    OPERATOR,
    REVIEWER,
    an_endpoint,
    approve,
    at_once,
    change,
    deliveries,
    linked,
    one,
    post,
    prune,
    reject,
    rows,
    someone,
    uuid_of,
)

OTHER_AGENT = someone(Role.AGENT, id_="key_other")
ARGUMENTS = {"amount": 5}
DIGEST = canonical_json.digest(ARGUMENTS).hex()


def approved(database: Database, **fields: Any) -> str:
    watch_id = post(database, **{"arguments": ARGUMENTS, **fields})
    decide_pause(database, REVIEWER, watch_id, approve())
    return watch_id


def used(database: Database, **fields: Any) -> str:
    watch_id = approved(database, **fields)
    consume(database, AGENT, watch_id)
    return watch_id


def decided_before(database: Database, watch_id: str, seconds: float) -> None:
    """Let time pass since the decision."""
    assert change(
        database,
        "UPDATE pauses SET resolved_at = clock_timestamp() - make_interval(secs => :n) WHERE id = :id",
        n=seconds,
        id=uuid_of(watch_id),
    )


def overdue(database: Database, watch_id: str) -> None:
    """Let the time for the report run out."""
    statement = "UPDATE pauses SET outcome_due_at = now() - interval '1 s' WHERE id = :id"
    assert change(database, statement, id=uuid_of(watch_id))


def listed(database: Database, **filters: Any) -> list[str]:
    found = list_pauses(database, AGENT, Filter(**filters), Page())
    return [f"wch_{pause.id.hex}" for pause in found.items]


def test_an_approval_is_used_once(database: Database, publisher: Recorded) -> None:
    """The key that used it always gets the same answer, also after the report."""
    watch_id = approved(database)
    publisher.wakes.clear()
    first = consume(database, AGENT, watch_id, digest=DIGEST)
    assert not first.repeated
    assert publisher.wakes == [uuid_of(watch_id)], "open pages and streams show it"
    again = consume(database, AGENT, watch_id)
    assert (again.repeated, again.document) == (True, first.document)
    told = report(database, AGENT, watch_id, "succeeded", note="done", result={"id": "R-7"})
    later = consume(database, AGENT, watch_id)
    assert (later.repeated, later.document) == (True, told.document)
    assert later.document["consumption"]["consumedAt"] == first.document["consumption"]["consumedAt"]
    with pytest.raises(AlreadyConsumed) as refused:
        consume(database, AGENT, watch_id, "run-0002")
    assert refused.value.current == told.document


def test_many_keys_at_once_and_one_wins(database: Database) -> None:
    """One of fifty simultaneous uses succeeds. Its receivers hear of it once."""
    an_endpoint(database, event_types=("pause.consumed",))
    watch_id = approved(database)
    calls = [partial(consume, database, AGENT, watch_id, f"run-{number:04}") for number in range(50)]
    answers = at_once(calls)
    winners = [number for number, answer in enumerate(answers) if not isinstance(answer, Exception)]
    assert Counter(type(answer).__name__ for answer in answers)["AlreadyConsumed"] == 49
    assert len(winners) == 1
    assert one(database, "SELECT consumed_with FROM pauses") == f"run-{winners[0]:04}"
    assert [delivery["type"] for delivery in deliveries(database)] == ["pause.consumed"]


def test_one_key_at_once_always_gets_the_same_answer(database: Database) -> None:
    watch_id = approved(database)
    answers = at_once([partial(consume, database, AGENT, watch_id)] * 50)
    found = [answer for answer in answers if not isinstance(answer, Exception)]
    assert len(found) == 50
    assert Counter(answer.repeated for answer in found) == {True: 49, False: 1}
    assert all(answer.document == found[0].document for answer in found)


def test_contrary_reports_at_once_and_one_counts(database: Database) -> None:
    an_endpoint(database, event_types=("pause.outcome",))
    watch_id = used(database)
    calls = [partial(report, database, AGENT, watch_id, status) for status in ["succeeded", "failed"] * 20]
    answers = at_once(calls)
    counted = {
        answer.document["consumption"]["outcome"]["status"] for answer in answers if not isinstance(answer, Exception)
    }
    assert len(counted) == 1
    assert Counter(type(answer).__name__ for answer in answers) == {"Execution": 20, "OutcomeConflict": 20}
    assert [delivery["type"] for delivery in deliveries(database)] == ["pause.outcome"]


def test_validity_ends_for_a_first_use_only(database: Database) -> None:
    """The database's clock decides; a repeated key still gets its answer."""
    late, in_time = approved(database, approval_valid_for=60), used(database, approval_valid_for=60)
    before = get_pause(database, AGENT, in_time)
    for watch_id in (late, in_time):
        decided_before(database, watch_id, 60)
    with pytest.raises(ApprovalExpired) as refused:
        consume(database, AGENT, late)
    assert refused.value.current is not None
    assert refused.value.current["decision"]["validUntil"]
    assert consume(database, AGENT, in_time).repeated
    assert get_pause(database, AGENT, in_time).consumption == before.consumption
    decided_before(database, late, 10)
    assert not consume(database, AGENT, late).repeated


def test_what_is_not_approved_is_not_used(database: Database) -> None:
    pending, rejected = post(database), post(database)
    decide_pause(database, REVIEWER, rejected, reject())
    for watch_id in (pending, rejected):
        with pytest.raises(NotApproved) as refused:
            consume(database, AGENT, watch_id)
        assert refused.value.current == one_document(database, watch_id)
        with pytest.raises(NotConsumed):
            report(database, AGENT, watch_id, "succeeded")
    assert one(database, "SELECT count(*) FROM pauses WHERE consumed_at IS NOT NULL") == 0


def one_document(database: Database, watch_id: str) -> dict[str, Any]:
    return pause_document(get_pause(database, AGENT, watch_id), database.public_url)


def test_only_what_was_approved_is_used(database: Database) -> None:
    """A reviewer's edit changes the digest."""
    watch_id = post(database, arguments=ARGUMENTS)
    decide_pause(database, REVIEWER, watch_id, approve(arguments={"amount": 4}))
    with pytest.raises(ArgumentsChanged):
        consume(database, AGENT, watch_id, digest=DIGEST)
    consume(database, AGENT, watch_id, digest=canonical_json.digest({"amount": 4}).hex())
    with pytest.raises(ArgumentsChanged):
        consume(database, AGENT, watch_id, digest=DIGEST)


def test_only_its_agent_uses_an_approval(database: Database) -> None:
    """Another agent sees nothing; an admin sees it, and may not."""
    watch_id = approved(database)
    for by, refused in ((OTHER_AGENT, NotFound), (ADMIN, Forbidden)):
        for call in (partial(consume, database, by, watch_id), partial(report, database, by, watch_id, "failed")):
            with pytest.raises(refused):
                call()


def test_a_failed_transaction_uses_nothing(database: Database) -> None:
    """The row, the log and the deliveries are committed together or not at all."""
    an_endpoint(database)
    watch_id = approved(database)
    before = (one(linked(database), "SELECT count(*) FROM audit_events"), len(deliveries(database)))
    change(database, "ALTER TABLE audit_unlinked ADD CONSTRAINT full_disk CHECK (false) NOT VALID")
    try:
        with pytest.raises(Exception, match="full_disk"):
            consume(database, AGENT, watch_id)
    finally:
        change(database, "ALTER TABLE audit_unlinked DROP CONSTRAINT full_disk")
    assert (one(linked(database), "SELECT count(*) FROM audit_events"), len(deliveries(database))) == before
    assert not consume(database, AGENT, watch_id, "run-0002").repeated


def test_a_missing_outcome_is_reported_once(database: Database, publisher: Recorded) -> None:
    """A late report is still welcome."""
    an_endpoint(database, event_types=("pause.outcome_missing", "pause.outcome"))
    watch_id, young = used(database), used(database)
    overdue(database, watch_id)
    assert listed(database, outcome=MISSING) == [watch_id]
    assert at_once([partial(sweep_missing_outcomes, database)] * 4).count(1) == 1
    assert sweep_missing_outcomes(database) == 0
    assert [delivery["type"] for delivery in deliveries(database)] == ["pause.outcome_missing"]
    assert listed(database, outcome=MISSING) == [watch_id]
    report(database, AGENT, watch_id, "failed", note="late")
    assert [delivery["type"] for delivery in deliveries(database)] == ["pause.outcome_missing", "pause.outcome"]
    assert listed(database, outcome=MISSING) == []
    assert listed(database, outcome="failed") == [watch_id]
    assert listed(database, consumed=True) == [young, watch_id]


def test_no_outcome_is_missing_where_none_is_due(database: Database) -> None:
    """The client of a door may have no way to report. It may still report through the API."""
    watch_id = used(database, outcome_within=NO_OUTCOME)
    assert rows(database, "SELECT outcome_due_at FROM pauses") == [{"outcome_due_at": None}]
    assert (listed(database, outcome=MISSING), listed(database, outcome=NEEDS_LOOK)) == ([], [])
    assert count_needing_look(database, AGENT) == 0
    report(database, AGENT, watch_id, "unknown")
    assert listed(database, outcome=NEEDS_LOOK) == [watch_id]


def test_a_sweep_takes_one_batch(database: Database) -> None:
    for _ in range(3):
        overdue(database, used(database))
    assert MISSING_BATCH >= 3
    assert sweep_missing_outcomes(database) == 3


def test_a_row_that_cannot_be_read_delays_no_other(database: Database) -> None:
    broken, whole = used(database), used(database)
    for watch_id in (broken, whole):
        overdue(database, watch_id)
    check = f"id <> '{uuid_of(broken)}' OR outcome_due_at IS NOT NULL"
    change(database, f"ALTER TABLE pauses ADD CONSTRAINT broken CHECK ({check}) NOT VALID")
    try:
        assert sweep_missing_outcomes(database) == 2
        assert sweep_missing_outcomes(database) == 0, "the broken one is set aside"
    finally:
        change(database, "ALTER TABLE pauses DROP CONSTRAINT broken")
    left = rows(database, "SELECT id FROM pauses WHERE outcome_due_at IS NOT NULL")
    assert [row["id"] for row in left] == [uuid_of(broken)]
    assert one(database, "SELECT kind FROM set_aside") == OUTCOME


def test_an_unknown_outcome_is_reported_at_once(database: Database) -> None:
    an_endpoint(database, event_types=("pause.outcome_missing", "pause.outcome"))
    watch_id = used(database)
    report(database, AGENT, watch_id, "unknown", note="the line broke")
    assert sorted(delivery["type"] for delivery in deliveries(database)) == ["pause.outcome", "pause.outcome_missing"]
    assert listed(database, outcome="unknown") == [watch_id]
    with pytest.raises(OutcomeConflict):
        report(database, AGENT, watch_id, "succeeded")


def test_lists_tell_the_used_from_the_unused(database: Database) -> None:
    """An agent that was down finds its work."""
    waiting, done, pending = approved(database), used(database), post(database)
    assert listed(database, consumed=False, status="approved") == [waiting]
    assert listed(database, consumed=False) == [pending, waiting]
    assert listed(database, consumed=True) == [done]
    for outcome in ("missing", "unknown", "failed", "succeeded"):
        assert listed(database, outcome=outcome) == []


def test_a_callback_hears_of_the_decision_only(database: Database) -> None:
    """The agent itself uses the approval, and knows."""
    watch_id = used(database, callback_url=CALLBACK)
    report(database, AGENT, watch_id, "unknown")
    assert [delivery["type"] for delivery in deliveries(database)] == ["pause.approved"]


def test_a_namespace_limits_the_validity(database: Database) -> None:
    put_namespace(database, ADMIN, "default", None, {"approval_valid_for": 900})
    asked = [None, 60, 10_000]
    found = [get_pause(database, AGENT, post(database, approval_valid_for=each)) for each in asked]
    assert [pause.approval_valid_for for pause in found] == [900, 60, 900]


def test_the_log_has_every_use_and_every_outcome(database: Database) -> None:
    watch_id, missing = used(database), used(database)
    report(database, AGENT, watch_id, "failed", note="no money", result=1)
    overdue(database, missing)
    sweep_missing_outcomes(database)
    query = "SELECT entry ->> 'type' AS type, entry ->> 'by' AS by, entry -> 'details' AS details FROM audit_events"
    found = {row["type"]: row for row in rows(linked(database), f"{query} WHERE entry ->> 'type' ~ 'consumed|outcome'")}
    assert {type_: row["by"] for type_, row in found.items()} == {
        "pause.consumed": AGENT.id,
        "pause.outcome": AGENT.id,
        "pause.outcome_missing": "system",
    }
    told = found["pause.outcome"]["details"]
    assert (told["execution"], told["note"], told["arguments_digest"]) == ("failed", "no money", DIGEST)
    assert told["row"].keys() == {"outcome_status", "outcome_at", "outcome_note", "outcome_result", "outcome_due_at"}


def test_what_is_due_is_not_deleted(database: Database) -> None:
    """A used approval stays until its outcome is reported, or its absence is."""
    due, told, missed = used(database), used(database), used(database)
    report(database, AGENT, told, "succeeded")
    overdue(database, missed)
    sweep_missing_outcomes(database)
    for watch_id in (due, told, missed):
        decided_before(database, watch_id, 10 * 86_400)
    prune(database, timedelta(days=7))
    assert [row["id"] for row in rows(database, "SELECT id FROM pauses")] == [uuid_of(due)]


def test_every_conflict_has_the_present_state(database: Database) -> None:
    assert issubclass(ExecutionConflict, DomainError)
    watch_id = used(database)
    report(database, AGENT, watch_id, "succeeded")
    with pytest.raises(OutcomeConflict) as refused:
        report(database, AGENT, watch_id, "failed")
    assert refused.value.current == one_document(database, watch_id)


def test_an_operator_settles_an_unknown_outcome(database: Database) -> None:
    """It needs no look any more, receivers learn it, the log names the operator, and the rows fit the log."""
    an_endpoint(database, event_types=("pause.outcome",))
    watch_id = used(database)
    report(database, AGENT, watch_id, "unknown", note="the line broke", result=1)
    assert listed(database, outcome=NEEDS_LOOK) == [watch_id]
    succeeded, id_ = ExecutionStatus.SUCCEEDED, uuid_of(watch_id)
    settled = settle_outcome(database, OPERATOR, id_, succeeded, "in the ledger")
    assert not settled.repeated
    outcome = settled.document["consumption"]["outcome"]
    assert outcome.pop("reportedAt")
    assert outcome == {
        "status": "succeeded",
        "note": "in the ledger",
        "result": 1,
        "settledBy": OPERATOR.id,
        "settledByName": OPERATOR.name,
    }
    assert settle_outcome(database, OPERATOR, id_, succeeded, "in the ledger").repeated
    assert (listed(database, outcome=NEEDS_LOOK), count_needing_look(database, AGENT)) == ([], 0)
    assert [delivery["type"] for delivery in deliveries(database)] == ["pause.outcome"] * 2
    query = "SELECT entry ->> 'by' AS by, entry -> 'details' ->> 'note' AS note FROM audit_events"
    found = rows(linked(database), f"{query} WHERE entry ->> 'type' = 'pause.outcome'")
    assert {row["by"]: row["note"] for row in found} == {AGENT.id: "the line broke", OPERATOR.id: "in the ledger"}
    assert verify_rows(database, someone(Role.OPERATOR, "*")).bad == []
    with pytest.raises(OutcomeConflict) as refused:
        settle_outcome(database, OPERATOR, id_, ExecutionStatus.FAILED, "it is not there")
    assert refused.value.current == one_document(database, watch_id)


def test_a_missing_outcome_is_settled_once_it_is_overdue(database: Database) -> None:
    watch_id = used(database)
    failed, id_ = ExecutionStatus.FAILED, uuid_of(watch_id)
    with pytest.raises(OutcomeConflict, match="may still report"):
        settle_outcome(database, OPERATOR, id_, failed, "no trace of it")
    overdue(database, watch_id)
    answers = at_once([partial(settle_outcome, database, OPERATOR, id_, failed, note) for note in ("one", "two")])
    assert sorted(type(answer).__name__ for answer in answers) == ["Execution", "OutcomeConflict"]
    assert sweep_missing_outcomes(database) == 0
    with pytest.raises(OutcomeConflict):
        report(database, AGENT, watch_id, "succeeded")
    with pytest.raises(NotFound):
        settle_outcome(database, someone(Role.OPERATOR, "elsewhere"), id_, failed, "x")

"""Many decisions in one transaction: each has its own outcome, and the same one as alone."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from domain.identity.access import Principal, Role
from domain.pauses.pause import Approve, Cancel, Reject
from domain.values import ids
from domain.values.errors import (
    AlreadyResolved,
    NotUnderstood,
    RevisionChanged,
    RevisionRequired,
    SelfDecision,
    WrongState,
)
from services.kernel.connection_pool import DatabaseUnavailable
from services.kernel.group_commit import Aside, GroupCommit
from services.kernel.leases import DECISION
from services.kernel.unit_of_work import Database, WakeUp
from services.pauses.changes import PauseChange
from services.pauses.lifecycle import expire_due
from services.reviews.shared_decisions import DecisionCall, decide_pauses
from services.reviews.step_decisions import rerun_step
from services.sagas.lifecycle import cancel_saga
from services.sagas.queries import StepRef
from tests.conftest import Recorded
from tests.services.breaking import ending_after, losing_answers
from tests.services.saga_world import current_ref, is_due, pending_pauses, start, step, tools, watch_of, work
from tests.services.world import (
    AGENT,
    CALLBACK,
    OPERATOR,
    REVIEWER,
    an_endpoint,
    approve,
    at_once,
    cancel,
    change,
    deliveries,
    expire,
    one,
    post,
    reject,
    rows,
    someone,
    uuid_of,
)

Command = Approve | Reject | Cancel
STRANGER = someone(Role.REVIEWER, "elsewhere")
ANOTHER_AGENT = someone(Role.AGENT, id_="key_another")


def call(which: str | StepRef, command: Command | None = None, by: Principal = REVIEWER) -> DecisionCall:
    return DecisionCall(by, which if isinstance(which, StepRef) else uuid_of(which), command or approve(by))


def together(database: Database, *calls: DecisionCall) -> list[PauseChange | Exception]:
    return decide_pauses(database, lambda: calls)


def kinds(outcomes: Sequence[object]) -> list[type]:
    return [type(outcome) for outcome in outcomes]


def held(database: Database, **more: Any) -> UUID:
    """A saga whose step b is held."""
    trace_id = start(database, step("a", undo=True), step("b", hitl=True, **more))
    work(database, trace_id, tools())
    return trace_id


def status(database: Database, watch_id: str) -> str:
    return str(one(database, "SELECT status FROM pauses WHERE id = :id", id=uuid_of(watch_id)))


@pytest.mark.parametrize("command", [approve(comment="go", response={"z": 1, "a": None}), reject(response="no")])
def test_a_decision_in_a_batch_is_the_same_as_alone(
    database: Database, publisher: Recorded, command: Approve | Reject
) -> None:
    """The row, the log, the deliveries and the wake-ups."""
    an_endpoint(database, event_types=("pause.approved", "pause.rejected"))
    made = [post(database, arguments={"z": 1, "a": [2]}, callback_url=CALLBACK, response_schema={}) for _ in range(3)]
    publisher.wakes.clear()
    alone = together(database, call(made[0], command))
    both = together(database, call(made[1], command), call(made[2], command))
    assert kinds([*alone, *both]) == [PauseChange] * 3
    decided = rows(database, "SELECT * FROM pauses ORDER BY id")
    told = rows(database, "SELECT * FROM audit_unlinked WHERE entry ->> 'type' <> 'pause.created' ORDER BY id")
    sent = sorted(deliveries(database), key=lambda each: (each["pause_id"], each["endpoint_id"] is None))
    entries = [row["entry"]["details"] | {name: row["entry"][name] for name in ("by", "type")} for row in told[-3:]]
    shown = [change.document for change in [*alone, *both]]  # type: ignore[union-attr]
    for row in sent:
        del row["body"]
    for each in (entries, decided, sent[::2], sent[1::2], shown):
        assert [timeless(row) for row in each] == [timeless(each[0])] * 3
    assert sorted(publisher.wakes) == [uuid_of(watch_id) for watch_id in made]
    assert len(publisher.wakeups) == 6


VARYING = {
    *("id", "created_at", "resolved_at", "expires_at", "message_id", "pause_id", "due_at", "hint_at", "seq", "row"),
    *("watchId", "createdAt", "resolvedAt", "expiresAt", "statusUrl", "reviewUrl", "decidedAt", "at"),
}


def timeless(document: Any) -> Any:
    if isinstance(document, dict):
        return {name: timeless(value) for name, value in document.items() if name not in VARYING}
    return [timeless(each) for each in document] if isinstance(document, list) else document


def test_each_has_its_own_outcome(database: Database) -> None:
    """Errors, decisions that come too late, and those that need more than a batch does."""
    late, own, good, other = (post(database) for _ in range(4))
    expire(database, late)
    edited, several = post(database, arguments={"n": 1}), post(database)
    newer = post(database)
    for watch_id, review in ((newer, '{"magic": 1}'), (several, '{"approvals": 2}')):
        change(
            database,
            "UPDATE pauses SET review = CAST(:review AS json) WHERE id = :id",
            review=review,
            id=uuid_of(watch_id),
        )
    cases: list[tuple[DecisionCall, type]] = [
        (call(late), AlreadyResolved),
        (call(good, approve(revision=2)), RevisionChanged),
        (call(own, by=someone(Role.REVIEWER, id_=AGENT.id)), SelfDecision),
        (call(newer), NotUnderstood),
        (call(good, by=STRANGER), Aside),
        (call(good, cancel(ANOTHER_AGENT), ANOTHER_AGENT), Aside),
        (call(ids.text(ids.WATCH, UUID(int=1))), Aside),
        (call(edited, approve(arguments={"n": 2})), Aside),
        (call(several), Aside),
        (call(good), PauseChange),
        (call(other, cancel(), AGENT), PauseChange),
    ]
    outcomes = together(database, *(each for each, _ in cases))
    assert kinds(outcomes) == [kind for _, kind in cases]
    assert isinstance(outcomes[0], AlreadyResolved)
    assert outcomes[0].current["status"] == status(database, late) == "expired"
    assert (status(database, good), status(database, other)) == ("approved", "cancelled")
    assert pending_pauses(database) == 4


def test_a_row_that_cannot_be_read_hurts_no_other_caller(database: Database) -> None:
    """Its own caller gets the error."""
    poisoned, good = post(database), post(database)
    change(database, "UPDATE pauses SET metadata = '1' WHERE id = :id", id=uuid_of(poisoned))
    decisions = GroupCommit(partial(decide_pauses, database))
    outcomes = at_once([partial(decisions.do, call(each)) for each in [poisoned, good] * 8])
    assert {type(outcome) for outcome in outcomes[1::2]} == {PauseChange}
    assert PauseChange not in {type(outcome) for outcome in outcomes[::2]}
    assert status(database, good) == "approved"


def test_contrary_decisions_in_one_batch(database: Database, publisher: Recorded) -> None:
    """The first counts, and the next ones see it."""
    watch_id = post(database, callback_url=CALLBACK)
    outcomes = together(
        database, call(watch_id), call(watch_id, reject()), call(watch_id), call(watch_id, cancel(), AGENT)
    )
    assert kinds(outcomes) == [PauseChange, AlreadyResolved, PauseChange, AlreadyResolved]
    assert [outcome.changed for outcome in outcomes if isinstance(outcome, PauseChange)] == [True, False]
    documents = [each.document if isinstance(each, PauseChange) else each.current for each in outcomes]
    assert documents == [documents[0]] * 4
    assert len(deliveries(database)) == 1
    assert publisher.wakes == [uuid_of(watch_id)]


def test_held_steps(database: Database, publisher: Recorded) -> None:
    """By the step or by its pause: the saga is due, and only for a decision that counts."""
    first, second, third = (held(database) for _ in range(3))
    stranger, elsewhere = StepRef(first, "0" * 16), StepRef(third, current_ref(database, third).span, "elsewhere")
    outcomes = together(
        database,
        call(current_ref(database, first)),
        call(current_ref(database, first), reject()),
        call(watch_of(database, second), reject()),
        call(current_ref(database, second), reject()),
        *(call(stranger), call(elsewhere), call(current_ref(database, third), by=STRANGER)),
        call(current_ref(database, third), approve(arguments={"n": 2})),
    )
    assert kinds(outcomes) == [PauseChange, AlreadyResolved, PauseChange, PauseChange, Aside, Aside, Aside, Aside]
    assert [is_due(database, each) for each in (first, second, third)] == [True, True, False]
    assert Counter(publisher.wakeups)[WakeUp(DECISION, first)] == 1


@pytest.mark.parametrize("locked", ["pauses", "sagas"])
def test_a_batch_waits_for_no_lock(database: Database, publisher: Recorded, locked: str) -> None:
    """Whose row is locked is set aside, with every decision on that pause, and nothing of it is stored."""
    busy, free = held(database), held(database)
    of_busy = current_ref(database, busy)
    publisher.wakeups.clear()
    held_by = f"SELECT 1 FROM {locked} WHERE id = :id FOR UPDATE"
    with database.transaction() as uow:
        uow.conn.execute(text(held_by), {"id": busy if locked == "sagas" else uuid_of(watch_of(database, busy))})
        outcomes = together(database, call(of_busy), call(current_ref(database, free)), call(of_busy, reject()))
    assert kinds(outcomes) == [Aside, PauseChange, Aside]
    assert (pending_pauses(database), is_due(database, busy)) == (1, False)
    assert publisher.wakeups == [WakeUp(DECISION, free)]


def test_an_ended_saga_is_decided_alone(database: Database) -> None:
    """As before: its pause is resolved, and no worker is woken."""
    trace_id, other = held(database), held(database)
    watch_id = watch_of(database, trace_id)
    change(database, "UPDATE sagas SET ended_at = now(), status = 'FAILED' WHERE id = :id", id=trace_id)
    outcomes = together(database, call(watch_id), call(watch_of(database, other)))
    assert kinds(outcomes) == [Aside, PauseChange]
    assert kinds(together(database, call(watch_id))) == [PauseChange]
    assert not is_due(database, trace_id)


STATEMENTS = (
    "saga_steps.watch_id, sagas",
    "FOR NO KEY UPDATE SKIP LOCKED",
    "UPDATE sagas",
    "webhook_messages",
)


@pytest.mark.parametrize("at", STATEMENTS)
def test_a_process_that_ends_within_a_batch_has_decided_nothing(database: Database, at: str, database_url: str) -> None:
    """After any of its statements: then the same callers decide."""
    trace_id = held(database)
    an_endpoint(database, event_types=("pause.approved",))
    plain, which = post(database), current_ref(database, trace_id)
    with ending_after(database, at):
        with pytest.raises(DatabaseUnavailable):
            together(database, call(plain), call(which))
        assert (pending_pauses(database), is_due(database, trace_id), deliveries(database)) == (2, False, [])
    assert kinds(together(database, call(plain), call(which))) == [PauseChange] * 2
    assert (pending_pauses(database), is_due(database, trace_id), len(deliveries(database))) == (0, True, 2)


def test_a_commit_whose_answer_is_lost_is_not_repeated(database: Database) -> None:
    """Every caller hears that the outcome is unknown. The same decision again is answered, a contrary one refused."""
    made = [post(database, callback_url=CALLBACK) for _ in range(3)]
    decisions = GroupCommit(partial(decide_pauses, database))
    with losing_answers(database):
        outcomes = at_once([partial(decisions.do, call(watch_id)) for watch_id in made])
    assert kinds(outcomes) == [DatabaseUnavailable] * 3
    assert (pending_pauses(database), len(deliveries(database))) == (0, 3)
    again = together(database, *(call(watch_id) for watch_id in made), call(made[0], reject()))
    assert kinds(again) == [PauseChange] * 3 + [AlreadyResolved]
    assert not any(outcome.changed for outcome in again if isinstance(outcome, PauseChange))
    assert len(deliveries(database)) == 3


ROUNDS = 2
# Another one was first, or has run the step again.
_LATE = AlreadyResolved | WrongState | RevisionRequired


def test_at_once_with_everything_else(database: Database) -> None:
    """Batches beside the engine, cancellations, reruns and expiries: no deadlock, and one outcome for each pause."""
    decisions = GroupCommit(partial(decide_pauses, database))
    others = GroupCommit(partial(decide_pauses, database))
    for _ in range(ROUNDS):
        sagas = [held(database, hitl_timeout_seconds=3600) for _ in range(4)]
        refs = {trace_id: current_ref(database, trace_id) for trace_id in sagas}
        watches = {trace_id: watch_of(database, trace_id) for trace_id in sagas}
        expire(database, watches[sagas[0]])
        calls: list[Callable[[], object]] = [partial(expire_due, database)] * 2
        for trace_id in sagas:
            calls += [
                partial(decisions.do, call(refs[trace_id])),
                partial(decisions.do, call(watches[trace_id], reject())),
                partial(others.do, call(watches[trace_id])),
                partial(others.do, call(refs[trace_id], reject())),
                partial(rerun_step, database, OPERATOR, refs[trace_id], None, None),
                partial(work, database, trace_id, tools()),
            ]
        calls += [partial(cancel_saga, database, OPERATOR, trace_id, None) for trace_id in sagas[1:3]]
        outcomes = at_once(calls)
        wrong = [each for each in outcomes if isinstance(each, Exception)]
        assert not [each for each in wrong if not isinstance(each, _LATE)]
        for trace_id in sagas:
            work(database, trace_id, tools())
        decided = Counter(row["subject"] for row in rows(database, _DECIDED))
        assert set(decided.values()) == {1}
        assert set(watches.values()) <= decided.keys()


_DECIDED = """
SELECT entry ->> 'subject' AS subject FROM audit_unlinked
WHERE entry ->> 'type' IN ('pause.approved', 'pause.rejected', 'pause.cancelled', 'pause.expired')
"""

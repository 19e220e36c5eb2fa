"""Turns of several sagas that share a transaction: nothing is lost, and no saga suffers for another one."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import psycopg2
import pytest

from domain.manifests.definition import DefinitionGone
from domain.sagas.outcome import Done, ToolFound
from domain.values.errors import NotUnderstood
from services.kernel.connection_pool import DatabaseUnavailable
from services.kernel.group_commit import Aside, GroupCommit
from services.kernel.unit_of_work import Database
from services.sagas.engine import advance, record, record_look_up
from services.sagas.lifecycle import StartRequest, start_saga
from services.sagas.turns import Taken, Turn, take_turns
from services.sagas.work import ToolCall, ToolLookup, Work
from tests.services.breaking import losing_answers
from tests.services.saga_turns import take
from tests.services.saga_world import approve_held, start, statuses, step
from tests.services.world import AGENT, change, one, rows

DONE = Done({"of": "it"})
NOTHING = Taken(None)


def started(database: Database, count: int, *steps: dict[str, Any]) -> list[UUID]:
    """Sagas of one definition, with the inputs 0, 1, …"""
    first = start(database, *(steps or (step("a"), step("b"))), n=0)
    more = [start_saga(database, AGENT, StartRequest("default", "s", "1", {"n": n}))[0] for n in range(1, count)]
    return [first, *more]


def claimed(database: Database, ids: list[UUID]) -> list[ToolCall]:
    return calls(take_turns(database, lambda: [advance(id_) for id_ in ids]))


def calls(outcomes: list[Taken | Exception]) -> list[ToolCall]:
    return [work for work in works(outcomes) if isinstance(work, ToolCall)]


def works(outcomes: list[Taken | Exception]) -> list[Work | None]:
    assert all(isinstance(outcome, Taken) for outcome in outcomes), outcomes
    return [outcome.work for outcome in outcomes if isinstance(outcome, Taken)]


def results(made: list[ToolCall]) -> list[Turn]:
    return [record(call, DONE, {}, 0.5) for call in made]


def leased(database: Database) -> int:
    found: int = one(database, "SELECT count(*) FROM sagas WHERE lease_token IS NOT NULL")
    return found


def test_each_saga_gets_its_own_work(database: Database) -> None:
    ids = started(database, 5)
    made = claimed(database, ids)
    assert [call.arguments["n"] for call in made] == [0, 1, 2, 3, 4]
    assert len({call.lease.token for call in made}) == 5
    made = calls(take_turns(database, lambda: results(made)))
    assert [(call.tool, call.arguments["n"]) for call in made] == [("do_b", n) for n in range(5)]
    assert take_turns(database, lambda: results(made)) == [NOTHING] * 5
    assert {statuses(database, id_) for id_ in ids} == {("COMPLETED",) * 3}


def test_a_saga_is_claimed_once(database: Database) -> None:
    """By doubled wake-ups in one transaction, and by a result beside a wake-up."""
    (id_,) = started(database, 1)
    first, again = take_turns(database, lambda: [advance(id_), advance(id_)])
    (call,) = calls([first])
    assert isinstance(again, Aside)
    assert take(database, advance(id_)) is None
    following, nothing = take_turns(database, lambda: [*results([call]), advance(id_)])
    assert [each.tool for each in calls([following])] == ["do_b"]
    assert nothing == NOTHING


def test_what_was_approved_is_used_once_each(database: Database) -> None:
    ids = started(database, 3, step("a", hitl=True), step("b"))
    looked = [
        record_look_up(work, ToolFound({}), 0.5)
        for work in works(take_turns(database, lambda: [advance(id_) for id_ in ids]))
        if isinstance(work, ToolLookup)
    ]
    assert take_turns(database, lambda: looked) == [NOTHING] * 3
    # One of them stays undecided.
    for id_ in ids[:2]:
        approve_held(database, id_)
    made = claimed(database, ids[:2])
    assert [call.tool for call in calls(take_turns(database, lambda: results(made)))] == ["do_b"] * 2
    used = rows(database, "SELECT outcome_status, consumed_with FROM pauses WHERE consumed_at IS NOT NULL")
    assert [row["outcome_status"] for row in used] == ["succeeded"] * 2
    assert len({row["consumed_with"] for row in used}) == 2


def no_definition(database: Database, id_: UUID) -> type[Exception]:
    change(database, "UPDATE sagas SET workers = '{}' WHERE id = :id", id=id_)
    return DefinitionGone


def newer_status(database: Database, id_: UUID) -> type[Exception]:
    change(database, "ALTER TABLE saga_steps DROP CONSTRAINT ck_saga_steps_status")
    change(database, "UPDATE saga_steps SET status = 'DREAMING' WHERE saga_id = :id AND place = 0", id=id_)
    return NotUnderstood


def refused_by_the_database(database: Database, id_: UUID) -> type[Exception]:
    """Only when the writes are sent, with the commit."""
    change(
        database,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF NEW.id = '{id_}' THEN RAISE EXCEPTION 'not this one' USING ERRCODE = '23514'; END IF; RETURN NEW; END $$",
    )
    change(database, "CREATE TRIGGER refuse BEFORE UPDATE ON sagas FOR EACH ROW EXECUTE FUNCTION refuse()")
    return psycopg2.errors.CheckViolation


@pytest.mark.parametrize("poison", [no_definition, newer_status, refused_by_the_database])
def test_one_poisoned_saga_harms_no_other(
    poison: Callable[[Database, UUID], type[Exception]], database: Database
) -> None:
    """It raises for its own caller, and nothing of its turn is stored."""
    good = started(database, 3)
    bad = good.pop(1)
    error = poison(database, bad)
    group: GroupCommit[Turn, Taken] = GroupCommit(lambda wanted: take_turns(database, wanted))
    outcomes = group.do_all([advance(id_) for id_ in (good[0], bad, good[1])])
    assert isinstance(outcomes.pop(1), error)
    assert [call.tool for call in calls(outcomes)] == ["do_a", "do_a"]
    assert leased(database) == 2


def test_a_saga_that_another_transaction_has_locked_delays_no_other(database: Database) -> None:
    ids = started(database, 3)
    made = claimed(database, ids)
    with database.transaction() as uow:
        uow.conn.exec_driver_sql("SELECT FROM sagas WHERE id = %s FOR UPDATE", (str(ids[1]),))
        outcomes = take_turns(database, lambda: results(made))
        assert isinstance(outcomes.pop(1), Aside)
        assert [call.tool for call in calls(outcomes)] == ["do_b"] * 2
    following = take(database, results(made)[1])
    assert isinstance(following, ToolCall)
    assert following.tool == "do_b"


def test_an_approval_that_another_transaction_has_locked_delays_no_other(database: Database) -> None:
    ids = started(database, 2, step("a", hitl=True))
    for id_ in ids:
        work = take(database, advance(id_))
        assert isinstance(work, ToolLookup)
        assert take(database, record_look_up(work, ToolFound({}), 0.5)) is None
        approve_held(database, id_)
    held = "SELECT FROM pauses WHERE id = (SELECT watch_id FROM saga_steps WHERE saga_id = %s) FOR UPDATE"
    with database.transaction() as uow:
        uow.conn.exec_driver_sql(held, (str(ids[0]),))
        locked, free = take_turns(database, lambda: [advance(id_) for id_ in ids])
        assert isinstance(locked, Aside)
        assert [call.tool for call in calls([free])] == ["do_a"]
    assert isinstance(take(database, advance(ids[0])), ToolCall)


def test_a_worker_that_ends_during_a_batch_leaves_nothing(database: Database) -> None:
    """Its connection ends before the commit: each result is still to be recorded, and each claim free."""
    claims, held = started(database, 2), started(database, 2)
    made = claimed(database, held)

    def killed() -> list[Turn]:
        kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'"
        assert one(database, kill)
        return [*results(made), *(advance(id_) for id_ in claims)]

    with pytest.raises(DatabaseUnavailable):
        take_turns(database, killed)
    assert leased(database) == 2
    outcomes = take_turns(database, lambda: [*results(made), *(advance(id_) for id_ in claims)])
    assert [call.tool for call in calls(outcomes)] == ["do_b", "do_b", "do_a", "do_a"]


def test_a_commit_whose_answer_is_lost_leads_to_the_same_calls(database: Database) -> None:
    """Results are recorded once, and a claim that was committed is free when its lease has run out."""
    held = started(database, 2)
    made, (claim,) = claimed(database, held), started(database, 1)
    with losing_answers(database), pytest.raises(DatabaseUnavailable):
        take_turns(database, lambda: [*results(made), advance(claim)])
    *following, nothing = take_turns(database, lambda: [*results(made), advance(claim)])
    assert [(call.tool, call.again) for call in calls(following)] == [("do_b", False)] * 2
    assert nothing == NOTHING
    assert leased(database) == 3
    assert one(database, "SELECT count(*) FROM audit_unlinked WHERE entry ->> 'type' = 'step.completed'") == 2

"""Many starts of sagas in one transaction: each has its own outcome, and the same one as alone."""

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID

import psycopg2
import pytest

from domain.identity.access import Role
from domain.values.errors import Forbidden, Invalid, NotFound
from services.kernel.connection_pool import DatabaseUnavailable
from services.kernel.group_commit import Aside, GroupCommit
from services.kernel.idempotency import RepeatedRequest
from services.kernel.leases import SAGA
from services.kernel.unit_of_work import Database, WakeUp
from services.manifests.definitions import deploy
from services.sagas import shared_starts
from services.sagas.lifecycle import StartRequest, start_saga
from services.sagas.shared_starts import StartCall, Started, checked, start_sagas
from tests.conftest import Recorded
from tests.services.breaking import ending_after, losing_answers
from tests.services.saga_world import WORKER, saga_of, statuses, step, tools, work
from tests.services.world import ADMIN, AGENT, at_once, idempotency, one, rows, someone

SCHEMA = {"type": "object", "properties": {"order": {"type": "string", "pattern": "^A-"}}}
WANTED = StartRequest("default", "s", "1", {"order": "A-1", "lines": [2, 1]})


@pytest.fixture(autouse=True)
def deployed(database: Database) -> None:
    shared_starts._last.clear()
    deploy(database, ADMIN, WORKER, replace=False)
    steps = [step("a", **{"with": {}}), step("b", undo=True, **{"with": {}})]
    for name, more in (("s", {}), ("strict", {"input_schema": SCHEMA})):
        deploy(database, ADMIN, {"kind": "saga", "name": name, "version": "1", "steps": steps, **more}, replace=False)


def call(key: str | None = None, request: str | None = None, **changes: Any) -> StartCall:
    wanted = replace(WANTED, idempotency_key=key, **changes)
    return StartCall(AGENT, wanted, None if request is None else idempotency(request))


def together(database: Database, *calls: StartCall) -> list[Started | Exception]:
    return start_sagas(database, lambda: calls)


def kinds(outcomes: Sequence[object]) -> list[type]:
    return [type(outcome) for outcome in outcomes]


def count(database: Database) -> int:
    return int(one(database, "SELECT count(*) FROM sagas"))


def test_a_start_in_a_batch_is_the_same_as_alone(database: Database, publisher: Recorded) -> None:
    """The saga with its steps, the log, the stored response and the wake-up; and a worker can run it."""
    alone, _ = start_saga(database, AGENT, replace(WANTED, idempotency_key="key-1"), idempotency("request-1"))
    first, second = together(database, call("key-2", "request-2"), call("key-3", "request-3"))
    assert isinstance(first, Started)
    assert isinstance(second, Started)
    ids = [alone, first.trace_id, second.trace_id]
    assert publisher.wakeups == [WakeUp(SAGA, id_) for id_ in ids]
    compared = {
        "sagas": "id, created_at, due_at, hint_at, start_idempotency_key",
        "saga_steps": "saga_id, span_id",
        "idempotency_keys": "key, created_at, saga_id, answer",
    }
    for table, varying in compared.items():
        named = ", ".join(f"'{name.strip()}'" for name in varying.split(","))
        query = f"SELECT DISTINCT CAST(to_jsonb({table}) - ARRAY[{named}] AS text) AS row FROM {table}"
        assert len(rows(database, query)) == (2 if table == "saga_steps" else 1)
    told = (
        "SELECT entry ->> 'subject' AS subject, entry ->> 'by' AS by, entry -> 'details' AS details FROM audit_unlinked"
    )
    entries = rows(database, f"{told} WHERE entry ->> 'type' = 'saga.started'")
    assert {row["subject"] for row in entries} == {id_.hex for id_ in ids}
    assert [row["details"] | {"by": row["by"]} for row in entries] == [entries[0]["details"] | {"by": AGENT.id}] * 3
    assert saga_of(database, first.trace_id).input == WANTED.input
    work(database, first.trace_id, tools())
    assert statuses(database, first.trace_id) == ("COMPLETED", "COMPLETED", "COMPLETED")


def test_each_has_its_own_outcome(database: Database) -> None:
    """Errors, repeated starts, and those that have to be executed alone."""
    known = UUID(int=7)
    start_saga(database, AGENT, replace(WANTED, idempotency_key="before", trace_id=known), idempotency("request"))
    cases: list[tuple[StartCall, type]] = [
        (call(name="missing"), NotFound),
        (call("before"), Aside),
        (call(request="request"), Aside),
        (call(trace_id=known), Aside),
        (call(trace_id=UUID(int=8)), Started),
        (call(trace_id=UUID(int=8)), Aside),
        (call("new"), Started),
        (call("new"), Aside),
        (call(request="same"), Started),
        (call(request="same"), Aside),
        (call(name="strict"), Aside),
        (checked(call(name="strict")), Aside),
    ]
    assert kinds(together(database, *(each for each, _ in cases))) == [kind for _, kind in cases]
    assert count(database) == 4
    assert isinstance(saga_of(database, UUID(int=8)).steps, tuple)


def test_an_input_is_checked_before(database: Database) -> None:
    """Once the process knows the definition. Without that, or with errors, the start is executed alone."""
    good, bad = call(name="strict"), call(name="strict", input={"order": "B"})
    assert kinds(together(database, checked(good), checked(bad))) == [Aside, Aside]
    assert kinds(together(database, checked(good), checked(bad))) == [Started, Aside]
    with pytest.raises(Invalid):
        together(database, checked(bad))
    with pytest.raises(Forbidden):
        checked(replace(good, by=someone(Role.AGENT, "elsewhere")))
    steps = [step("a", **{"with": {}})]
    other = {"kind": "saga", "name": "strict", "version": "1", "steps": steps, "input_schema": {"type": "object"}}
    before = checked(good)
    deploy(database, ADMIN, other, replace=True)
    assert kinds(together(database, before, call())) == [Aside, Started]


def test_the_same_key_from_many_threads_starts_one_saga(database: Database) -> None:
    """In two processes at once, beside others."""
    two = [GroupCommit(partial(start_sagas, database)) for _ in range(2)]
    calls = [
        partial(starts.do, call(key, request))
        for starts in two * 4
        for key, request in (("one", None), ("two", None), (None, "three"), (None, None))
    ]
    outcomes = at_once(calls)
    assert {type(outcome) for outcome in outcomes} <= {Started, RepeatedRequest}
    assert count(database) == 3 + 8
    assert sum(isinstance(outcome, Started) and outcome.is_new for outcome in outcomes) == 3 + 8
    assert one(database, "SELECT count(*) FROM saga_steps") == 2 * (3 + 8)


@pytest.mark.parametrize("table", ["idempotency_keys", "sagas"])
def test_a_key_that_another_process_uses_delays_no_other_start(
    database: Database, database_url: str, table: str
) -> None:
    """The batch does not wait for it: each of its callers starts alone."""
    (template,) = together(database, call("template", "template"))
    assert isinstance(template, Started)
    columns = ", ".join(each["column_name"] for each in rows(database, _COLUMNS, name=table))
    named = {"key": "'contested'", "start_idempotency_key": "'contested'", "id": "gen_random_uuid()"}
    values = ", ".join(named.get(name, name) for name in columns.split(", "))
    contested = call(**{"request" if table == "idempotency_keys" else "key": "contested"})
    with contextlib.closing(psycopg2.connect(database_url)) as connection:
        connection.cursor().execute(f"INSERT INTO {table} ({columns}) SELECT {values} FROM {table}")
        with pytest.raises(DatabaseUnavailable) as away:
            together(database, contested, call("good"))
        assert away.value.may_be_a_rows
        assert count(database) == 1
        connection.commit()
    assert kinds(together(database, contested, call("good"))) == [Aside, Started]


_COLUMNS = "SELECT column_name FROM information_schema.columns WHERE table_name = :name AND table_schema = 'public'"


@pytest.mark.parametrize(
    "at", ["SET LOCAL", "INSERT INTO sagas", "INSERT INTO saga_steps", "INSERT INTO idempotency_keys"]
)
def test_a_process_that_ends_within_a_batch_has_started_nothing(database: Database, at: str) -> None:
    calls = call("one"), call(request="two")
    with ending_after(database, at), pytest.raises(DatabaseUnavailable):
        together(database, *calls)
    assert (count(database), one(database, "SELECT count(*) FROM idempotency_keys")) == (0, 0)
    assert kinds(together(database, *calls)) == [Started, Started]


def test_a_commit_whose_answer_is_lost_is_not_repeated(database: Database) -> None:
    """Every caller hears that the outcome is unknown, and the same request again finds its saga."""
    starts = GroupCommit(partial(start_sagas, database))
    calls = [call("one"), call(request="two"), call("three")]
    with losing_answers(database):
        outcomes = at_once([partial(starts.do, each) for each in calls])
    assert kinds(outcomes) == [DatabaseUnavailable] * 3
    assert count(database) == 3
    again = at_once([partial(starts.do, each) for each in calls])
    assert kinds(again) == [Started, RepeatedRequest, Started]
    assert count(database) == 3

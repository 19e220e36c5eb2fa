"""Many creates in one transaction: the wait or the error of one create does not affect the others."""

import threading
from functools import partial

import psycopg2
import pytest

from domain.values.errors import Forbidden, Invalid, PolicyUnsatisfiable
from services.kernel.connection_pool import DatabaseUnavailable
from services.kernel.group_commit import Aside, GroupCommit
from services.kernel.unit_of_work import Database
from services.pauses.lifecycle import Created, CreateRequest, check_creation, create_pauses
from tests.services.world import ADMIN, AGENT, an_endpoint, draft, idempotency, one

HEAVY = {"type": "object", "properties": {f"f{n}": {"type": "string", "pattern": "^[a-z]{1,9}$"} for n in range(5)}}


def request(key: str | None = None, **changes: object) -> CreateRequest:
    return CreateRequest(AGENT, draft(**changes), None if key is None else idempotency(key))


@pytest.fixture
def contested(database: Database, database_url: str):  # type: ignore[no-untyped-def]
    """A key that another transaction has inserted and not committed yet."""
    connection = psycopg2.connect(database_url)
    connection.cursor().execute(
        "INSERT INTO idempotency_keys VALUES ('default', 'contested', decode(repeat('00', 32), 'hex'), '{}', now())"
    )
    yield "contested"
    connection.close()


def test_a_key_that_is_held_elsewhere_is_waited_for_alone(database: Database, contested: str) -> None:
    """Those of the same batch have their pauses, also with keys of their own once they are alone."""
    outcomes = create_pauses(database, lambda: [request(), request(contested), request("mine"), request()])
    assert [type(outcome) for outcome in outcomes] == [Created, Aside, Aside, Created]
    assert one(database, "SELECT count(*) FROM pauses") == 2
    assert one(database, "SELECT count(*) FROM idempotency_keys") == 0
    assert isinstance(create_pauses(database, lambda: [request("mine")])[0], Created)


def test_creates_go_on_beside_it(database: Database, contested: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread waits; the others do not."""
    creations = GroupCommit(partial(create_pauses, database))
    waits = threading.Thread(target=lambda: creations.do(request(contested)))
    waits.start()
    for _ in range(5):
        creations.do(request())
    assert one(database, "SELECT count(*) FROM pauses") == 5
    assert waits.is_alive()
    with psycopg2.connect(database.engine.url.render_as_string(False).replace("+psycopg2", "")) as connection:
        connection.cursor().execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'"
            " AND application_name = '' AND datname = current_database()"
        )
    connection.close()
    waits.join(90)
    assert one(database, "SELECT count(*) FROM pauses") == 6


def test_the_same_key_twice_in_one_batch(database: Database) -> None:
    """One pause, and one answer for both."""
    first, second = create_pauses(database, lambda: [request("same"), request("same")])
    assert isinstance(first, Created)
    assert isinstance(second, Created)
    assert first.document == second.document
    assert sorted([first.repeated, second.repeated]) == [False, True]
    assert one(database, "SELECT count(*) FROM pauses") == 1


def test_an_endpoint_that_somebody_changes_for_long(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A create that notifies the endpoint waits; one without a receiver does not wait."""
    an_endpoint(database, namespaces=("theirs",))
    monkeypatch.setattr("services.pauses.lifecycle.SHARED_WAIT", 50)
    with database.transaction() as uow:
        uow.conn.exec_driver_sql("SELECT id FROM webhook_endpoints FOR UPDATE")
        theirs, ours = CreateRequest(ADMIN, draft(namespace="theirs")), request()
        with pytest.raises(DatabaseUnavailable, match="lock") as away:
            create_pauses(database, lambda: [theirs, ours])
        assert away.value.may_be_a_rows
        assert isinstance(create_pauses(database, lambda: [ours])[0], Created)


def test_what_is_wrong_is_said_before(database: Database) -> None:
    """Without the transaction that others share; and what was checked is not checked again in it."""
    with pytest.raises(Forbidden):
        check_creation(database, request(namespace="elsewhere"))
    with pytest.raises(Invalid) as caught:
        check_creation(database, request(action=" ", response_schema={"type": "nonsense"}))
    assert [field_error.path for field_error in caught.value.field_errors[:1]] == ["action"]
    with pytest.raises(PolicyUnsatisfiable):
        check_creation(database, request(review={"approvals": 7}))
    assert isinstance(
        create_pauses(database, lambda: [check_creation(database, request(response_schema=HEAVY))])[0], Created
    )

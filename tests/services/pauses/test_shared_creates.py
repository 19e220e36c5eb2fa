"""Many creates in one transaction: what one of them waits for, or is refused for, is nobody else's business."""

import threading
from functools import partial

import psycopg2
import pytest

from domain.values.errors import Forbidden, Invalid, PolicyUnsatisfiable
from services.kernel.connection_pool import DatabaseAway
from services.kernel.group_commit import Aside, Together
from services.kernel.unit_of_work import Store
from services.pauses.lifecycle import Created, Creation, check_creation, create_pauses
from tests.services.world import ADMIN, AGENT, an_endpoint, draft, once, one

HEAVY = {"type": "object", "properties": {f"f{n}": {"type": "string", "pattern": "^[a-z]{1,9}$"} for n in range(5)}}


def wish(key: str | None = None, **changes: object) -> Creation:
    return Creation(AGENT, draft(**changes), None if key is None else once(key))


@pytest.fixture
def contested(store: Store, database_url: str):  # type: ignore[no-untyped-def]
    """A key that somebody has inserted and not committed yet."""
    connection = psycopg2.connect(database_url)
    connection.cursor().execute(
        "INSERT INTO idempotency_keys VALUES ('default', 'contested', decode(repeat('00', 32), 'hex'), '{}', now())"
    )
    yield "contested"
    connection.close()


def test_a_key_that_is_held_elsewhere_is_waited_for_alone(store: Store, contested: str) -> None:
    """Those of the same batch have their pauses, also with keys of their own once they are alone."""
    outcomes = create_pauses(store, lambda: [wish(), wish(contested), wish("mine"), wish()])
    assert [type(outcome) for outcome in outcomes] == [Created, Aside, Aside, Created]
    assert one(store, "SELECT count(*) FROM pauses") == 2
    assert one(store, "SELECT count(*) FROM idempotency_keys") == 0
    assert isinstance(create_pauses(store, lambda: [wish("mine")])[0], Created)


def test_creates_go_on_beside_it(store: Store, contested: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread waits; the others do not."""
    creations = Together(partial(create_pauses, store))
    waits = threading.Thread(target=lambda: creations.do(wish(contested)))
    waits.start()
    for _ in range(5):
        creations.do(wish())
    assert one(store, "SELECT count(*) FROM pauses") == 5
    assert waits.is_alive()
    with psycopg2.connect(store.engine.url.render_as_string(False).replace("+psycopg2", "")) as connection:
        connection.cursor().execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'"
            " AND application_name = '' AND datname = current_database()"
        )
    connection.close()
    waits.join(30)
    assert one(store, "SELECT count(*) FROM pauses") == 6


def test_the_same_key_twice_in_one_batch(store: Store) -> None:
    """One pause, and one answer for both."""
    first, second = create_pauses(store, lambda: [wish("same"), wish("same")])
    assert isinstance(first, Created)
    assert isinstance(second, Created)
    assert first.document == second.document
    assert sorted([first.repeated, second.repeated]) == [False, True]
    assert one(store, "SELECT count(*) FROM pauses") == 1


def test_an_endpoint_that_somebody_changes_for_long(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever would be told waits; where nobody is told, nobody waits."""
    an_endpoint(store, namespaces=("theirs",))
    monkeypatch.setattr("services.pauses.lifecycle.SHARED_WAIT", 50)
    with store.transaction() as tx:
        tx.conn.exec_driver_sql("SELECT id FROM webhook_endpoints FOR UPDATE")
        theirs, ours = Creation(ADMIN, draft(namespace="theirs")), wish()
        with pytest.raises(DatabaseAway, match="lock") as away:
            create_pauses(store, lambda: [theirs, ours])
        assert away.value.may_be_a_rows
        assert isinstance(create_pauses(store, lambda: [ours])[0], Created)


def test_what_is_wrong_is_said_before(store: Store) -> None:
    """Without the transaction that others share; and what was checked is not checked again in it."""
    with pytest.raises(Forbidden):
        check_creation(store, wish(namespace="elsewhere"))
    with pytest.raises(Invalid) as caught:
        check_creation(store, wish(action=" ", response_schema={"type": "nonsense"}))
    assert [fault.path for fault in caught.value.faults[:1]] == ["action"]
    with pytest.raises(PolicyUnsatisfiable):
        check_creation(store, wish(review={"approvals": 7}))
    assert isinstance(create_pauses(store, lambda: [check_creation(store, wish(response_schema=HEAVY))])[0], Created)

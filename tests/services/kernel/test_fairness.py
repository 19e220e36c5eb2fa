"""One namespace floods; what the others have to do is chosen beside its own, not behind it."""

from collections import Counter
from datetime import timedelta
from uuid import UUID

import pytest

from services.kernel.leases import SWEEP_LIMIT
from services.kernel.unit_of_work import Database
from services.notifications.worker import claim_notification, sweep_notifications
from services.sagas import execution
from services.sagas.engine import sweep_sagas
from services.sagas.work import Capacity, ToolCall
from services.webhooks.worker import LANE_WIDTH, claim_delivery, sweep_deliveries
from tests.conftest import Recorded
from tests.services.people import notifications, person, tell
from tests.services.saga_turns import advance, record
from tests.services.saga_world import reject_held, start, statuses, step, tools, work
from tests.services.world import (
    AGENT,
    an_endpoint,
    change,
    claim,
    deliveries,
    finish,
    one,
    post,
    rows,
    someone,
)

FLOOD = SWEEP_LIMIT + 50
OTHER = someone(AGENT.role, "other", id_="key_other")
NO_CALL = Capacity(for_call=lambda *_: False)


def copies(database: Database, table: str, count: int, **changed: str) -> None:
    """So many more rows like its only one, but for these columns."""
    columns = [row["column_name"] for row in rows(database, COLUMNS, table=table)]
    values = ", ".join(changed.get(name, name) for name in columns)
    statement = f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {table}, generate_series(1, :n) i"
    assert change(database, statement, n=count) == count


COLUMNS = "SELECT column_name FROM information_schema.columns WHERE table_name = :table AND is_identity = 'NO'"
ID = {"id": "gen_random_uuid()"}


def woken_first(database: Database, publisher: Recorded, table: str) -> list[str]:
    """The namespaces of the rows that were hinted at, in that order."""
    of = {row["id"]: row["namespace"] for row in rows(database, f"SELECT id, namespace FROM {table}")}
    return [of[wakeup.id] for wakeup in publisher.wakeups if wakeup.chosen]


def late(database: Database, table: str) -> None:
    """All of it is overdue; the flood has been for longer."""
    longer = "now() - make_interval(secs => CASE namespace WHEN 'default' THEN 60 ELSE 1 END)"
    change(database, f"UPDATE {table} SET due_at = {longer}, hint_at = {longer}")


def check_fair(database: Database, publisher: Recorded, table: str) -> None:
    first = woken_first(database, publisher, table)
    assert Counter(first) == {"default": SWEEP_LIMIT - 1, "other": 1}
    assert "other" in first[: LANE_WIDTH + 1]


def test_sagas(database: Database, publisher: Recorded) -> None:
    start(database, step("a"))
    copies(database, "sagas", FLOOD, **ID)
    change(database, "UPDATE sagas SET namespace = 'other' WHERE id = (SELECT id FROM sagas LIMIT 1)")
    late(database, "sagas")
    assert sweep_sagas(database) == SWEEP_LIMIT
    check_fair(database, publisher, "sagas")


@pytest.mark.parametrize("lanes", [1, 40])
def test_deliveries(database: Database, publisher: Recorded, lanes: int) -> None:
    """Whether they go to one receiver, of which only so many can be under way, or to many."""
    an_endpoint(database)
    post(database)
    of_many = {"lane": f"'http://h' || i % {lanes}", "pause_id": "NULL"}
    copies(database, "webhook_deliveries", FLOOD, **ID, **of_many)
    an_endpoint(database, namespaces=("other",))
    post(database, OTHER, namespace="other")
    late(database, "webhook_deliveries")
    publisher.wakeups.clear()
    woken = sweep_deliveries(database)
    if lanes == 1:
        # Its own lane has one more.
        assert woken == LANE_WIDTH + 2
        assert "other" in woken_first(database, publisher, "webhook_deliveries")
    else:
        check_fair(database, publisher, "webhook_deliveries")


def test_notifications(database: Database, publisher: Recorded) -> None:
    person(database, "anne", "json://a", namespaces=["*"])
    watch_id = post(database)
    tell(database, watch_id)
    copies(database, "notifications", FLOOD, **ID, recipient="'x' || i", once="gen_random_uuid()")
    change(database, "UPDATE notifications SET namespace = 'other' WHERE recipient = 'x1'")
    late(database, "notifications")
    publisher.wakeups.clear()
    assert sweep_notifications(database) == SWEEP_LIMIT
    check_fair(database, publisher, "notifications")


def test_one_receiver_of_two_namespaces(database: Database) -> None:
    """Each has a lane of its own there."""
    an_endpoint(database, namespaces=("*",))
    for _ in range(LANE_WIDTH + 1):
        post(database)
    post(database, OTHER, namespace="other")
    *ten, eleventh, others = deliveries(database)
    for row in ten:
        claim(database, row)
    assert claim_delivery(database, eleventh["id"]) is None
    finish(database, claim(database, others))


def test_a_delivery_without_room_stays_as_it_is(database: Database) -> None:
    an_endpoint(database)
    post(database)
    (before,) = deliveries(database)
    asked: list[str] = []
    assert claim_delivery(database, before["id"], lambda namespace: bool(asked.append(namespace))) is None
    assert asked == ["default"]
    assert deliveries(database) == [before]
    claim(database, before)


def test_a_message_without_room_stays_as_it_is(database: Database) -> None:
    person(database, "anne", "json://a")
    tell(database, post(database))
    (before,) = notifications(database)
    assert claim_notification(database, before["id"], lambda namespace: namespace != "default") is None
    assert notifications(database) == [before]


def test_a_saga_without_room_for_its_call(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes as far as it needs no call; then it stays due, and is hinted at the later the longer it has been."""
    monkeypatch.setattr(execution, "_ROOM_AGAIN", timedelta(seconds=2))
    trace_id = start(database, step("a"))
    assert advance(database, trace_id, NO_CALL) is None
    assert statuses(database, trace_id) == ("PENDING", "PENDING")
    assert woken_in(database, trace_id) == pytest.approx(2, abs=0.5)
    for waited, again in ((7, 3.5), (600, 10)):
        change(database, f"UPDATE sagas SET due_at = now() - interval '{waited} s', hint_at = now()")
        assert advance(database, trace_id, NO_CALL) is None
        assert woken_in(database, trace_id) == pytest.approx(again, abs=0.5)
    assert one(database, "SELECT due_at < now() - interval '599 s' AND lease_token IS NULL FROM sagas")
    call = advance(database, trace_id)
    assert isinstance(call, ToolCall)
    record(database, call, tools().make(call), {}, 0.5)
    assert statuses(database, trace_id) == ("COMPLETED", "COMPLETED")


def test_what_needs_no_call_needs_no_room(database: Database) -> None:
    """A rejection ends the saga."""
    trace_id = start(database, step("a", hitl=True))
    work(database, trace_id, tools())
    assert statuses(database, trace_id) == ("AWAITING_HUMAN", "AWAITING_HUMAN")
    reject_held(database, trace_id)
    assert advance(database, trace_id, NO_CALL) is None
    assert statuses(database, trace_id)[0] == "FAILED"


def woken_in(database: Database, trace_id: UUID) -> float:
    return float(one(database, "SELECT extract(epoch FROM hint_at - now()) FROM sagas WHERE id = :id", id=trace_id))

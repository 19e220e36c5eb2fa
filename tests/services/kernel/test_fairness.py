"""One namespace floods; what the others have to do is chosen beside its own, not behind it."""

from collections import Counter
from datetime import timedelta
from uuid import UUID

import pytest

from services.kernel.leases import SWEEP_LIMIT
from services.kernel.unit_of_work import Store
from services.notifications.worker import claim_notification, sweep_notifications
from services.sagas import engine as saga_engine
from services.sagas.engine import advance, record, sweep_sagas
from services.sagas.work import Call, Room
from services.webhooks.worker import LANE_WIDTH, claim_delivery, sweep_deliveries
from tests.conftest import Recorded
from tests.services.people import notifications, person, tell
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
NO_CALL = Room(for_call=lambda _: False)


def copies(store: Store, table: str, count: int, **changed: str) -> None:
    """So many more rows like its only one, but for these columns."""
    columns = [row["column_name"] for row in rows(store, COLUMNS, table=table)]
    values = ", ".join(changed.get(name, name) for name in columns)
    statement = f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {table}, generate_series(1, :n) i"
    assert change(store, statement, n=count) == count


COLUMNS = "SELECT column_name FROM information_schema.columns WHERE table_name = :table AND is_identity = 'NO'"
ID = {"id": "gen_random_uuid()"}


def hinted_first(store: Store, signals: Recorded, table: str) -> list[str]:
    """The namespaces of the rows that were hinted at, in that order."""
    of = {row["id"]: row["namespace"] for row in rows(store, f"SELECT id, namespace FROM {table}")}
    return [of[hint.id] for hint in signals.hints if hint.chosen]


def late(store: Store, table: str) -> None:
    """All of it is overdue; the flood has been for longer."""
    longer = "now() - make_interval(secs => CASE namespace WHEN 'default' THEN 60 ELSE 1 END)"
    change(store, f"UPDATE {table} SET due_at = {longer}, hint_at = {longer}")


def check_fair(store: Store, signals: Recorded, table: str) -> None:
    first = hinted_first(store, signals, table)
    assert Counter(first) == {"default": SWEEP_LIMIT - 1, "other": 1}
    assert "other" in first[: LANE_WIDTH + 1]


def test_sagas(store: Store, signals: Recorded) -> None:
    start(store, step("a"))
    copies(store, "sagas", FLOOD, **ID)
    change(store, "UPDATE sagas SET namespace = 'other' WHERE id = (SELECT id FROM sagas LIMIT 1)")
    late(store, "sagas")
    assert sweep_sagas(store) == SWEEP_LIMIT
    check_fair(store, signals, "sagas")


@pytest.mark.parametrize("lanes", [1, 40])
def test_deliveries(store: Store, signals: Recorded, lanes: int) -> None:
    """Whether they go to one receiver, of which only so many can be under way, or to many."""
    an_endpoint(store)
    post(store)
    of_many = {"lane": f"'http://h' || i % {lanes}", "pause_id": "NULL"}
    copies(store, "webhook_deliveries", FLOOD, **ID, **of_many)
    an_endpoint(store, namespaces=("other",))
    post(store, OTHER, namespace="other")
    late(store, "webhook_deliveries")
    signals.hints.clear()
    hinted = sweep_deliveries(store)
    if lanes == 1:
        # Its own lane has one more.
        assert hinted == LANE_WIDTH + 2
        assert "other" in hinted_first(store, signals, "webhook_deliveries")
    else:
        check_fair(store, signals, "webhook_deliveries")


def test_notifications(store: Store, signals: Recorded) -> None:
    person(store, "anne", "json://a", namespaces=["*"])
    watch_id = post(store)
    tell(store, watch_id)
    copies(store, "notifications", FLOOD, **ID, recipient="'x' || i", once="gen_random_uuid()")
    change(store, "UPDATE notifications SET namespace = 'other' WHERE recipient = 'x1'")
    late(store, "notifications")
    signals.hints.clear()
    assert sweep_notifications(store) == SWEEP_LIMIT
    check_fair(store, signals, "notifications")


def test_one_receiver_of_two_namespaces(store: Store) -> None:
    """Each has a lane of its own there."""
    an_endpoint(store, namespaces=("*",))
    for _ in range(LANE_WIDTH + 1):
        post(store)
    post(store, OTHER, namespace="other")
    *ten, eleventh, others = deliveries(store)
    for row in ten:
        claim(store, row)
    assert claim_delivery(store, eleventh["id"]) is None
    finish(store, claim(store, others))


def test_a_delivery_without_room_stays_as_it_is(store: Store) -> None:
    an_endpoint(store)
    post(store)
    (before,) = deliveries(store)
    asked: list[str] = []
    assert claim_delivery(store, before["id"], lambda namespace: bool(asked.append(namespace))) is None
    assert asked == ["default"]
    assert deliveries(store) == [before]
    claim(store, before)


def test_a_message_without_room_stays_as_it_is(store: Store) -> None:
    person(store, "anne", "json://a")
    tell(store, post(store))
    (before,) = notifications(store)
    assert claim_notification(store, before["id"], lambda namespace: namespace != "default") is None
    assert notifications(store) == [before]


def test_a_saga_without_room_for_its_call(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes as far as it needs no call; then it stays due, and is hinted at the later the longer it has been."""
    monkeypatch.setattr(saga_engine, "_ROOM_AGAIN", timedelta(seconds=2))
    trace_id = start(store, step("a"))
    assert advance(store, trace_id, NO_CALL) is None
    assert statuses(store, trace_id) == ("PENDING", "PENDING")
    assert hinted_in(store, trace_id) == pytest.approx(2, abs=0.5)
    for waited, again in ((7, 3.5), (600, 10)):
        change(store, f"UPDATE sagas SET due_at = now() - interval '{waited} s', hint_at = now()")
        assert advance(store, trace_id, NO_CALL) is None
        assert hinted_in(store, trace_id) == pytest.approx(again, abs=0.5)
    assert one(store, "SELECT due_at < now() - interval '599 s' AND lease_token IS NULL FROM sagas")
    call = advance(store, trace_id)
    assert isinstance(call, Call)
    record(store, call, tools().make(call), {}, 0.5)
    assert statuses(store, trace_id) == ("COMPLETED", "COMPLETED")


def test_what_needs_no_call_needs_no_room(store: Store) -> None:
    """A rejection ends the saga."""
    trace_id = start(store, step("a", hitl=True))
    work(store, trace_id, tools())
    assert statuses(store, trace_id) == ("AWAITING_HUMAN", "AWAITING_HUMAN")
    reject_held(store, trace_id)
    assert advance(store, trace_id, NO_CALL) is None
    assert statuses(store, trace_id)[0] == "FAILED"


def hinted_in(store: Store, trace_id: UUID) -> float:
    return float(one(store, "SELECT extract(epoch FROM hint_at - now()) FROM sagas WHERE id = :id", id=trace_id))

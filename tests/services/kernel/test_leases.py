"""Leases of a process that has died: ended at once by its successor, spared after the database was away."""

from dataclasses import replace

import pytest

from services.kernel.leases import HOLDER_BYTES, SAGA, WEBHOOK, free
from services.kernel.unit_of_work import Hint, Store
from services.notifications.worker import sweep_notifications
from services.sagas.engine import advance, sweep_sagas
from services.webhooks.worker import claim_delivery, sweep_deliveries
from tests.conftest import Recorded
from tests.services.saga_world import start, step
from tests.services.world import an_endpoint, change, deliveries, one, post

DEAD, ALIVE = b"\x01" * HOLDER_BYTES, b"\xff" * HOLDER_BYTES


def leased_to(store: Store, holder: bytes, count: int = 1) -> list[object]:
    """Deliveries that this process is at."""
    theirs = replace(store, holder=holder)
    for _ in range(count):
        post(store)
    free_ones = [row for row in deliveries(store) if row["lease_token"] is None]
    parcels = [claim_delivery(theirs, row["id"]) for row in free_ones]
    return [parcel.lease.id for parcel in parcels if parcel is not None]


def test_a_dead_processs_leases_are_ended(store: Store, signals: Recorded) -> None:
    """Its deliveries and sagas are hinted at; nobody else's."""
    an_endpoint(store)
    dead, alive, nameless = (leased_to(store, holder) for holder in (DEAD, ALIVE, b""))
    saga = start(store, step("a"))
    assert advance(replace(store, holder=DEAD), saga) is not None
    signals.hints.clear()
    assert free(store, [DEAD, b"\x02" * HOLDER_BYTES]) == 2
    assert {(hint.kind, hint.id) for hint in signals.hints} == {(WEBHOOK, dead[0]), (SAGA, saga)}
    assert claim_delivery(store, dead[0]) is not None  # type: ignore[arg-type]
    for id_ in (*alive, *nameless):
        assert claim_delivery(store, id_) is None  # type: ignore[arg-type]
    assert advance(store, saga) is not None


def test_a_tokens_rest_is_its_own(store: Store) -> None:
    """Two leases of one process are two."""
    an_endpoint(store)
    leased_to(store, DEAD, 3)
    assert one(store, "SELECT count(DISTINCT lease_token) FROM webhook_deliveries") == 3


@pytest.mark.parametrize("spare", [True, False])
def test_spared_after_the_database_was_away(store: Store, signals: Recorded, spare: bool) -> None:
    """Nobody could renew them; what nobody is at is not kept waiting."""
    an_endpoint(store)
    (held,) = leased_to(store, DEAD)
    post(store)
    sagas = [start(store, step("a")) for _ in range(2)]
    assert advance(store, sagas[0]) is not None
    for table in ("webhook_deliveries", "sagas"):
        change(store, f"UPDATE {table} SET hint_at = now()")
        change(store, f"UPDATE {table} SET leased_until = now() - interval '1 s' WHERE lease_token IS NOT NULL")
    signals.hints.clear()
    for sweep in (sweep_deliveries, sweep_sagas, sweep_notifications):
        sweep(store, spare_leased=spare)
    taken = Hint(WEBHOOK, held) in signals.hints, Hint(SAGA, sagas[0]) in signals.hints  # type: ignore[arg-type]
    assert taken == (not spare, not spare)
    assert Hint(SAGA, sagas[1]) in signals.hints
    assert len(signals.hints) == (2 if spare else 4)


def test_a_lost_hint_costs_about_a_second(store: Store) -> None:
    """After that the sweep of each second finds the row."""
    an_endpoint(store)
    post(store)
    start(store, step("a"))
    for table in ("webhook_deliveries", "sagas"):
        assert one(store, f"SELECT bool_and(hint_at <= created_at + interval '1 s') FROM {table}")

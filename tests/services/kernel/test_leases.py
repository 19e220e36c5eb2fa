"""Leases of a process that has died: ended at once by its successor, spared after the database was away."""

from dataclasses import replace

import pytest

from services.kernel.leases import HOLDER_BYTES, SAGA, WEBHOOK, release
from services.kernel.unit_of_work import Database, WakeUp
from services.notifications.worker import sweep_notifications
from services.sagas.engine import sweep_sagas
from services.webhooks.worker import claim_delivery, sweep_deliveries
from tests.conftest import Recorded
from tests.services.saga_turns import advance
from tests.services.saga_world import start, step
from tests.services.world import an_endpoint, change, deliveries, one, post

DEAD, ALIVE = b"\x01" * HOLDER_BYTES, b"\xff" * HOLDER_BYTES


def leased_to(database: Database, holder: bytes, count: int = 1) -> list[object]:
    """Deliveries that this process is at."""
    theirs = replace(database, holder=holder)
    for _ in range(count):
        post(database)
    free_ones = [row for row in deliveries(database) if row["lease_token"] is None]
    jobs = [claim_delivery(theirs, row["id"]) for row in free_ones]
    return [job.lease.id for job in jobs if job is not None]


def test_a_dead_processs_leases_are_ended(database: Database, publisher: Recorded) -> None:
    """Its deliveries and sagas are woken, and no others."""
    an_endpoint(database)
    dead, alive, nameless = (leased_to(database, holder) for holder in (DEAD, ALIVE, b""))
    saga = start(database, step("a"))
    assert advance(replace(database, holder=DEAD), saga) is not None
    publisher.wakeups.clear()
    assert release(database, [DEAD, b"\x02" * HOLDER_BYTES]) == 2
    assert {(wakeup.kind, wakeup.id) for wakeup in publisher.wakeups} == {(WEBHOOK, dead[0]), (SAGA, saga)}
    assert claim_delivery(database, dead[0]) is not None  # type: ignore[arg-type]
    for id_ in (*alive, *nameless):
        assert claim_delivery(database, id_) is None  # type: ignore[arg-type]
    assert advance(database, saga) is not None


def test_a_tokens_rest_is_its_own(database: Database) -> None:
    """Two leases of one process are two."""
    an_endpoint(database)
    leased_to(database, DEAD, 3)
    assert one(database, "SELECT count(DISTINCT lease_token) FROM webhook_deliveries") == 3


@pytest.mark.parametrize("spare", [True, False])
def test_spared_after_the_database_was_away(database: Database, publisher: Recorded, spare: bool) -> None:
    """Their holders could not renew them; rows without a lease do not wait."""
    an_endpoint(database)
    (held,) = leased_to(database, DEAD)
    post(database)
    sagas = [start(database, step("a")) for _ in range(2)]
    assert advance(database, sagas[0]) is not None
    for table in ("webhook_deliveries", "sagas"):
        change(database, f"UPDATE {table} SET hint_at = now()")
        change(database, f"UPDATE {table} SET leased_until = now() - interval '1 s' WHERE lease_token IS NOT NULL")
    publisher.wakeups.clear()
    for sweep in (sweep_deliveries, sweep_sagas, sweep_notifications):
        sweep(database, spare_leased=spare)
    taken = WakeUp(WEBHOOK, held) in publisher.wakeups, WakeUp(SAGA, sagas[0]) in publisher.wakeups  # type: ignore[arg-type]
    assert taken == (not spare, not spare)
    assert WakeUp(SAGA, sagas[1]) in publisher.wakeups
    assert len(publisher.wakeups) == (2 if spare else 4)


def test_a_lost_wake_up_costs_about_a_second(database: Database) -> None:
    """After that the sweep of each second finds the row."""
    an_endpoint(database)
    post(database)
    start(database, step("a"))
    for table in ("webhook_deliveries", "sagas"):
        assert one(database, f"SELECT bool_and(hint_at <= created_at + interval '1 s') FROM {table}")

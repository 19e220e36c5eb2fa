"""Many at once: exactly one outcome, one event, one message for each receiver."""

from collections import Counter
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from domain.identity.access import Role
from domain.pauses.pause import OnTimeout
from domain.values.errors import AlreadyResolved
from services.identity.bootstrap import first_sign_in_link
from services.identity.groups import MAX_GROUPS, GroupExists, list_groups, put_group
from services.kernel.unit_of_work import Database
from services.pauses.lifecycle import EXPIRY_BATCH, expire_due
from services.pauses.namespaces import put_namespace
from tests.conftest import Recorded
from tests.services.by_watch_id import decide_pause, get_pause
from tests.services.world import (
    ADMIN,
    AGENT,
    CALLBACK,
    REVIEWER,
    an_endpoint,
    approve,
    at_once,
    cancel,
    change,
    deliveries,
    expire,
    let_time_approve,
    linked,
    one,
    post,
    reject,
    rows,
    someone,
    uuid_of,
)


@pytest.mark.parametrize("expired", [False, True])
def test_fifty_contrary_decisions_a_cancel_and_a_timeout(
    database: Database, publisher: Recorded, expired: bool
) -> None:
    """Exactly one call wins; the losers get the winner's outcome; the receivers hear of it once."""
    an_endpoint(database, event_types=("pause.approved", "pause.rejected", "pause.cancelled", "pause.expired"))
    watch_id = post(database, callback_url=CALLBACK)
    if expired:
        expire(database, watch_id)
    people = [someone(Role.REVIEWER, id_=f"key_{number}") for number in range(50)]
    commands = [
        lambda by=by, number=number: decide_pause(database, by, watch_id, approve(by) if number % 2 else reject(by))
        for number, by in enumerate(people)
    ]
    sweeps = [lambda: expire_due(database)] * 2
    answers = at_once([*commands, lambda: decide_pause(database, AGENT, watch_id, cancel()), *sweeps])
    pause = get_pause(database, REVIEWER, watch_id)
    outcomes = Counter(
        answer.current["status"] if isinstance(answer, AlreadyResolved) else answer["status"] for answer in answers[:51]
    )
    assert set(outcomes) == {str(pause.status)}
    assert sum(outcomes.values()) == 51
    if expired:
        assert pause.status == "expired"
        assert not [answer for answer in answers[:51] if isinstance(answer, dict)]
    else:
        assert answers[51:] == [0, 0]
    assert sorted(delivery["type"] for delivery in deliveries(database)) == [f"pause.{pause.status}"] * 2
    assert len({delivery["message_id"] for delivery in deliveries(database)}) == 1
    assert publisher.wakes == [uuid_of(watch_id)]


def test_two_sweeps_expire_each_row_once(database: Database, publisher: Recorded) -> None:
    """They share the work; together they take all, and tell of each once."""
    made = {uuid_of(post(database)) for _ in range(30)}
    post(database)
    change(database, "UPDATE pauses SET expires_at = now() WHERE id = ANY(:ids)", ids=list(made))
    counts = at_once([lambda: expire_due(database)] * 4)
    assert sum(counts) == 30  # type: ignore[arg-type]
    assert sorted(publisher.wakes) == sorted(made)
    assert rows(database, "SELECT status, count(*) FROM pauses GROUP BY 1 ORDER BY 1") == [
        {"status": "expired", "count": 30},
        {"status": "pending", "count": 1},
    ]


@pytest.mark.parametrize(
    ("on_timeout", "status"),
    [(OnTimeout.EXPIRE, "expired"), (OnTimeout.REJECT, "rejected"), (OnTimeout.APPROVE, "approved")],
)
def test_on_timeout(database: Database, on_timeout: OnTimeout, status: str) -> None:
    """The sweep does as the agent asked, signs as the system, and tells the callback."""
    let_time_approve(database)
    watch_id = post(database, on_timeout=on_timeout, callback_url=CALLBACK)
    expire(database, watch_id)
    assert expire_due(database) == 1
    pause = get_pause(database, REVIEWER, watch_id)
    assert pause.status == status
    assert pause.decision is not None
    assert pause.decision.by.id == "system"
    assert [delivery["type"] for delivery in deliveries(database)] == [f"pause.{status}"]
    assert expire_due(database) == 0


def test_a_sweep_takes_a_batch_and_the_oldest_first(database: Database) -> None:
    """So that one transaction stays short however much there is."""
    columns = "id, created_at, expires_at, revision, priority, stage, reminders, namespace, kind, status, on_timeout, "
    values = "gen_random_uuid(), now(), now() - n * interval '1 s', 1, 0, 0, 0, 'default', 'agent', 'pending', 'expire'"
    columns, values = f"{columns} created_by, action", f"{values}, 'k', 'a'"
    change(
        database, f"INSERT INTO pauses ({columns}) SELECT {values} FROM generate_series(1, :n) n", n=EXPIRY_BATCH + 5
    )
    assert expire_due(database) == EXPIRY_BATCH
    assert one(
        database, "SELECT max(expires_at) - min(expires_at) < interval '6 s' FROM pauses WHERE status = 'pending'"
    )
    assert expire_due(database) == 5


def test_a_sweep_passes_over_a_row_that_is_being_decided(database: Database) -> None:
    """It does not wait behind a slow one; the next sweep finds it."""
    busy, free = post(database), post(database)
    expire(database, busy)
    expire(database, free)
    with database.transaction() as uow:
        uow.conn.exec_driver_sql(f"SELECT 1 FROM pauses WHERE id = '{uuid_of(busy)}' FOR UPDATE")
        assert expire_due(database) == 1
    assert expire_due(database) == 1


def test_one_group_is_made_once(database: Database) -> None:
    """Many calls make it at once: the log has one creation, and each other call for a new one gets an error."""
    calls = [partial(put_group, database, ADMIN, "legal", f"wanted by {n}", None) for n in range(8)]
    assert all(isinstance(outcome, dict) for outcome in at_once(calls))
    calls = [partial(put_group, database, ADMIN, "ops", f"wanted by {n}", None, new=True) for n in range(8)]
    outcomes = at_once(calls)
    (made,) = [outcome for outcome in outcomes if isinstance(outcome, dict)]
    assert sum(isinstance(outcome, GroupExists) for outcome in outcomes) == 7
    assert made in [{name: group[name] for name in made} for group in list_groups(database)]
    told = Counter((entry["subject"], entry["type"]) for entry in entries(database))
    assert told == {
        ("group:legal", "group.created"): 1,
        ("group:legal", "group.changed"): 7,
        ("group:ops", "group.created"): 1,
    }
    assert chained(database, "group:legal")


def test_there_are_never_more_groups_than_may_be(database: Database) -> None:
    some = "SELECT 'g' || n, '{}', now(), 'key_admin' FROM generate_series(2, :most) AS n"
    change(database, f"INSERT INTO groups (name, channels, created_at, created_by) {some}", most=MAX_GROUPS)
    outcomes = at_once([partial(put_group, database, ADMIN, f"last-{n}", None, None) for n in range(8)])
    assert sum(isinstance(outcome, dict) for outcome in outcomes) == 1


def test_each_change_of_a_namespace_follows_the_one_before(database: Database) -> None:
    """Also of the first: what the log says was there before is what was."""
    calls = [
        partial(put_namespace, database, ADMIN, "shop", {"approvals": 1}, {"min_expires_in": n}) for n in range(1, 9)
    ]
    assert all(isinstance(outcome, dict) for outcome in at_once(calls))
    assert chained(database, "shop")


def test_one_owner_is_made_once(database: Database) -> None:
    """Two machines that start on one empty database both get a link."""
    outcomes = at_once([partial(first_sign_in_link, database)] * 8)
    assert all(isinstance(outcome, str) for outcome in outcomes), outcomes
    assert one(database, "SELECT count(*) FROM users") == 1


def chained(database: Database, subject: str) -> bool:
    """Whether each entry on it begins where the last one ended."""
    found = [entry for entry in entries(database) if entry["subject"] == subject]
    return len(found) == 8 and all(later["before"] == entry["after"] for entry, later in pairwise(found))


def entries(database: Database) -> list[dict[str, Any]]:
    return [row["entry"] for row in rows(linked(database), "SELECT entry FROM audit_events ORDER BY namespace, seq")]

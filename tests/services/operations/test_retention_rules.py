"""A namespace's own retention, and legal holds: nothing goes before its time, whatever else is set."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from cli.devstack.waiting import wait_until
from domain.identity.access import Role
from domain.values.errors import Forbidden, Invalid, NotFound
from models.retention import legal_holds
from services.kernel.idempotency import IdempotentRequest
from services.kernel.unit_of_work import Database
from services.operations.retention_rules import (
    DELETIONS,
    HoldReleased,
    get_rule,
    list_holds,
    place_hold,
    put_rule,
    release_hold,
)
from tests.services.by_watch_id import decide_pause
from tests.services.saga_world import approve_held, start, step, tools, work
from tests.services.world import ADMIN, REVIEWER, an_endpoint, approve, change, one, post, prune, rows, someone

RETENTION = timedelta(days=190)
ALL = someone(Role.ADMIN, "*")


def rule(database: Database, decisions: int | None, messages: int | None = None, **options: Any) -> None:
    """Set the rule, and let the day pass in which it deletes nothing."""
    days = {"decision_days": decisions, "message_days": messages, "below_six_months": False}
    put_rule(database, ADMIN, "default", **days | options)
    change(database, "UPDATE retention_rules SET changed_at = changed_at - interval '25 h'")


def decided(database: Database, days_ago: int) -> str:
    watch_id = post(database)
    decide_pause(database, REVIEWER, watch_id, approve())
    age = "UPDATE pauses SET resolved_at = resolved_at - make_interval(days => :days) WHERE id = :id"
    change(database, age, days=days_ago, id=watch_id.removeprefix("wch_"))
    return watch_id


def pauses(database: Database) -> set[str]:
    return {f"wch_{row['id'].hex}" for row in rows(database, "SELECT id FROM pauses")}


def test_a_namespace_keeps_for_longer_or_shorter_than_the_server(database: Database) -> None:
    old, older = decided(database, 250), decided(database, 500)
    rule(database, 400)
    prune(database, RETENTION)
    assert pauses(database) == {old}
    rule(database, 200)
    prune(database, RETENTION)
    assert pauses(database) == set()
    young = decided(database, 20)
    rule(database, 10, below_six_months=True)
    prune(database, RETENTION)
    assert pauses(database) == set()
    assert {old, older, young} == {row["subject"] for row in rows(database, CREATED)}, "the log keeps the decisions"
    assert get_rule(database, ADMIN, "default")["decision_days"] == 10


CREATED = """
SELECT entry ->> 'subject' AS subject FROM (
    SELECT entry FROM audit_unlinked UNION ALL SELECT entry FROM audit_events
) AS log WHERE entry ->> 'type' = 'pause.created'"""


def test_messages_have_a_retention_of_their_own(database: Database) -> None:
    an_endpoint(database)
    post(database)
    change(database, "UPDATE webhook_deliveries SET status = 'exhausted', completed_at = now()")
    change(database, "UPDATE webhook_messages SET created_at = now() - interval '40 days'")
    rule(database, 400, None)
    assert prune(database, RETENTION)["webhook_messages"] == 0
    rule(database, 400, 30)
    assert prune(database, RETENTION)["webhook_messages"] == 1


def test_a_mistake_can_be_undone_for_a_day(database: Database) -> None:
    watch_id = decided(database, 250)
    rule(database, 400)
    days = {"decision_days": 184, "message_days": None, "below_six_months": False}
    put_rule(database, ADMIN, "default", **days)
    prune(database, RETENTION)
    assert pauses(database) == {watch_id}
    with pytest.raises(Invalid):
        put_rule(database, ADMIN, "default", **days | {"decision_days": 183})
    with pytest.raises(NotFound):
        put_rule(database, someone(Role.ADMIN, "other"), "default", **days)


def test_an_unreadable_rule_deletes_nothing(database: Database) -> None:
    watch_id = decided(database, 250)
    change(database, "ALTER TABLE retention_rules RENAME TO elsewhere")
    try:
        with pytest.raises(Exception, match="retention_rules"):
            prune(database, RETENTION)
        assert pauses(database) == {watch_id}
    finally:
        change(database, "ALTER TABLE elsewhere RENAME TO retention_rules")


def waiting_for_lock(database: Database) -> bool:
    return bool(one(database, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))


def test_no_deletion_goes_on_after_a_legal_hold(database: Database) -> None:
    """A batch that begins while one is being placed waits for it, and then sees it."""
    watch_id = decided(database, 250)
    with ThreadPoolExecutor() as threads:
        with database.transaction() as uow:
            uow.take_advisory_lock(DELETIONS)
            place = insert(legal_holds).values(
                id=uow.new_id(), namespace="*", reason="Case 1", placed_at=uow.now, placed_by=ADMIN.id
            )
            uow.conn.execute(place)
            pruning = threads.submit(prune, database, RETENTION)
            assert wait_until(lambda: waiting_for_lock(database), 90)
        pruning.result()
    assert pauses(database) == {watch_id}


@pytest.mark.parametrize(
    "change_what_is_kept",
    [
        lambda database: place_hold(database, ADMIN, "default", None, "Case 1", None),
        lambda database: rule(database, 400),
    ],
    ids=["hold", "rule"],
)
def test_a_change_waits_for_batches_that_do_not_see_it(
    database: Database, change_what_is_kept: Callable[[Database], object]
) -> None:
    with ThreadPoolExecutor() as threads:
        with database.transaction() as uow, database.transaction() as other:
            for batch in (uow, other):
                batch.take_advisory_lock(DELETIONS, shared=True)
            changing = threads.submit(change_what_is_kept, database)
            assert wait_until(lambda: waiting_for_lock(database), 90)
            assert not changing.done()
        changing.result()


def test_a_held_pause_saga_or_namespace_stays(database: Database) -> None:
    watch_id, other = decided(database, 250), decided(database, 250)
    trace_id = start(database, step("a", hitl=True))
    work(database, trace_id, tools())
    approve_held(database, trace_id)
    work(database, trace_id, tools())
    change(database, "UPDATE sagas SET ended_at = ended_at - interval '250 days'")
    change(database, "UPDATE pauses SET resolved_at = resolved_at - interval '250 days' WHERE kind = 'step'")
    request = IdempotentRequest("key-0001", bytes(32))
    hold, _ = place_hold(database, ADMIN, "default", watch_id, "Case 1", request)
    assert place_hold(database, ADMIN, "default", watch_id, "Case 1", request) == (hold, True)
    place_hold(database, ADMIN, "default", trace_id.hex, "Case 2", None)
    assert prune(database, RETENTION)["pauses"] == 1
    assert watch_id in pauses(database)
    assert other not in pauses(database)
    assert (one(database, "SELECT count(*) FROM sagas"), len(pauses(database))) == (1, 2)
    release_hold(database, ADMIN, hold["id"], "closed")
    with pytest.raises(HoldReleased):
        release_hold(database, ADMIN, hold["id"], "closed")
    all_of_it, _ = place_hold(database, ALL, "*", None, "Case 3", None)
    prune(database, RETENTION)
    assert watch_id in pauses(database)
    release_hold(database, ALL, all_of_it["id"], "closed")
    prune(database, RETENTION)
    assert watch_id in pauses(database), "the release may be a mistake"
    change(database, "UPDATE legal_holds SET released_at = released_at - interval '25 h'")
    prune(database, RETENTION)
    assert (watch_id in pauses(database), one(database, "SELECT count(*) FROM sagas")) == (False, 1)
    found = [(each["reason"], each["released_at"] is None) for each in list_holds(database, ADMIN, released=True)]
    assert found == [("Case 3", False), ("Case 2", True), ("Case 1", False)]
    assert [each["reason"] for each in list_holds(database, ADMIN, released=False)] == ["Case 2"]


def test_holds_of_others(database: Database) -> None:
    watch_id, stranger = decided(database, 1), someone(Role.ADMIN, "other")
    hold, _ = place_hold(database, ADMIN, "default", None, "Case 1", None)
    assert list_holds(database, stranger, released=True) == []
    for act in (
        lambda: release_hold(database, stranger, hold["id"], "mine"),
        lambda: place_hold(database, stranger, "default", None, "mine", None),
        lambda: place_hold(database, stranger, "other", watch_id, "mine", None),
        lambda: place_hold(database, ADMIN, "default", "wch_" + "0" * 32, "none", None),
        lambda: release_hold(database, ADMIN, "hld_1", "none"),
    ):
        with pytest.raises(NotFound):
            act()
    with pytest.raises(Forbidden):
        place_hold(database, stranger, "*", None, "all", None)
    with pytest.raises(Invalid):
        place_hold(database, ALL, "*", watch_id, "all", None)

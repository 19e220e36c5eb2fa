"""Rows that a newer release has written: each is shown as far as it can be, told to an operator, and hurts no other."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from domain.identity.access import Permission
from domain.values import ids
from domain.values.errors import NotUnderstood
from services.identity.keys import NewKey, authenticate, create_key, list_keys
from services.identity.tokens import hash_of
from services.kernel.connection_pool import DatabaseUnavailable, open_engine
from services.kernel.pagination import Page
from services.kernel.unit_of_work import Database
from services.log.audit import EventFilter, list_events
from services.manifests.definitions import _cache
from services.operations.health import backlog
from services.pauses.lifecycle import expire_due
from services.pauses.namespaces import get_namespace
from services.pauses.queries import Filter, list_pauses
from services.pauses.reminders import attend_due
from services.reviews.held_steps import ReviewFilter, pending_reviews
from services.reviews.inbox import InboxFilter, inbox
from services.sagas.lifecycle import StartRequest, start_saga
from services.sagas.queries import SagaFilter, get_saga, get_step, list_sagas, list_steps
from services.sagas.recovery import Retry, retry_step
from tests.services.by_watch_id import decide_pause, get_pause
from tests.services.reviewers import voter
from tests.services.saga_turns import advance
from tests.services.saga_world import current_ref, start, step, tools, work
from tests.services.world import (
    ADMIN,
    AGENT,
    OPERATOR,
    REVIEWER,
    Role,
    approve,
    cancel,
    change,
    expire,
    one,
    post,
    reject,
    rows,
    uuid_of,
)

NEXT_POLICY = {"approvals": 1, "quiet_hours": "22-06"}
# Stored values, and their names.
STRANGE: dict[str, tuple[str, object]] = {
    "review.quiet_hours": ("review", NEXT_POLICY),
    "review.stages[1].weight": ("review", {"stages": [{"name": "a"}, {"name": "b", "weight": 2}]}),
    "review.approvals": ("review", {"approvals": "most"}),
    "review.stages": ("review", {"stages": {"a": 1}}),
    "review": ("review", ["two"]),
    "votes": ("votes", [{"by": "somebody"}]),
    "votes.weight": (
        "votes",
        [
            {
                "by": {"id": "key_x", "name": "x", "title": "CFO"},
                "on_behalf_of": None,
                "approves": True,
                "at": "2026-01-01T00:00:00+00:00",
                "revision": 1,
                "weight": 2,
            }
        ],
    ),
}


def write(database: Database, watch_id: str, column: str, value: object) -> None:
    statement = f"UPDATE pauses SET {column} = :value WHERE id = :id"
    assert change(database, statement, value=json.dumps(value), id=uuid_of(watch_id)) == 1


@contextmanager
def unchecked(database: Database, table: str, name: str) -> Iterator[None]:
    """As if a newer release had widened this constraint."""
    query = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = :name"
    was = one(database, query, name=name)
    change(database, f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    try:
        yield
    finally:
        change(database, f"DELETE FROM {table}")
        change(database, f"ALTER TABLE {table} ADD CONSTRAINT {name} {was}")


@pytest.mark.parametrize("place", STRANGE)
def test_a_pause_is_shown_and_nothing_is_approved_by_unknown_rules(database: Database, place: str) -> None:
    """Lists show it beside the others, marked. It is not approved; it can be cancelled, and it expires in time."""
    voter(database, "anne", channels=["json://a"])
    watch_id, other, late = post(database), post(database), post(database)
    for strange in (watch_id, late):
        write(database, strange, *STRANGE[place])
    shown = get_pause(database, ADMIN, watch_id)
    assert shown.unreadable[:1] == (place,)
    found = {pause.id: pause.unreadable for pause in list_pauses(database, ADMIN, Filter(), Page()).items}
    assert (found[uuid_of(watch_id)], found[uuid_of(other)]) == (shown.unreadable, ())
    queue = {item["watchId"]: item.get("unreadable") for item in inbox(database, REVIEWER, InboxFilter(), Page()).items}
    assert (queue[watch_id], queue[other]) == (list(shown.unreadable), None)
    assert attend_due(database) == 3
    with pytest.raises(NotUnderstood, match="newer release"):
        decide_pause(database, REVIEWER, watch_id, approve())
    assert decide_pause(database, AGENT, watch_id, cancel())["status"] == "cancelled"
    for each in (other, late):
        expire(database, each)
    assert expire_due(database) == 2
    assert {one_status(database, each) for each in (other, late)} == {"expired"}
    # The unknown value is still there.
    column = STRANGE[place][0]
    assert one(database, f"SELECT {column} FROM pauses WHERE id = :id", id=uuid_of(late)) == STRANGE[place][1]


def one_status(database: Database, watch_id: str) -> str:
    return str(one(database, "SELECT status FROM pauses WHERE id = :id", id=uuid_of(watch_id)))


def test_it_may_be_rejected(database: Database) -> None:
    watch_id = post(database)
    write(database, watch_id, "review", NEXT_POLICY)
    assert decide_pause(database, REVIEWER, watch_id, reject())["status"] == "rejected"


def test_a_vote_keeps_what_a_newer_release_wrote_with_it(database: Database) -> None:
    """Where the pause changes, its votes are written again."""
    voter(database, "anne")
    voter(database, "bob")
    watch_id = post(database, review={"approvals": 2})
    write(database, watch_id, *STRANGE["votes.weight"])
    with pytest.raises(NotUnderstood):
        decide_pause(database, REVIEWER, watch_id, reject())
    expire(database, watch_id)
    assert expire_due(database) == 1
    assert (one_status(database, watch_id), one(database, "SELECT votes -> 0 ->> 'weight' FROM pauses")) == (
        "expired",
        "2",
    )


def test_unknown_states_are_shown_as_they_are(database: Database) -> None:
    """And left to those who know them."""
    watch_id, other = post(database), post(database)
    with unchecked(database, "pauses", "ck_pauses_on_timeout"):
        change(database, "UPDATE pauses SET on_timeout = 'snooze' WHERE id = :id", id=uuid_of(watch_id))
        for each in (watch_id, other):
            expire(database, each)
        assert expire_due(database) == 2
        assert (one_status(database, watch_id), one_status(database, other)) == ("pending", "expired")
        assert str(get_pause(database, ADMIN, watch_id).on_timeout) == "snooze"
    assert get_namespace(database, ADMIN, "default")["review"] is not None


def test_a_row_that_cannot_be_swept_is_set_aside_and_reported(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """However many there are: they are met once, then left alone for a while, and the others go on."""
    bad = [post(database) for _ in range(3)]
    change(database, "UPDATE pauses SET on_timeout = 'approve'")
    good = post(database)
    for each in bad:
        write(database, each, "review", NEXT_POLICY)
        expire(database, each)
    expire(database, good)
    with caplog.at_level(logging.WARNING):
        assert expire_due(database) == 4
    assert [one_status(database, each) for each in (*bad, good)] == ["pending"] * 3 + ["expired"]
    told = [record for record in caplog.records if "set aside" in record.message]
    assert {getattr(record, "id", None) for record in told} == {uuid_of(each).hex for each in bad}
    assert "quiet_hours" in getattr(told[0], "reason", "")
    assert (expire_due(database), backlog(database).set_aside) == (0, 3)
    # Tried again later, and less often each time.
    change(database, "UPDATE set_aside SET until = now() - interval '1 s'")
    write(database, bad[0], "review", None)
    assert expire_due(database) == 3
    assert one_status(database, bad[0]) == "approved"
    left = rows(database, "SELECT tries, until - failed_at AS wait FROM set_aside WHERE until > now()")
    assert left == [{"tries": 2, "wait": timedelta(seconds=120)}] * 2


def test_a_row_that_somebody_has_locked_is_not_in_the_way(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the saga that it holds, for which its expiry has to wait."""
    work(database, start(database, step("a", hitl=True)), tools())
    held, other = ids.text(ids.WATCH, one(database, "SELECT id FROM pauses")), post(database)
    for each in (held, other):
        expire(database, each)
    monkeypatch.setattr("services.kernel.connection_pool.LOCK_TIMEOUT_MS", 100)
    engine = open_engine(database.engine.url.render_as_string(False), 2, "sweep")
    with database.transaction() as uow:
        uow.conn.execute(text("SELECT id FROM sagas FOR UPDATE"))
        assert expire_due(replace(database, engine=engine)) == 2
    engine.dispose()
    assert (one_status(database, held), one_status(database, other)) == ("pending", "expired")
    assert "lock" in one(database, "SELECT reason FROM set_aside")


def test_an_outage_of_the_database_sets_nothing_aside(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is set aside for it."""
    expire(database, post(database))

    def gone(*_: object) -> None:
        raise DatabaseUnavailable("gone", "57P01")

    monkeypatch.setattr("services.pauses.lifecycle.apply", gone)
    with pytest.raises(DatabaseUnavailable):
        expire_due(database)
    assert backlog(database).set_aside == 0


def newer(database: Database, kind: str, path: str) -> None:
    """The deployed manifest has a field that only the next release knows."""
    _cache.clear()
    statement = f"UPDATE definitions SET content = jsonb_set(content::jsonb, '{path}', '\"3-5\"')::json"
    assert change(database, f"{statement} WHERE kind = :kind", kind=kind) == 1


@pytest.mark.parametrize(
    ("kind", "path"), [("saga", "{budget}"), ("saga", "{steps,0,quiet_hours}"), ("worker", "{pool}")]
)
def test_a_manifest_is_shown_and_not_run(database: Database, kind: str, path: str) -> None:
    """Its fields may forbid what this version would do."""
    trace_id = start(database, step("a"))
    newer(database, kind, path)
    with pytest.raises(NotUnderstood, match="newer release"):
        advance(database, trace_id)
    assert get_saga(database, OPERATOR, trace_id)["steps"][0]["step_id"] == "a"
    assert len(list_steps(database, OPERATOR, trace_id, None, set(), Page()).items) == 1
    assert one(database, "SELECT attempt FROM saga_steps") == 0
    if kind == "saga":
        with pytest.raises(NotUnderstood):
            start_saga(database, AGENT, StartRequest("default", "s", "1", {}))


def test_held_steps_are_listed_beside_one_whose_manifest_is_unknown(database: Database) -> None:
    for _ in range(2):
        work(database, start(database, step("a", hitl=True)), tools())
    first = one(database, "SELECT min(id::text) FROM definitions WHERE kind = 'saga'")
    assert change(database, 'UPDATE definitions SET content = \'{"kind": "flow"}\' WHERE id = :id', id=UUID(first)) == 1
    _cache.clear()
    found = pending_reviews(database, REVIEWER, ReviewFilter(), Page()).items
    assert [(item["step_id"], item["step_kind"], item["worker"]) for item in found] == [("a", "commit", "w")] * 2


def test_a_sagas_unknown_states_are_shown_and_left_alone(database: Database) -> None:
    trace_id, other = start(database, step("a")), start(database, step("a"))
    with unchecked(database, "saga_steps", "ck_saga_steps_status"):
        change(database, "UPDATE saga_steps SET status = 'DELEGATED' WHERE saga_id = :id", id=trace_id)
        assert get_saga(database, OPERATOR, trace_id)["steps"][0]["status"] == "DELEGATED"
        span = get_saga(database, OPERATOR, trace_id)["steps"][0]["step_span_id"]
        assert get_step(database, OPERATOR, trace_id, span, None)["status"] == "DELEGATED"
        assert len(list_sagas(database, OPERATOR, SagaFilter(), Page()).items) == 2
        with pytest.raises(NotUnderstood, match=r"steps\.a\.status"):
            advance(database, trace_id)
        with pytest.raises(NotUnderstood):
            retry_step(database, OPERATOR, current_ref(database, trace_id), Retry())
        assert advance(database, other) is not None


def test_roles_that_are_unknown_may_do_nothing(database: Database) -> None:
    """And do not hide the other keys."""
    made, _ = create_key(database, ADMIN, NewKey("k", Role.AGENT, ("default",)), None)
    create_key(database, ADMIN, NewKey("l", Role.AGENT, ("default",)), None)
    with unchecked(database, "api_keys", "ck_api_keys_role"):
        change(database, "UPDATE api_keys SET role = 'auditor' WHERE name = 'k'")
        holder = authenticate(database, hash_of(made["key"]))
        assert holder is not None
        assert not any(holder.may(permission) for permission in Permission)
        assert {key["role"] for key in list_keys(database, ADMIN, Page()).items} == {"auditor", "agent"}


def test_entries_of_the_log_may_have_more_fields(database: Database) -> None:
    post(database)
    change(database, "INSERT INTO audit_events (namespace, entry) VALUES ('default', '[\"next\"]')")
    found = list_events(database, ADMIN, EventFilter(namespace="default"), Page()).items
    assert [item["seq"] for item in found] == [2, 1]

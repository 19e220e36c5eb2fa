"""The review queue: its order, its filters, and that its first page costs the same however much waits."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import event

from domain.identity.access import Principal, Role
from domain.pauses.serialization import pause_document
from domain.values import ids
from services.kernel.pagination import Page
from services.kernel.unit_of_work import Database
from services.pauses.namespaces import get_namespace, put_namespace, read_floor
from services.reviews.inbox import InboxFilter, count_waiting, inbox, may_vote, stands_in_for, votes_for
from tests.services.by_watch_id import decide_pause, get_pause
from tests.services.reviewers import key, voter
from tests.services.world import ADMIN, AGENT, OPERATOR, REVIEWER, approve, change, linked, post, rows, someone, uuid_of

PARKED = 100_000


def ids_of(database: Database, by: Principal = REVIEWER, page: Page | None = None, **wanted: Any) -> list[str]:
    return [item["watchId"] for item in inbox(database, by, InboxFilter(**wanted), page or Page()).items]


def test_the_most_urgent_first_then_the_oldest(database: Database) -> None:
    """Page by page nothing is left out or shown twice, also where a page's last was decided in between."""
    usual, urgent, usual_too, more_urgent, urgent_too = (post(database, priority=n) for n in (0, 5, 0, 9, 5))
    order = [more_urgent, urgent, urgent_too, usual, usual_too]
    assert ids_of(database) == order
    first = inbox(database, REVIEWER, InboxFilter(), Page(limit=2))
    decide_pause(database, REVIEWER, urgent, approve())
    assert first.next_after is not None
    assert ids_of(database, page=Page(after=first.next_after)) == order[2:]
    assert ids_of(database) == [more_urgent, *order[2:]]


def test_a_cursor_of_another_namespace_tells_nothing(database: Database) -> None:
    """As one that leads nowhere: not that there is such a review, nor how urgent it is."""
    urgent = uuid_of(post(database, by=someone(Role.AGENT, "other"), namespace="other", priority=5))
    post(database)
    for after in (urgent, uuid4()):
        assert ids_of(database, page=Page(after=after)) == []
    assert len(ids_of(database, ADMIN, page=Page(after=urgent))) == 1


def test_filters(database: Database) -> None:
    """Each alone; what another namespace has is not there."""
    tagged = post(database, tags=("money",), action="Refund 40 €")
    post(database)
    elsewhere = post(database, by=someone(Role.AGENT, "other"), namespace="other")
    assert ids_of(database, tag="money") == ids_of(database, text="refund") == [tagged]
    assert ids_of(database, kind="step") == []
    assert elsewhere not in ids_of(database)
    assert ids_of(database, ADMIN, namespace="other") == [elsewhere]
    assert count_waiting(database, REVIEWER, InboxFilter()) == 2
    assert count_waiting(database, ADMIN, InboxFilter(), limit=2) == 2


def test_mine(database: Database) -> None:
    """Pauses on which I may vote: by name, by group, as anyone, or as a delegate."""
    dan = voter(database, "dan", "sales")
    anne = voter(database, "anne", "ops", away=True, delegate_id=ids.parse(ids.USER, dan.id))
    reviewer = key(database, "robot")
    anybody = post(database)
    group = post(database, review={"groups": ["ops"]})
    by_name = post(database, review={"assignees": ["dan@example.com"]})
    by_key = post(database, review={"assignees": [reviewer.id]})
    own = post(database, by=Principal(dan.id, "Dan", Role.ADMIN, ("default",)))
    assert ids_of(database, anne, mine=True) == [anybody, group, own]
    assert ids_of(database, dan, mine=True) == [anybody, group, by_name]
    assert ids_of(database, reviewer, mine=True) == [anybody, by_key, own]
    assert count_waiting(database, dan, InboxFilter(mine=True)) == 3
    assert [member.id for member in stands_in_for(database, dan)] == [anne.id]


def test_who_may_vote(database: Database) -> None:
    """For the buttons: as the vote itself would be judged."""
    dan = voter(database, "dan")
    anne = voter(database, "anne", "ops", away=True, delegate_id=ids.parse(ids.USER, dan.id))
    pause = get_pause(database, OPERATOR, post(database, review={"groups": ["ops"]}))
    assert may_vote(pause, anne)
    assert not may_vote(pause, dan)
    assert may_vote(pause, dan, stands_in_for(database, dan))
    assert not may_vote(pause, AGENT)
    assert not may_vote(pause, someone(Role.REVIEWER, "other"))
    own = replace(pause, created_by=anne.id)
    assert not may_vote(own, anne)
    assert not may_vote(own, dan, stands_in_for(database, dan))
    watch_id = post(database)
    assert may_vote(get_pause(database, REVIEWER, watch_id), REVIEWER)
    decide_pause(database, REVIEWER, watch_id, approve())
    assert not may_vote(get_pause(database, REVIEWER, watch_id), REVIEWER)


def test_whose_vote_it_would_be(database: Database) -> None:
    """This matches the recorded vote: one's own comes before that of an absent person."""
    dan = voter(database, "dan", "sales")
    anne = voter(database, "anne", "ops", away=True, delegate_id=ids.parse(ids.USER, dan.id))

    def told(watch_id: str, by: Principal = dan) -> str | None:
        found = votes_for(get_pause(database, OPERATOR, watch_id), by, stands_in_for(database, by))
        return found and found.name

    hers = post(database, review={"groups": ["ops"], "approvals": 1})
    assert told(hers) == "Anne"
    assert told(hers, anne) is None
    assert told(hers, REVIEWER) is None
    assert told(post(database, review={"groups": ["ops", "sales"], "approvals": 2})) is None
    assert told(post(database)) is None
    decide_pause(database, dan, hers, approve(dan))
    document = pause_document(get_pause(database, OPERATOR, hers), database.public_url)
    assert [vote["onBehalfOf"]["name"] for vote in document["votes"]] == ["Anne"]
    both = post(database, review={"groups": ["ops"], "assignees": [key(database, "robot").id], "approvals": 2})
    decide_pause(database, dan, both, approve(dan))
    assert told(both) is None


@pytest.fixture
def parked(database: Database) -> None:
    """Loaded once: it takes some seconds."""
    values = """gen_random_uuid(), now(), NULL, 1, n % 3, 'default', 'agent', 'pending', 'expire', 'k', 'a', 0, 0,
                CASE WHEN n % 2 = 0 THEN ARRAY['group:ops'] END"""
    columns = "id, created_at, expires_at, revision, priority, namespace, kind, status, on_timeout, created_by, action"
    insert = f"INSERT INTO pauses ({columns}, stage, reminders, asked) SELECT {values} FROM generate_series(1, :n) n"
    change(database, insert, n=PARKED)
    with database.reading() as conn:
        conn.exec_driver_sql("ANALYZE pauses")


def rows_read(database: Database, ask: Callable[[], object]) -> int:
    """By the scans of the statements that look at pauses."""
    seen: list[tuple[str, Any]] = []

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        seen.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    ask()
    event.remove(database.engine, "before_cursor_execute", note)
    with database.reading() as conn:
        plans = [
            conn.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters).scalar_one()[0]["Plan"]
            for statement, parameters in seen
            if "FROM pauses" in statement
        ]
    assert plans
    scans = [node for plan in plans for node in nodes(plan) if "Scan" in node["Node Type"]]
    return sum(
        int((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]) for node in scans
    )


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(inner for child in plan.get("Plans", ()) for inner in nodes(child))]


@pytest.mark.usefixtures("parked")
def test_pages_and_the_count_read_few_of_many(database: Database) -> None:
    """On the index of what waits, in its order, deep in the queue as well: few are read that are not shown."""
    query = "SELECT id FROM pauses ORDER BY priority DESC, id OFFSET :n LIMIT 1"
    for by in (REVIEWER, ADMIN, someone(Role.REVIEWER, "default", "other")):
        for mine in (False, True):
            wanted = InboxFilter(mine=mine)
            for deep in (None, 10, PARKED // 2, PARKED - 10):
                after = None if deep is None else rows(database, query, n=deep)[0]["id"]
                read = rows_read(database, lambda: inbox(database, by, wanted, Page(after=after)))  # noqa: B023
                assert read <= 1_000, (by, mine, deep)
            assert rows_read(database, lambda: count_waiting(database, by, wanted)) <= 1_000  # noqa: B023


def test_a_namespace_has_a_policy(database: Database) -> None:
    """For pauses that say none; who says a weaker one gets it all the same."""
    anne = voter(database, "anne", "ops")
    assert get_namespace(database, ADMIN, "default")["review"] == {"approvals": 1}
    put = put_namespace(database, ADMIN, "default", {"groups": ["ops"]})
    assert (put["review"], put["changed_by"]) == ({"approvals": 1, "groups": ["ops"]}, ADMIN.id)
    assert get_pause(database, REVIEWER, post(database)).eligible == ["group:ops"]
    assert get_pause(database, REVIEWER, post(database, review={"approvals": 1})).eligible == ["group:ops"]
    assert may_vote(get_pause(database, REVIEWER, post(database)), anne)
    (entry,) = rows(linked(database), "SELECT entry FROM audit_events WHERE entry ->> 'type' = 'namespace.changed'")
    assert entry["entry"]["details"] == {"review": {"approvals": 1, "groups": ["ops"]}}
    put_namespace(database, ADMIN, "default", None)
    assert get_pause(database, REVIEWER, post(database)).eligible is None


def test_a_namespace_is_read_once_for_each_transaction(database: Database) -> None:
    """Not for each pause of a batch."""
    seen: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda _c, _k, statement, *_: seen.append(statement))
    with database.transaction() as uow:
        read_floor(uow, "default")
        read_floor(uow, "default")
    assert sum("namespace_settings" in statement for statement in seen) == 1

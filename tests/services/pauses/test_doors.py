"""Pauses by their door: filters, an agent's own pause, and the indexes that serve both."""

from collections.abc import Callable

import pytest

from domain.identity.access import Principal, Role
from domain.pauses.door import TITLES
from services.kernel.pagination import Page
from services.kernel.unit_of_work import Database
from services.pauses.lifecycle import find_own_pause
from services.pauses.queries import Filter, list_pauses
from services.reviews.decided import list_decided
from services.reviews.inbox import InboxFilter, inbox
from tests.services.by_watch_id import decide_pause
from tests.services.operations.test_backlogs import plans
from tests.services.world import ADMIN, AGENT, REVIEWER, approve, change, one, post, someone, uuid_of

EVERYWHERE = someone(Role.AGENT, "*", id_="key_everywhere")


def listed(database: Database, by: Principal, door: str) -> list[object]:
    return [pause.id for pause in list_pauses(database, by, Filter(door=door), Page()).items]


def test_lists_of_a_door(database: Database) -> None:
    """Newest first; the inbox has the same pauses, and the decided ones leave it."""
    hook, _, older, newer = (
        uuid_of(post(database, metadata={"door": door})) for door in ("claude-hook", None, "mcp", "mcp")
    )
    assert listed(database, REVIEWER, "mcp") == [newer, older]
    assert listed(database, ADMIN, "claude-hook") == [hook]
    assert listed(database, REVIEWER, "aap") == []
    waiting = inbox(database, REVIEWER, InboxFilter(door="mcp"), Page()).items
    assert [uuid_of(document["watchId"]) for document in waiting] == [older, newer]
    decide_pause(database, REVIEWER, waiting[0]["watchId"], approve())
    decided = list_decided(database, REVIEWER, Filter(decided=True, door="mcp"), Page()).items
    assert [pause.id for pause in decided] == [older]
    assert list_decided(database, REVIEWER, Filter(decided=True, door="claude-hook"), Page()).items == []


@pytest.mark.parametrize("value", ["MCP", "x" * 41, "\u202emcp", 7, {"door": "mcp"}, None])
def test_what_is_no_name_is_no_door(database: Database, value: object) -> None:
    post(database, metadata={"door": value})
    assert one(database, "SELECT count(*) FROM pauses WHERE door IS NOT NULL") == 0


def test_an_older_process_stores_no_door(database: Database) -> None:
    """The pause is whole without it: it can be read and decided, and filters do not see it."""
    watch_id = post(database, metadata={"door": "mcp"})
    change(database, "UPDATE pauses SET door = NULL")
    assert listed(database, REVIEWER, "mcp") == []
    document = decide_pause(database, REVIEWER, watch_id, approve())
    assert document["metadata"] == {"door": "mcp"}


def test_an_agents_own_pause(database: Database) -> None:
    """By key, door and id; the first of several."""
    first = uuid_of(post(database, external_id="call-1", metadata={"door": "mcp"}))
    post(database, external_id="call-1", metadata={"door": "mcp"})
    found = find_own_pause(database, AGENT, "mcp", "call-1")
    assert found is not None
    assert found.id == first
    assert find_own_pause(database, AGENT, "aap", "call-1") is None
    assert find_own_pause(database, AGENT, "mcp", "call-2") is None
    assert find_own_pause(database, someone(Role.AGENT, id_="key_other"), "mcp", "call-1") is None


@pytest.mark.parametrize("by", [ADMIN, REVIEWER, EVERYWHERE, AGENT])
def test_indexes_serve_doors(database: Database, by: Principal) -> None:
    """Among many pauses, with few of a door, and for a door with many."""
    change(
        database,
        "INSERT INTO pauses (id, created_at, revision, priority, namespace, kind, status, on_timeout, created_by,"
        " action, external_id, door) SELECT gen_random_uuid(), now(), 1, 0, 'default', 'agent', 'pending', 'expire',"
        " 'key_agent', 'x', 'call-' || g, CASE WHEN g % 2 = 0 THEN 'mcp' WHEN g % 2000 = 1 THEN 'aap' END"
        " FROM generate_series(1, 20000) g",
    )
    change(database, "ANALYZE pauses")
    listed_by = "Index" if by.role is Role.AGENT else "ix_pauses_door "
    works: list[tuple[str, Callable[[Database], object]]] = [
        (listed_by, lambda database: list_pauses(database, by, Filter(door="aap"), Page())),
        ("ix_pauses_external_ids", lambda database: find_own_pause(database, by, "mcp", "call-77")),
        ("ix_pauses_external_ids", lambda database: find_own_pause(database, by, "mcp", "call-20000")),
    ]
    for index, work in works:
        for plan in plans(database, work):
            assert index in plan
            assert "Seq Scan" not in plan


def test_our_doors_have_names_that_are_stored(database: Database) -> None:
    for door in TITLES:
        post(database, metadata={"door": door})
    assert one(database, "SELECT count(DISTINCT door) FROM pauses") == len(TITLES)

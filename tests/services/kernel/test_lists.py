"""Lists of pauses: filters, pages by offset and by cursor, and who sees what in them."""

from datetime import timedelta
from typing import Any

import pytest

from domain.identity.access import Role
from domain.pauses.pause import Pause, Status
from services.kernel.pagination import Page
from services.kernel.unit_of_work import Database
from services.pauses.lifecycle import expire_due
from services.pauses.queries import Filter, list_pauses
from services.reviews.decided import ME, list_decided
from tests.services.by_watch_id import decide_pause, get_pause
from tests.services.reviewers import voter
from tests.services.world import (
    ADMIN,
    AGENT,
    OPERATOR,
    REVIEWER,
    approve,
    cancel,
    expire,
    post,
    reject,
    someone,
    uuid_of,
)


def listed(database: Database, by: Any = REVIEWER, page: Page | None = None, **wanted: Any) -> list[str]:
    found = list_pauses(database, by, Filter(**wanted), page or Page())
    return [f"wch_{pause.id.hex}" for pause in found.items]


def test_newest_first(database: Database) -> None:
    made = [post(database) for _ in range(5)]
    assert listed(database) == made[::-1]


def test_filters(database: Database) -> None:
    """Each alone, and together."""
    red = post(database, action="Deploy 100% of web_1", tags=("red", "big"))
    blue = post(database, action="delete\\everything", tags=("blue",))
    plain = post(database, action="deploy web21")
    decide_pause(database, REVIEWER, plain, approve())
    assert listed(database, status=Status.APPROVED) == [plain]
    assert listed(database, status=Status.EXPIRED) == []
    assert listed(database, tag="red") == [red]
    assert listed(database, tag="re") == []
    assert listed(database, text="DEPLOY") == [plain, red]
    assert listed(database, text="100%") == [red]
    assert listed(database, text="web_1") == [red]
    assert listed(database, text="e\\e") == [blue]
    assert listed(database, kind="agent", namespace="default", status=Status.PENDING) == [blue, red]
    assert listed(database, kind="step") == []


def test_created_between(database: Database) -> None:
    """From the first instant on, up to but without the second."""
    first, second = post(database), post(database)
    at = get_pause(database, REVIEWER, second).created_at
    assert listed(database, created_after=at) == [second]
    assert listed(database, created_before=at) == [first]
    assert listed(database, created_after=at + timedelta(microseconds=1)) == []


def test_who_sees_what(database: Database) -> None:
    """Namespaces for all; an agent only its own; naming what one may not see shows nothing of it."""
    other = someone(Role.AGENT, "other", id_="key_other")
    mine, theirs = post(database), post(database, other, namespace="other")
    assert listed(database, AGENT) == [mine]
    assert listed(database, other) == [theirs]
    assert listed(database, someone(Role.AGENT, "default", id_="key_third")) == []
    assert listed(database, REVIEWER) == [mine]
    assert listed(database, someone(Role.REVIEWER, "default", "other")) == [theirs, mine]
    assert listed(database, ADMIN) == [theirs, mine]
    assert listed(database, REVIEWER, namespace="other") == []
    assert listed(database, ADMIN, namespace="other") == [theirs]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
def test_pages_by_offset_and_by_cursor_tell_the_same(database: Database, limit: int) -> None:
    """Everything once, and the last page says that it is the last, also when it is full."""
    made = [post(database) for _ in range(7)][::-1]
    by_cursor: list[str] = []
    page: Page | None = Page(limit)
    while page is not None:
        found = list_pauses(database, REVIEWER, Filter(), page)
        assert 1 <= len(found.items) <= limit
        by_cursor += listed(database, page=page)
        page = None if found.next_after is None else Page(limit, after=found.next_after)
    by_offset = [item for offset in range(0, 7, limit) for item in listed(database, page=Page(limit, offset))]
    assert by_cursor == by_offset == made


def test_a_cursor_is_steady_while_rows_are_added(database: Database) -> None:
    """New pauses come before the first page: no pause is listed twice or left out."""
    made = [post(database) for _ in range(6)][::-1]
    seen: list[Pause] = []
    page: Page | None = Page(2)
    while page is not None:
        found = list_pauses(database, REVIEWER, Filter(), page)
        seen += found.items
        post(database)
        page = None if found.next_after is None else Page(2, after=found.next_after)
    assert [f"wch_{pause.id.hex}" for pause in seen] == made


def test_beyond_the_end(database: Database) -> None:
    """An empty page, and no next."""
    only = post(database)
    for page in (Page(5, offset=1), Page(5, after=uuid_of(only))):
        found = list_pauses(database, REVIEWER, Filter(), page)
        assert (found.items, found.next_after, found.page) == ([], None, page)


def decided(database: Database, by: Any = REVIEWER, page: Page | None = None, **wanted: Any) -> list[str]:
    found = list_decided(database, by, Filter(decided=True, **wanted), page or Page())
    return [f"wch_{pause.id.hex}" for pause in found.items]


def test_decided_ones_the_latest_decision_first(database: Database) -> None:
    """Whatever waits no more, in the order of decisions, not of making."""
    early, late, cancelled, overdue, _waiting = (post(database) for _ in range(5))
    decide_pause(database, REVIEWER, late, approve())
    decide_pause(database, OPERATOR, early, reject(OPERATOR))
    decide_pause(database, AGENT, cancelled, cancel())
    expire(database, overdue)
    expire_due(database)
    assert decided(database) == [overdue, cancelled, early, late]
    assert decided(database, status=Status.APPROVED) == [late]
    assert decided(database, decided_by=REVIEWER.id) == decided(database, decided_by=ME) == [late]
    assert decided(database, OPERATOR, decided_by=ME) == [early]
    assert decided(database, decided_by=OPERATOR.name.upper()) == [early]
    assert decided(database, decided_by="system") == [overdue]
    assert decided(database, decided_by="nobody") == []
    at = get_pause(database, REVIEWER, early).decision
    assert at is not None
    assert decided(database, decided_after=at.at) == [overdue, cancelled, early]
    assert decided(database, decided_before=at.at) == [late]
    assert decided(database, someone(Role.REVIEWER, "other")) == []
    assert decided(database, someone(Role.AGENT, "default", id_="key_third")) == []


def test_a_voter_of_several_has_decided_too(database: Database) -> None:
    anne, ben, third = (voter(database, name) for name in ("anne", "ben", "third"))
    watch_id = post(database, review={"approvals": 2})
    decide_pause(database, anne, watch_id, approve(anne))
    assert decided(database, anne, decided_by=ME) == []
    decide_pause(database, ben, watch_id, approve(ben))
    assert decided(database, anne, decided_by=ME) == decided(database, ben, decided_by=ME) == [watch_id]
    assert decided(database, third, decided_by=ME) == []


def test_pages_of_what_a_sweep_expired_in_one_instant(database: Database) -> None:
    made = [post(database) for _ in range(5)]
    for watch_id in made:
        expire(database, watch_id)
    expire_due(database)
    seen: list[str] = []
    page: Page | None = Page(2)
    while page is not None:
        found = list_decided(database, REVIEWER, Filter(decided=True), page)
        seen += [f"wch_{pause.id.hex}" for pause in found.items]
        page = None if found.next_after is None else Page(2, after=found.next_after)
    assert seen == made[::-1]


def test_a_search_continues_after_the_rows_that_it_read(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page without a match leads to the match behind the rows that it read, and so on to the end."""
    monkeypatch.setattr("services.kernel.pagination.SEARCHED", 3)
    made = [post(database, action="rare" if place in (1, 7) else "common") for place in range(10)]
    for listed_by, by in ((list_pauses, REVIEWER), (list_pauses, ADMIN), (list_pauses, AGENT)):
        after, found, pages = None, [], 0
        while pages == 0 or after is not None:
            page = listed_by(database, by, Filter(text="rare"), Page(after=after))
            found += [f"wch_{pause.id.hex}" for pause in page.items]
            after, pages = page.next_after, pages + 1
        assert found == [made[7], made[1]]
        assert pages == 4

"""Lists of pauses: filters, pages by offset and by cursor, and who sees what in them."""

from datetime import timedelta
from typing import Any

import pytest

from domain.identity.access import Role
from domain.pauses.pause import Pause, Status
from services.kernel.pagination import Page
from services.kernel.unit_of_work import Store
from services.pauses.lifecycle import Filter, expire_due, get_pause, list_pauses
from services.reviews.decided import ME, list_decided
from services.reviews.decisions import decide_pause
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


def listed(store: Store, by: Any = REVIEWER, page: Page | None = None, **wanted: Any) -> list[str]:
    found = list_pauses(store, by, Filter(**wanted), page or Page())
    return [f"wch_{pause.id.hex}" for pause in found.items]


def test_newest_first(store: Store) -> None:
    made = [post(store) for _ in range(5)]
    assert listed(store) == made[::-1]


def test_filters(store: Store) -> None:
    """Each alone, and together."""
    red = post(store, action="Deploy 100% of web_1", tags=("red", "big"))
    blue = post(store, action="delete\\everything", tags=("blue",))
    plain = post(store, action="deploy web21")
    decide_pause(store, REVIEWER, plain, approve())
    assert listed(store, status=Status.APPROVED) == [plain]
    assert listed(store, status=Status.EXPIRED) == []
    assert listed(store, tag="red") == [red]
    assert listed(store, tag="re") == []
    assert listed(store, text="DEPLOY") == [plain, red]
    assert listed(store, text="100%") == [red]
    assert listed(store, text="web_1") == [red]
    assert listed(store, text="e\\e") == [blue]
    assert listed(store, kind="agent", namespace="default", status=Status.PENDING) == [blue, red]
    assert listed(store, kind="step") == []


def test_created_between(store: Store) -> None:
    """From the first instant on, up to but without the second."""
    first, second = post(store), post(store)
    at = get_pause(store, REVIEWER, second).created_at
    assert listed(store, created_after=at) == [second]
    assert listed(store, created_before=at) == [first]
    assert listed(store, created_after=at + timedelta(microseconds=1)) == []


def test_who_sees_what(store: Store) -> None:
    """Namespaces for all; an agent only its own; naming what one may not see shows nothing of it."""
    other = someone(Role.AGENT, "other", id_="key_other")
    mine, theirs = post(store), post(store, other, namespace="other")
    assert listed(store, AGENT) == [mine]
    assert listed(store, other) == [theirs]
    assert listed(store, someone(Role.AGENT, "default", id_="key_third")) == []
    assert listed(store, REVIEWER) == [mine]
    assert listed(store, someone(Role.REVIEWER, "default", "other")) == [theirs, mine]
    assert listed(store, ADMIN) == [theirs, mine]
    assert listed(store, REVIEWER, namespace="other") == []
    assert listed(store, ADMIN, namespace="other") == [theirs]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
def test_pages_by_offset_and_by_cursor_tell_the_same(store: Store, limit: int) -> None:
    """Everything once, and the last page says that it is the last, also when it is full."""
    made = [post(store) for _ in range(7)][::-1]
    by_cursor: list[str] = []
    page: Page | None = Page(limit)
    while page is not None:
        found = list_pauses(store, REVIEWER, Filter(), page)
        assert 1 <= len(found.items) <= limit
        by_cursor += listed(store, page=page)
        page = None if found.next_after is None else Page(limit, after=found.next_after)
    by_offset = [item for offset in range(0, 7, limit) for item in listed(store, page=Page(limit, offset))]
    assert by_cursor == by_offset == made


def test_a_cursor_is_steady_while_rows_are_added(store: Store) -> None:
    """What comes in meanwhile stands before the first page: nothing is told twice, nothing left out."""
    made = [post(store) for _ in range(6)][::-1]
    seen: list[Pause] = []
    page: Page | None = Page(2)
    while page is not None:
        found = list_pauses(store, REVIEWER, Filter(), page)
        seen += found.items
        post(store)
        page = None if found.next_after is None else Page(2, after=found.next_after)
    assert [f"wch_{pause.id.hex}" for pause in seen] == made


def test_beyond_the_end(store: Store) -> None:
    """An empty page, and no next."""
    only = post(store)
    for page in (Page(5, offset=1), Page(5, after=uuid_of(only))):
        found = list_pauses(store, REVIEWER, Filter(), page)
        assert (found.items, found.next_after, found.page) == ([], None, page)


def decided(store: Store, by: Any = REVIEWER, page: Page | None = None, **wanted: Any) -> list[str]:
    found = list_decided(store, by, Filter(decided=True, **wanted), page or Page())
    return [f"wch_{pause.id.hex}" for pause in found.items]


def test_decided_ones_the_latest_decision_first(store: Store) -> None:
    """Whatever waits no more, in the order of decisions, not of making."""
    early, late, cancelled, overdue, _waiting = (post(store) for _ in range(5))
    decide_pause(store, REVIEWER, late, approve())
    decide_pause(store, OPERATOR, early, reject(OPERATOR))
    decide_pause(store, AGENT, cancelled, cancel())
    expire(store, overdue)
    expire_due(store)
    assert decided(store) == [overdue, cancelled, early, late]
    assert decided(store, status=Status.APPROVED) == [late]
    assert decided(store, decided_by=REVIEWER.id) == decided(store, decided_by=ME) == [late]
    assert decided(store, OPERATOR, decided_by=ME) == [early]
    assert decided(store, decided_by=OPERATOR.name.upper()) == [early]
    assert decided(store, decided_by="system") == [overdue]
    assert decided(store, decided_by="nobody") == []
    at = get_pause(store, REVIEWER, early).decision
    assert at is not None
    assert decided(store, decided_after=at.at) == [overdue, cancelled, early]
    assert decided(store, decided_before=at.at) == [late]
    assert decided(store, someone(Role.REVIEWER, "other")) == []
    assert decided(store, someone(Role.AGENT, "default", id_="key_third")) == []


def test_whoever_gave_one_vote_of_several_has_decided_too(store: Store) -> None:
    anne, ben, third = (voter(store, name) for name in ("anne", "ben", "third"))
    watch_id = post(store, review={"approvals": 2})
    decide_pause(store, anne, watch_id, approve(anne))
    assert decided(store, anne, decided_by=ME) == []
    decide_pause(store, ben, watch_id, approve(ben))
    assert decided(store, anne, decided_by=ME) == decided(store, ben, decided_by=ME) == [watch_id]
    assert decided(store, third, decided_by=ME) == []


def test_pages_of_what_a_sweep_expired_in_one_instant(store: Store) -> None:
    made = [post(store) for _ in range(5)]
    for watch_id in made:
        expire(store, watch_id)
    expire_due(store)
    seen: list[str] = []
    page: Page | None = Page(2)
    while page is not None:
        found = list_decided(store, REVIEWER, Filter(decided=True), page)
        seen += [f"wch_{pause.id.hex}" for pause in found.items]
        page = None if found.next_after is None else Page(2, after=found.next_after)
    assert seen == made[::-1]

"""Lists of sagas and of what waits: few queries however long; and what two people do at the same moment."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event, text

from cli.devstack.waiting import wait_until
from domain.identity.access import Role
from domain.sagas.step import StepStatus
from domain.values.errors import NotFound
from services.kernel.pagination import Page
from services.kernel.unit_of_work import Database
from services.manifests import definitions
from services.reviews.held_steps import ReviewFilter, pending_reviews
from services.sagas.lifecycle import StartRequest, cancel_saga, start_saga
from services.sagas.queries import SagaFilter, list_sagas, list_steps
from services.sagas.recovery import Retry, retry_step
from tests.services.by_watch_id import decide_pause
from tests.services.saga_turns import advance, record
from tests.services.saga_world import (
    claimed,
    current_ref,
    die,
    looked_up,
    pending_pauses,
    start,
    statuses,
    step,
    tools,
    work,
)
from tests.services.world import ADMIN, AGENT, OPERATOR, REVIEWER, approve, one, someone


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """Those that are sent meanwhile."""
    sent: list[str] = []

    def note(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(database.engine, "before_cursor_execute", note)


def held(database: Database, number: int) -> list[UUID]:
    """Each of another definition."""
    made = []
    for n in range(number):
        made.append(start(database, step("a", hitl=True, name=f"number {n}")))
        work(database, made[-1], tools())
    return made


def waiting(database: Database, by: Any = REVIEWER, page: Page | None = None, **wanted: Any) -> list[str]:
    found = pending_reviews(database, by, ReviewFilter(**wanted), page or Page())
    return [item["saga_trace_id"] for item in found.items]


class TestQueries:
    def test_a_page_of_sagas_is_one(self, database: Database) -> None:
        made = held(database, 5)
        with statements(database) as sent:
            found = list_sagas(database, REVIEWER, SagaFilter(), Page())
        assert [item["trace_id"] for item in found.items] == [id_.hex for id_ in reversed(made)]
        assert len(sent) == 1

    def test_a_page_of_what_waits_is_one_and_one_for_manifests_not_read_yet(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = [id_.hex for id_ in held(database, 5)]
        monkeypatch.setattr(definitions, "_cache", type(definitions._cache)())
        for expected in (2, 1):
            with statements(database) as sent:
                assert waiting(database) == made
            assert len(sent) == expected


class TestOrder:
    def test_an_id_of_ones_own_says_nothing_of_the_time(self, database: Database) -> None:
        start(database, step("a"))
        wanted = [UUID(hex=first + uuid4().hex[1:]) for first in "f05"]
        for id_ in wanted:
            assert start_saga(database, AGENT, StartRequest("default", "s", "1", {"n": 1}, trace_id=id_)) == (id_, True)
        found = list_sagas(database, REVIEWER, SagaFilter(), Page(limit=2))
        rest = list_sagas(database, REVIEWER, SagaFilter(), Page(limit=2, after=found.next_after))
        shown = [item["trace_id"] for item in (*found.items, *rest.items)]
        assert shown[:3] == [id_.hex for id_ in reversed(wanted)]
        assert rest.next_after is None
        assert list_sagas(database, REVIEWER, SagaFilter(), Page(after=uuid4())).items == []

    def test_a_cursor_of_another_namespace_tells_nothing(self, database: Database) -> None:
        """As one that leads nowhere: a trace id is soon known, what it is of and since when is not."""
        start(database, step("a"))
        newer = start(database, step("b"))
        assert len(list_sagas(database, ADMIN, SagaFilter(), Page(after=newer)).items) == 1
        with database.transaction() as uow:
            uow.conn.execute(text("UPDATE sagas SET namespace = 'other' WHERE id = :id"), {"id": newer})
        assert list_sagas(database, REVIEWER, SagaFilter(), Page(after=newer)).items == []

    def test_the_longest_waiting_first_in_pages(self, database: Database) -> None:
        made = [id_.hex for id_ in held(database, 4)]
        first = pending_reviews(database, REVIEWER, ReviewFilter(), Page(limit=2))
        assert [item["saga_trace_id"] for item in first.items] == made[:2]
        assert waiting(database, page=Page(after=first.next_after)) == made[2:]
        decide_pause(database, REVIEWER, first.items[0]["watch_id"], approve())
        assert waiting(database) == made[1:]
        assert waiting(database, trace_id=UUID(hex=made[2])) == made[2:3]

    def test_who_sees_what_waits(self, database: Database) -> None:
        made = [id_.hex for id_ in held(database, 1)]
        assert waiting(database, ADMIN) == waiting(database, ADMIN, namespace="default") == made
        assert waiting(database, someone(Role.REVIEWER, "other", "default")) == made
        assert waiting(database, someone(Role.ADMIN, "other")) == waiting(database, namespace="other") == []


class TestAtTheSameMoment:
    def test_a_cancel_takes_along_a_hold_that_it_did_not_see_yet(self, database: Database) -> None:
        """The step is held after the cancel has looked, and before it has the saga's lock."""
        trace_id = start(database, step("a", hitl=True))
        cancelled: list[Future[str]] = []
        pool = ThreadPoolExecutor(1)

        def cancel_now(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
            # The turn has locked the saga, and has not held its step yet.
            if "FROM saga_steps" in statement and not cancelled:
                cancelled.append(pool.submit(cancel_saga, database, OPERATOR, trace_id, None))
                assert wait_until(lambda: one(database, _WAITING) == 1, 90)

        look_up = advance(database, trace_id)
        event.listen(database.engine, "before_cursor_execute", cancel_now)
        assert looked_up(database, look_up) is None
        event.remove(database.engine, "before_cursor_execute", cancel_now)
        assert cancelled[0].result(90) == "AWAITING_HUMAN"
        pool.shutdown()
        assert pending_pauses(database) == 0
        work(database, trace_id, tools())
        assert statuses(database, trace_id) == ("FAILED", "FAILED")

    def test_a_recovery_that_came_to_nothing_may_be_wished_for_again(self, database: Database) -> None:
        """A token is used up by what was carried out, not by what a busy worker was in the way of."""
        trace_id = start(database, step("a", idempotent=True))
        call, which, request = claimed(database, trace_id), current_ref(database, trace_id), Retry(token="one")
        assert retry_step(database, OPERATOR, which, request)["status"] == "claim_active"
        die(database, trace_id)
        done = retry_step(database, OPERATOR, which, request)
        assert done["status"] == "requeued"
        assert retry_step(database, OPERATOR, which, request) == done
        assert record(database, call, tools().make(call), {}, 0.5) is None


_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def test_steps_by_their_status(database: Database) -> None:
    """An undone step, and its undo, are found by the word that we give each, and by the one that others do."""
    trace_id = start(database, step("a", undo=True), step("b", hitl=True), step("c"))
    work(database, trace_id, tools())

    def found(*statuses: StepStatus, namespace: str | None = None) -> list[str]:
        items = list_steps(database, AGENT, trace_id, namespace, frozenset(statuses), Page()).items
        return [("undo " if item["compensates_span_id"] else "") + item["step_id"] for item in items]

    assert found(StepStatus.AWAITING_HUMAN) == ["b"]
    assert found(StepStatus.COMPLETED, StepStatus.PENDING) == ["a", "c"]
    assert found(StepStatus.FAILED) == []
    cancel_saga(database, OPERATOR, trace_id, None)
    work(database, trace_id, tools())
    assert statuses(database, trace_id) == ("COMPENSATED", "COMPENSATED", "FAILED", "SKIPPED", "COMPLETED")
    assert found(StepStatus.COMPENSATED) == found(StepStatus.COMPLETED) == ["a", "undo a"]
    assert found(StepStatus.SKIPPED, StepStatus.FAILED) == ["b", "c"]
    assert found(namespace="default") == ["a", "b", "c", "undo a"]
    first = list_steps(database, AGENT, trace_id, None, frozenset({StepStatus.COMPENSATED}), Page(limit=1))
    after = list_steps(
        database, AGENT, trace_id, None, frozenset({StepStatus.COMPENSATED}), Page(limit=1, after=first.next_after)
    )
    assert [item["compensates_span_id"] is None for item in (*first.items, *after.items)] == [True, False]
    with pytest.raises(NotFound):
        found(namespace="elsewhere")

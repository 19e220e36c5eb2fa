"""A request with a key is carried out once, whenever and however often it comes."""

from datetime import timedelta

import pytest

from domain.identity.access import Role
from domain.values.errors import IdempotencyKeyReused, Invalid
from services.kernel.idempotency import IdempotentRequest, RepeatedRequest
from services.kernel.unit_of_work import Database
from services.operations.retention import IDEMPOTENCY_KEPT
from services.reviews.step_decisions import rerun_step
from services.sagas.lifecycle import StartRequest, cancel_saga, start_saga
from tests.conftest import Recorded
from tests.services.by_watch_id import decide_pause
from tests.services.saga_world import current_ref, start, step, tools, work
from tests.services.world import (
    ADMIN,
    AGENT,
    OPERATOR,
    REVIEWER,
    an_endpoint,
    approve,
    at_once,
    change,
    create_pause,
    deliveries,
    draft,
    expire,
    idempotency,
    one,
    post,
    prune,
    someone,
)


def test_the_same_again_is_the_pause_as_it_is(database: Database) -> None:
    """Perhaps decided by now: an agent that only repeats its request goes on all the same."""
    first, replayed = create_pause(database, AGENT, draft(), idempotency("key-0001"))
    assert not replayed
    assert create_pause(database, AGENT, draft(), idempotency("key-0001")) == (first, True)
    decided = decide_pause(database, REVIEWER, first["watchId"], approve(comment="for you alone"))
    assert create_pause(database, AGENT, draft(), idempotency("key-0001")) == (decided, True)
    # Another agent's own pauses are all that it sees.
    colleague = someone(Role.AGENT, id_="key_colleague")
    assert create_pause(database, colleague, draft(), idempotency("key-0001")) == (first, True)
    change(database, "DELETE FROM pauses")
    assert create_pause(database, AGENT, draft(), idempotency("key-0001")) == (first, True)
    change(database, "UPDATE idempotency_keys SET pause_id = NULL")
    assert create_pause(database, AGENT, draft(), idempotency("key-0001")) == (first, True)


def test_the_same_again_makes_nothing(database: Database) -> None:
    first, _ = create_pause(database, AGENT, draft(), idempotency("key-0001"))
    decide_pause(database, REVIEWER, first["watchId"], approve())
    create_pause(database, AGENT, draft(), idempotency("key-0001"))
    assert one(database, "SELECT count(*) FROM pauses") == 1


def test_another_request_under_the_same_key_is_refused(database: Database) -> None:
    """And leaves nothing."""
    create_pause(database, AGENT, draft(), idempotency("key-0001"))
    with pytest.raises(IdempotencyKeyReused):
        create_pause(database, AGENT, draft(), idempotency("key-0001", "another body"))
    assert one(database, "SELECT count(*) FROM pauses") == 1


def test_the_scope_is_the_namespace(database: Database) -> None:
    """Two teams may use the same key; two agents of a team share it."""
    made, _ = create_pause(database, AGENT, draft(), idempotency("key-0001"))
    other = someone(Role.AGENT, "other")
    assert post(database, other, idempotency("key-0001"), namespace="other") != made["watchId"]
    colleague = someone(Role.AGENT, id_="key_colleague")
    assert create_pause(database, colleague, draft(), idempotency("key-0001")) == (made, True)


def test_a_refused_request_keeps_no_key(database: Database) -> None:
    """So that the corrected one can be sent under it."""
    with pytest.raises(Invalid):
        create_pause(database, AGENT, draft(action=" "), idempotency("key-0001", "wrong"))
    assert not create_pause(database, AGENT, draft(), idempotency("key-0001", "right"))[1]


def test_a_replay_after_the_deadline_of_its_own_body(database: Database) -> None:
    """An `expiresAt` that is past by now was fine when the request was carried out."""
    with database.transaction() as uow:
        soon = uow.now.replace(year=uow.now.year + 1)
    first, _ = create_pause(database, AGENT, draft(expires=soon), idempotency("key-0001"))
    expire(database, first["watchId"])
    past = draft(expires=soon.replace(year=2020))
    again, replayed = create_pause(database, AGENT, past, idempotency("key-0001"))
    assert (again["watchId"], replayed) == (first["watchId"], True)


def test_a_replay_tells_nobody_again(database: Database, publisher: Recorded) -> None:
    """One event makes one message and one wake-up."""
    an_endpoint(database)
    for _ in range(3):
        create_pause(database, AGENT, draft(), idempotency("key-0001"))
    assert [delivery["type"] for delivery in deliveries(database)] == ["pause.created"]
    assert len(publisher.wakeups) == 1


def test_twenty_at_the_same_time_make_one(database: Database, publisher: Recorded) -> None:
    """All get the same answer, and one of them made it."""
    an_endpoint(database)
    answers = at_once([lambda: create_pause(database, AGENT, draft(), idempotency("key-0001"))] * 20)
    assert not [answer for answer in answers if isinstance(answer, Exception)]
    documents = [document for document, _ in answers]  # type: ignore[misc]
    assert all(document == documents[0] for document in documents)
    assert [replayed for _, replayed in answers].count(False) == 1  # type: ignore[misc]
    assert one(database, "SELECT count(*) FROM pauses") == 1
    assert len(deliveries(database)) == 1
    assert len(publisher.wakeups) == 1


def test_contrary_bodies_at_the_same_time(database: Database) -> None:
    """One is carried out; those that asked for the other thing are refused."""
    bodies = ["one", "other"] * 5
    answers = at_once(
        [lambda body=body: create_pause(database, AGENT, draft(), idempotency("key-0001", body)) for body in bodies]
    )
    refused = [answer for answer in answers if isinstance(answer, IdempotencyKeyReused)]
    assert len(refused) == 5
    assert one(database, "SELECT count(*) FROM pauses") == 1


def test_keys_are_kept_for_a_day_at_least(database: Database) -> None:
    """The key is not kept longer than that."""
    once_ = IdempotentRequest("key-0001", bytes(32))
    made, _ = create_pause(database, ADMIN, draft(), once_)
    decide_pause(database, REVIEWER, made["watchId"], approve())
    change(database, "UPDATE pauses SET resolved_at = resolved_at - interval '25 h'")
    day = "UPDATE idempotency_keys SET created_at = created_at - interval '25 h'"
    change(database, day)
    prune(database, IDEMPOTENCY_KEPT)
    assert create_pause(database, ADMIN, draft(), once_)[1]
    change(database, day)
    prune(database, IDEMPOTENCY_KEPT)
    assert not create_pause(database, ADMIN, draft(), once_)[1]


def _forgotten(database: Database) -> int:
    """How many keys went, all of them a month old."""
    change(database, "UPDATE idempotency_keys SET created_at = created_at - interval '30 days'")
    return prune(database, timedelta(days=90))["idempotency_keys"]


def test_a_key_lives_as_long_as_its_pause_waits_and_a_day_longer(database: Database) -> None:
    """Asked again after a weekend, or a month, it is still the same pause."""
    watch_id = post(database, idempotency=idempotency("key-0001"), expires=None)
    assert _forgotten(database) == 0
    assert post(database, idempotency=idempotency("key-0001"), expires=None) == watch_id
    decide_pause(database, REVIEWER, watch_id, approve())
    change(database, "UPDATE pauses SET resolved_at = resolved_at - interval '23 h'")
    assert _forgotten(database) == 0
    assert post(database, idempotency=idempotency("key-0001"), expires=None) == watch_id
    change(database, "UPDATE pauses SET resolved_at = resolved_at - interval '2 h'")
    assert _forgotten(database) == 1
    assert post(database, idempotency=idempotency("key-0001"), expires=None) != watch_id


def test_a_key_lives_as_long_as_its_saga_runs_and_a_day_longer(database: Database) -> None:
    """The key of a start, and that of a rerun, are kept."""
    trace_id = start(database, step("a", hitl=True))
    wanted = StartRequest("default", "s", "1", {"n": 1})
    trace_id, _ = start_saga(database, AGENT, wanted, idempotency("start-01"))
    work(database, trace_id, tools())
    rerun_step(database, REVIEWER, current_ref(database, trace_id), None, "my-wish")
    work(database, trace_id, tools())
    assert _forgotten(database) == 0
    with pytest.raises(RepeatedRequest) as again:
        start_saga(database, AGENT, wanted, idempotency("start-01"))
    assert again.value.answer["trace_id"] == trace_id.hex
    cancel_saga(database, OPERATOR, trace_id, None)
    work(database, trace_id, tools())
    assert _forgotten(database) == 0
    change(database, "UPDATE sagas SET ended_at = ended_at - interval '25 h' WHERE ended_at IS NOT NULL")
    assert _forgotten(database) == 2

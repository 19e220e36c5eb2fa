"""A request with a key is carried out once, whenever and however often it comes."""

from datetime import timedelta

import pytest

from domain.identity.access import Role
from domain.values.errors import IdempotencyKeyReused, Invalid
from services.kernel.idempotency import Once, Repeated
from services.kernel.unit_of_work import Store
from services.operations.retention import IDEMPOTENCY_KEPT, prune
from services.reviews.decisions import decide_pause
from services.reviews.step_decisions import rerun_step
from services.sagas.lifecycle import Start, cancel_saga, start_saga
from tests.conftest import Recorded
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
    once,
    one,
    post,
    someone,
)


def test_the_same_again_is_the_pause_as_it_is(store: Store) -> None:
    """Perhaps decided by now: an agent that only repeats its request goes on all the same."""
    first, replayed = create_pause(store, AGENT, draft(), once("key-0001"))
    assert not replayed
    assert create_pause(store, AGENT, draft(), once("key-0001")) == (first, True)
    decided = decide_pause(store, REVIEWER, first["watchId"], approve(comment="for you alone"))
    assert create_pause(store, AGENT, draft(), once("key-0001")) == (decided, True)
    # Another agent's own pauses are all that it sees.
    colleague = someone(Role.AGENT, id_="key_colleague")
    assert create_pause(store, colleague, draft(), once("key-0001")) == (first, True)
    change(store, "DELETE FROM pauses")
    assert create_pause(store, AGENT, draft(), once("key-0001")) == (first, True)
    change(store, "UPDATE idempotency_keys SET pause_id = NULL")
    assert create_pause(store, AGENT, draft(), once("key-0001")) == (first, True)


def test_the_same_again_makes_nothing(store: Store) -> None:
    first, _ = create_pause(store, AGENT, draft(), once("key-0001"))
    decide_pause(store, REVIEWER, first["watchId"], approve())
    create_pause(store, AGENT, draft(), once("key-0001"))
    assert one(store, "SELECT count(*) FROM pauses") == 1


def test_another_request_under_the_same_key_is_refused(store: Store) -> None:
    """And leaves nothing."""
    create_pause(store, AGENT, draft(), once("key-0001"))
    with pytest.raises(IdempotencyKeyReused):
        create_pause(store, AGENT, draft(), once("key-0001", "another body"))
    assert one(store, "SELECT count(*) FROM pauses") == 1


def test_the_scope_is_the_namespace(store: Store) -> None:
    """Two teams may use the same key; two agents of a team share it."""
    made, _ = create_pause(store, AGENT, draft(), once("key-0001"))
    other = someone(Role.AGENT, "other")
    assert post(store, other, once("key-0001"), namespace="other") != made["watchId"]
    colleague = someone(Role.AGENT, id_="key_colleague")
    assert create_pause(store, colleague, draft(), once("key-0001")) == (made, True)


def test_a_refused_request_keeps_no_key(store: Store) -> None:
    """So that the corrected one can be sent under it."""
    with pytest.raises(Invalid):
        create_pause(store, AGENT, draft(action=" "), once("key-0001", "wrong"))
    assert not create_pause(store, AGENT, draft(), once("key-0001", "right"))[1]


def test_a_replay_after_the_deadline_of_its_own_body(store: Store) -> None:
    """An `expiresAt` that is past by now was fine when the request was carried out."""
    with store.transaction() as tx:
        soon = tx.now.replace(year=tx.now.year + 1)
    first, _ = create_pause(store, AGENT, draft(expires=soon), once("key-0001"))
    expire(store, first["watchId"])
    past = draft(expires=soon.replace(year=2020))
    again, replayed = create_pause(store, AGENT, past, once("key-0001"))
    assert (again["watchId"], replayed) == (first["watchId"], True)


def test_a_replay_tells_nobody_again(store: Store, signals: Recorded) -> None:
    """One event, one message, one hint."""
    an_endpoint(store)
    for _ in range(3):
        create_pause(store, AGENT, draft(), once("key-0001"))
    assert [delivery["type"] for delivery in deliveries(store)] == ["pause.created"]
    assert len(signals.hints) == 1


def test_twenty_at_the_same_time_make_one(store: Store, signals: Recorded) -> None:
    """All get the same answer, and one of them made it."""
    an_endpoint(store)
    answers = at_once([lambda: create_pause(store, AGENT, draft(), once("key-0001"))] * 20)
    assert not [answer for answer in answers if isinstance(answer, Exception)]
    documents = [document for document, _ in answers]  # type: ignore[misc]
    assert all(document == documents[0] for document in documents)
    assert [replayed for _, replayed in answers].count(False) == 1  # type: ignore[misc]
    assert one(store, "SELECT count(*) FROM pauses") == 1
    assert len(deliveries(store)) == 1
    assert len(signals.hints) == 1


def test_contrary_bodies_at_the_same_time(store: Store) -> None:
    """One is carried out; those that asked for the other thing are refused."""
    bodies = ["one", "other"] * 5
    answers = at_once(
        [lambda body=body: create_pause(store, AGENT, draft(), once("key-0001", body)) for body in bodies]
    )
    refused = [answer for answer in answers if isinstance(answer, IdempotencyKeyReused)]
    assert len(refused) == 5
    assert one(store, "SELECT count(*) FROM pauses") == 1


def test_keys_are_kept_for_a_day_at_least(store: Store) -> None:
    """And not for ever."""
    once_ = Once("key-0001", bytes(32))
    made, _ = create_pause(store, ADMIN, draft(), once_)
    decide_pause(store, REVIEWER, made["watchId"], approve())
    change(store, "UPDATE pauses SET resolved_at = resolved_at - interval '25 h'")
    day = "UPDATE idempotency_keys SET created_at = created_at - interval '25 h'"
    change(store, day)
    prune(store, IDEMPOTENCY_KEPT)
    assert create_pause(store, ADMIN, draft(), once_)[1]
    change(store, day)
    prune(store, IDEMPOTENCY_KEPT)
    assert not create_pause(store, ADMIN, draft(), once_)[1]


def _forgotten(store: Store) -> int:
    """How many keys went, all of them a month old."""
    change(store, "UPDATE idempotency_keys SET created_at = created_at - interval '30 days'")
    return prune(store, timedelta(days=90))["idempotency_keys"]


def test_a_key_lives_as_long_as_its_pause_waits_and_a_day_longer(store: Store) -> None:
    """Asked again after a weekend, or a month, it is still the same pause."""
    watch_id = post(store, once=once("key-0001"), expires=None)
    assert _forgotten(store) == 0
    assert post(store, once=once("key-0001"), expires=None) == watch_id
    decide_pause(store, REVIEWER, watch_id, approve())
    change(store, "UPDATE pauses SET resolved_at = resolved_at - interval '23 h'")
    assert _forgotten(store) == 0
    assert post(store, once=once("key-0001"), expires=None) == watch_id
    change(store, "UPDATE pauses SET resolved_at = resolved_at - interval '2 h'")
    assert _forgotten(store) == 1
    assert post(store, once=once("key-0001"), expires=None) != watch_id


def test_a_key_lives_as_long_as_its_saga_runs_and_a_day_longer(store: Store) -> None:
    """Of a start, and of a re-run that somebody asked for."""
    trace_id = start(store, step("a", hitl=True))
    wanted = Start("default", "s", "1", {"n": 1})
    trace_id, _ = start_saga(store, AGENT, wanted, once("start-01"))
    work(store, trace_id, tools())
    rerun_step(store, REVIEWER, current_ref(store, trace_id), None, "my-wish")
    work(store, trace_id, tools())
    assert _forgotten(store) == 0
    with pytest.raises(Repeated) as again:
        start_saga(store, AGENT, wanted, once("start-01"))
    assert again.value.answer["trace_id"] == trace_id.hex
    cancel_saga(store, OPERATOR, trace_id, None)
    work(store, trace_id, tools())
    assert _forgotten(store) == 0
    change(store, "UPDATE sagas SET ended_at = ended_at - interval '25 h' WHERE ended_at IS NOT NULL")
    assert _forgotten(store) == 2

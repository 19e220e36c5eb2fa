"""A request with a key is carried out once, whenever and however often it comes."""

import pytest

from domain.access import Role
from domain.errors import IdempotencyKeyReused, Invalid
from services.idempotency import Once
from services.pauses import decide_pause
from services.retention import IDEMPOTENCY_KEPT, prune
from services.transaction import Store
from tests.conftest import Recorded
from tests.services.world import (
    ADMIN,
    AGENT,
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


def test_the_same_again_is_the_stored_answer(store: Store) -> None:
    """Though the pause is decided by now: the answer is the one that was lost on its way."""
    first, replayed = create_pause(store, AGENT, draft(), once("key-0001"))
    assert not replayed
    decide_pause(store, REVIEWER, first["watchId"], approve())
    assert create_pause(store, AGENT, draft(), once("key-0001")) == (first, True)
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
    assert create_pause(store, AGENT, past, once("key-0001")) == (first, True)


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
    create_pause(store, ADMIN, draft(), once_)
    day = "UPDATE idempotency_keys SET created_at = created_at - interval '25 h'"
    change(store, day)
    prune(store, IDEMPOTENCY_KEPT)
    assert create_pause(store, ADMIN, draft(), once_)[1]
    change(store, day)
    prune(store, IDEMPOTENCY_KEPT)
    assert not create_pause(store, ADMIN, draft(), once_)[1]

"""Whom a review tells that it waits."""

import logging
from datetime import UTC, datetime

import pytest

from domain.pauses.votes import Actor, Vote
from domain.values import ids
from services.kernel.leases import NOTIFICATION
from services.kernel.unit_of_work import Store
from services.notifications.recipients import MAX_TOLD, anyone_listens
from tests.conftest import Recorded
from tests.services.people import group, notifications, person, tell, told
from tests.services.world import post


def test_whoever_may_decide_and_has_a_channel(store: Store, signals: Recorded) -> None:
    """By each of their channels; each a row that is due and hinted at."""
    watch_id = post(store)
    person(store, "anne", "json://a", "json://b")
    person(store, "otto", "json://o", namespaces=["*"])
    person(store, "mute")
    person(store, "elsewhere", "json://e", namespaces=["other"])
    found = tell(store, watch_id)
    assert found == [
        ("anne@example.com", "json://a"),
        ("anne@example.com", "json://b"),
        ("otto@example.com", "json://o"),
    ]
    hinted = {hint.id for hint in signals.hints if hint.kind == NOTIFICATION}
    assert hinted == {row["id"] for row in notifications(store)}


def test_only_who_is_asked(store: Store) -> None:
    """People by name, and those of a group; the group's own channels too."""
    watch_id = post(store)
    person(store, "anne", "json://a", groups=["finance"])
    person(store, "otto", "json://o")
    person(store, "other", "json://x", groups=["sales"])
    group(store, "finance", "json://f")
    group(store, "sales", "json://s")
    asked = ["group:finance", "person:otto@example.com", "group:unheard-of"]
    assert tell(store, watch_id, asked=asked) == [
        ("anne@example.com", "json://a"),
        ("finance", "json://f"),
        ("otto@example.com", "json://o"),
    ]


def test_who_asked_is_not_told_and_neither_is_who_has_left(store: Store) -> None:
    watch_id = post(store)
    anne = person(store, "anne", "json://a")
    gone = person(store, "gone", "json://g")
    with store.transaction() as tx:
        tx.conn.exec_driver_sql("UPDATE users SET disabled_at = now() WHERE id = %s", (str(gone),))
    assert tell(store, watch_id, created_by=ids.text(ids.USER, anne)) == []


def test_who_has_voted_is_not_asked_again(store: Store) -> None:
    """Unless an edit has voided the vote; and a vote in somebody's name is theirs."""
    watch_id = post(store)
    anne, otto, ida = (person(store, name, f"json://{name}") for name in ("anne", "otto", "ida"))
    actors = [Actor(ids.text(ids.USER, id_), "") for id_ in (anne, otto, ida)]
    at = datetime.now(UTC)
    votes = [
        Vote(actors[0], True, at, 1),
        Vote(actors[1], True, at, 1, counts=False),
        Vote(Actor("usr_delegate", ""), True, at, 1, on_behalf_of=actors[2]),
    ]
    assert tell(store, watch_id, "reminder", votes=votes) == [("otto@example.com", "json://otto")]


def test_instead_of_who_is_away_the_delegate_hears(store: Store) -> None:
    """Once, also when asked for themselves too."""
    watch_id = post(store)
    otto = person(store, "otto", "json://o", groups=["finance"])
    person(store, "anne", "json://a", groups=["finance"], delegate_id=otto, away=True)
    assert tell(store, watch_id, asked=["group:finance"]) == [("otto@example.com", "json://o")]


def test_the_delegate_of_someone_without_channels_hears(store: Store) -> None:
    watch_id = post(store)
    otto = person(store, "otto", "json://o")
    person(store, "anne", delegate_id=otto, away=True)
    assert tell(store, watch_id, asked=["person:anne@example.com"]) == [("otto@example.com", "json://o")]


@pytest.mark.parametrize("why", ["back", "delegate elsewhere", "delegate asked", "no delegate"])
def test_else_they_hear_themselves(store: Store, why: str) -> None:
    """Nobody is told nothing because somebody cannot stand in."""
    watch_id = post(store)
    namespaces = ["other"] if why == "delegate elsewhere" else ["default"]
    otto = person(store, "otto", "json://o", namespaces=namespaces)
    delegate = None if why == "no delegate" else otto
    person(store, "anne", "json://a", delegate_id=delegate, away=why != "back")
    creator = ids.text(ids.USER, otto) if why == "delegate asked" else "key_agent"
    found = tell(store, watch_id, asked=["person:anne@example.com"], created_by=creator)
    assert found == [("anne@example.com", "json://a")]


def test_once_for_each_occasion(store: Store) -> None:
    """A sweep that repeats itself tells nobody twice; a reminder, the next stage or an edit is another occasion."""
    watch_id = post(store)
    person(store, "anne", "json://a")
    for _ in range(2):
        assert len(tell(store, watch_id)) == 1
    for _ in range(2):
        assert len(tell(store, watch_id, "reminder", reminders=1)) == 2
    assert len(tell(store, watch_id, stage=1)) == 3
    assert len(tell(store, watch_id, revision=2)) == 4
    assert len(tell(store, watch_id, "escalated")) == 5


def test_not_more_than_so_many(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """A policy open to everyone in a large company is no reason to write to them all; it is logged."""
    watch_id = post(store)
    for number in range(MAX_TOLD // 10 + 1):
        person(store, f"p{number}", *(f"json://{number}/{channel}" for channel in range(10)))
    with caplog.at_level(logging.WARNING):
        assert len(tell(store, watch_id)) == MAX_TOLD
    assert "more than 200 channels" in caplog.text


def test_whether_anyone_listens(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Remembered for a moment: most installations have no channels at all, and pauses are created all the time."""
    assert not anyone_listens(store)
    person(store, "anne", "json://a")
    assert not anyone_listens(store)
    monkeypatch.setattr("services.notifications.recipients.LOOKS_AFTER", 0.0)
    other = Store(store.engine.execution_options(), store.signals, store.public_url)
    assert anyone_listens(other)


def test_a_groups_channel_counts_as_well(store: Store) -> None:
    group(store, "finance", "json://f")
    assert anyone_listens(store)


def test_a_channel_too_long_for_an_index_is_told_too(store: Store) -> None:
    """What is unique is a digest."""
    watch_id = post(store)
    channel = "json://" + "".join(chr(33 + number * 7 % 90) for number in range(4000))
    person(store, "anne", channel)
    assert tell(store, watch_id) == told(store) == [("anne@example.com", channel)]

"""The recipients of notifications about a review."""

import logging
from datetime import UTC, datetime

import pytest

from domain.pauses.votes import Actor, Vote
from domain.values import ids
from services.kernel.leases import NOTIFICATION
from services.kernel.unit_of_work import Database
from services.notifications.recipients import MAX_RECIPIENTS, any_channel_exists
from tests.conftest import Recorded
from tests.services.people import group, notifications, person, tell, told
from tests.services.world import post


def test_every_reviewer_with_a_channel_is_notified(database: Database, publisher: Recorded) -> None:
    """By each of their channels; each a row that is due and hinted at."""
    watch_id = post(database)
    person(database, "anne", "json://a", "json://b")
    person(database, "otto", "json://o", namespaces=["*"])
    person(database, "mute")
    person(database, "elsewhere", "json://e", namespaces=["other"])
    found = tell(database, watch_id)
    assert found == [
        ("anne@example.com", "json://a"),
        ("anne@example.com", "json://b"),
        ("otto@example.com", "json://o"),
    ]
    woken = {wakeup.id for wakeup in publisher.wakeups if wakeup.kind == NOTIFICATION}
    assert woken == {row["id"] for row in notifications(database)}


def test_only_eligible_voters_are_notified(database: Database) -> None:
    """People by name, and those of a group; the group's own channels too."""
    watch_id = post(database)
    person(database, "anne", "json://a", groups=["finance"])
    person(database, "otto", "json://o")
    person(database, "other", "json://x", groups=["sales"])
    group(database, "finance", "json://f")
    group(database, "sales", "json://s")
    eligible = ["group:finance", "person:otto@example.com", "group:unheard-of"]
    assert tell(database, watch_id, eligible=eligible) == [
        ("anne@example.com", "json://a"),
        ("finance", "json://f"),
        ("otto@example.com", "json://o"),
    ]


def test_neither_the_requester_nor_a_former_member_is_notified(database: Database) -> None:
    watch_id = post(database)
    anne = person(database, "anne", "json://a")
    gone = person(database, "gone", "json://g")
    with database.transaction() as uow:
        uow.conn.exec_driver_sql("UPDATE users SET disabled_at = now() WHERE id = %s", (str(gone),))
    assert tell(database, watch_id, created_by=ids.text(ids.USER, anne)) == []


def test_people_who_have_voted_are_not_notified_again(database: Database) -> None:
    """An edit voids votes. A delegate's vote counts as the absent person's."""
    watch_id = post(database)
    anne, otto, ida = (person(database, name, f"json://{name}") for name in ("anne", "otto", "ida"))
    actors = [Actor(ids.text(ids.USER, id_), "") for id_ in (anne, otto, ida)]
    at = datetime.now(UTC)
    votes = [
        Vote(actors[0], True, at, 1),
        Vote(actors[1], True, at, 1, counts=False),
        Vote(Actor("usr_delegate", ""), True, at, 1, on_behalf_of=actors[2]),
    ]
    assert tell(database, watch_id, "reminder", votes=votes) == [("otto@example.com", "json://otto")]


def test_instead_of_who_is_away_the_delegate_hears(database: Database) -> None:
    """Once, also when asked for themselves too."""
    watch_id = post(database)
    otto = person(database, "otto", "json://o", groups=["finance"])
    person(database, "anne", "json://a", groups=["finance"], delegate_id=otto, away=True)
    assert tell(database, watch_id, eligible=["group:finance"]) == [("otto@example.com", "json://o")]


def test_the_delegate_of_someone_without_channels_hears(database: Database) -> None:
    watch_id = post(database)
    otto = person(database, "otto", "json://o")
    person(database, "anne", delegate_id=otto, away=True)
    assert tell(database, watch_id, eligible=["person:anne@example.com"]) == [("otto@example.com", "json://o")]


@pytest.mark.parametrize("why", ["back", "delegate elsewhere", "delegate asked", "no delegate"])
def test_else_they_hear_themselves(database: Database, why: str) -> None:
    """A person whose delegate may not vote is notified themselves."""
    watch_id = post(database)
    namespaces = ["other"] if why == "delegate elsewhere" else ["default"]
    otto = person(database, "otto", "json://o", namespaces=namespaces)
    delegate = None if why == "no delegate" else otto
    person(database, "anne", "json://a", delegate_id=delegate, away=why != "back")
    creator = ids.text(ids.USER, otto) if why == "delegate asked" else "key_agent"
    found = tell(database, watch_id, eligible=["person:anne@example.com"], created_by=creator)
    assert found == [("anne@example.com", "json://a")]


def test_once_for_each_occasion(database: Database) -> None:
    """A repeated sweep notifies no one twice. A reminder, the next stage and an edit are events of their own."""
    watch_id = post(database)
    person(database, "anne", "json://a")
    for _ in range(2):
        assert len(tell(database, watch_id)) == 1
    for _ in range(2):
        assert len(tell(database, watch_id, "reminder", reminders=1)) == 2
    assert len(tell(database, watch_id, stage=1)) == 3
    assert len(tell(database, watch_id, revision=2)) == 4
    assert len(tell(database, watch_id, "escalated")) == 5


def test_not_more_than_so_many(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """A policy open to everyone in a large company is no reason to write to them all; it is logged."""
    watch_id = post(database)
    for number in range(MAX_RECIPIENTS // 10 + 1):
        person(database, f"p{number}", *(f"json://{number}/{channel}" for channel in range(10)))
    with caplog.at_level(logging.WARNING):
        assert len(tell(database, watch_id)) == MAX_RECIPIENTS
    assert "more than 200 channels" in caplog.text


def test_whether_anyone_listens(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Remembered for a moment: most installations have no channels at all, and pauses are created all the time."""
    assert not any_channel_exists(database)
    person(database, "anne", "json://a")
    assert not any_channel_exists(database)
    monkeypatch.setattr("services.notifications.recipients.REFRESH_AFTER", 0.0)
    other = Database(database.engine.execution_options(), database.publisher, database.public_url)
    assert any_channel_exists(other)


def test_a_groups_channel_counts_as_well(database: Database) -> None:
    group(database, "finance", "json://f")
    assert any_channel_exists(database)


def test_a_channel_too_long_for_an_index_is_notified_too(database: Database) -> None:
    """The unique column is a digest, which has room for any channel."""
    watch_id = post(database)
    channel = "json://" + "".join(chr(33 + number * 7 % 90) for number in range(4000))
    person(database, "anne", channel)
    assert tell(database, watch_id) == told(database) == [("anne@example.com", channel)]

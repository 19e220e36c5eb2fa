"""From a due notification to its end: sent, tried again, failed, or of no use any more."""

import logging
import re
from uuid import UUID

import pytest

from domain.delivery.notification import RETRY_SECONDS, SendResult
from domain.identity.access import Role
from domain.pauses.pause import OnTimeout
from domain.values import ids
from domain.values.errors import NotFound
from services.identity.sign_in_links import find_review_link
from services.kernel.leases import NOTIFICATION
from services.kernel.pagination import Page
from services.kernel.unit_of_work import Database
from services.notifications.queries import NotificationEnded, NotificationFilter, list_notifications, retry_notification
from services.notifications.worker import claim_notification, record_sending, sweep_notifications
from services.pauses.lifecycle import expire_due
from tests.conftest import Recorded
from tests.services.by_watch_id import decide_pause, get_pause, lock_pause
from tests.services.people import group, job, notifications, notifications_due, person, tell
from tests.services.world import (
    ADMIN,
    OPERATOR,
    REVIEWER,
    approve,
    at_once,
    change,
    expire,
    linked,
    one,
    post,
    rows,
    someone,
    uuid_of,
)

LATER = SendResult("the mail server answered 451")
NEVER = SendResult("the mail server answered 535", final=True)


@pytest.fixture
def watch_id(database: Database) -> str:
    """A pause of which Anne is to be notified."""
    made = post(database)
    person(database, "anne", "json://a")
    tell(database, made)
    return made


def test_sent(database: Database, watch_id: str) -> None:
    found = job(database)
    assert (found.recipient, found.channel, found.content.action) == ("anne@example.com", "json://a", "deploy")
    assert record_sending(database, found.lease, SendResult(), 0.5)
    (row,) = notifications(database)
    assert (row["status"], row["attempts"], row["last_error"], row["lease_token"]) == ("sent", 1, None, None)
    assert claim_notification(database, row["id"]) is None


def test_a_message_does_not_wait_for_a_decision(database: Database, watch_id: str) -> None:
    """Its link refers to the pause, and a transaction that holds the pause may be waiting for others."""
    with database.transaction() as uow:
        lock_pause(uow, REVIEWER, watch_id)
        assert job(database).content.link


def test_the_link_is_that_persons_for_that_review_until_it_expires(database: Database, watch_id: str) -> None:
    link = job(database).content.link
    token = link.removeprefix("http://sagahold.test/r/")
    session = find_review_link(database, [token], uuid_of(watch_id))
    assert session is not None
    assert session.person.email == "anne@example.com"
    assert one(database, "SELECT l.expires_at = p.expires_at FROM sign_in_links l JOIN pauses p ON p.id = l.pause_id")
    expire(database, watch_id)
    change(database, "UPDATE sign_in_links SET expires_at = now()")
    assert find_review_link(database, [token], uuid_of(watch_id)) is None


def test_the_link_to_a_review_that_never_expires_does(database: Database) -> None:
    """A mailbox is kept for years."""
    made = post(database, expires=None)
    person(database, "anne", "json://a")
    tell(database, made)
    assert job(database).content.expires_at is None
    assert one(database, "SELECT expires_at - created_at = interval '14 days' FROM sign_in_links")


def test_the_link_to_a_review_that_is_escalated_lasts_on(database: Database) -> None:
    """After an escalation no one is notified at the expiry: the links that people have stay the only ones."""
    review = {"groups": ["ops"], "escalate": {"after": 60, "to": {"groups": ["leads"]}}}
    person(database, "anne", "json://a", groups=["ops"])
    made = post(database, review=review, on_timeout=OnTimeout.ESCALATE)
    tell(database, made, eligible=["group:ops"])
    token = job(database).content.link.removeprefix("http://sagahold.test/r/")
    change(database, "UPDATE pauses SET escalated_at = created_at + interval '60 s'")
    change(database, "UPDATE pauses SET created_at = created_at - interval '1 h', expires_at = now() - interval '1 s'")
    change(database, "UPDATE sign_in_links SET expires_at = expires_at - interval '1 h 1 s'")
    assert expire_due(database) == 1
    assert get_pause(database, REVIEWER, made).status == "pending"
    assert len(notifications(database)) == 1
    assert find_review_link(database, [token], uuid_of(made)) is not None


def test_a_groups_link_lets_nobody_in(database: Database) -> None:
    """A group's channel has many readers, so the page asks them to sign in."""
    made = post(database)
    group(database, "finance", "json://f")
    tell(database, made, eligible=["group:finance"])
    content = job(database).content
    assert (content.link, content.personal) == (f"http://sagahold.test/review/{made}", False)
    assert rows(database, "SELECT 1 FROM sign_in_links") == []


def test_tried_again_and_given_up(database: Database, watch_id: str, caplog: pytest.LogCaptureFixture) -> None:
    """After each wait of the schedule; then it is failed, which the log and the list show."""
    for wait in RETRY_SECONDS:
        assert record_sending(database, job(database).lease, LATER, 0.5)
        assert one(database, "SELECT round(extract(epoch FROM due_at - now())) FROM notifications") == wait
        (row,) = notifications(database)
        assert claim_notification(database, row["id"]) is None
        notifications_due(database)
    with caplog.at_level(logging.ERROR):
        record_sending(database, job(database).lease, LATER, 0.5)
    assert "failed for good" in caplog.text
    (shown,) = list_notifications(database, OPERATOR, NotificationFilter(), Page()).items
    assert (shown["status"], shown["attempts"], shown["last_error"]) == ("failed", 6, "the mail server answered 451")
    assert shown["next_attempt_at"] is None


def test_refused_for_good_is_not_tried_again(database: Database, watch_id: str) -> None:
    """A wrong password stays wrong, and trying it locks accounts."""
    record_sending(database, job(database).lease, NEVER, 0.5)
    (row,) = notifications(database)
    assert (row["status"], row["attempts"]) == ("failed", 1)


@pytest.mark.parametrize("end", ["decided", "expired", "disabled", "removed", "elsewhere", "moved"])
def test_of_no_use_any_more(database: Database, watch_id: str, end: str) -> None:
    """Nothing is sent, no link is made."""
    if end == "decided":
        decide_pause(database, REVIEWER, watch_id, approve())
    elif end == "expired":
        expire(database, watch_id)
    elif end == "disabled":
        change(database, "UPDATE users SET disabled_at = now()")
    elif end == "elsewhere":
        change(database, "UPDATE users SET namespaces = '{other}'")
    elif end == "moved":
        change(database, "UPDATE users SET channels = '{email}', email = 'new@example.com'")
        change(database, "UPDATE notifications SET channel = 'email'")
    else:
        change(database, "UPDATE users SET channels = '{json://b}'")
    (row,) = notifications(database)
    assert claim_notification(database, row["id"]) is None
    (row,) = notifications(database)
    assert (row["status"], row["attempts"], row["lease_token"]) == ("obsolete", 0, None)
    assert rows(database, "SELECT 1 FROM sign_in_links") == []


def test_a_superseded_result_is_dropped(database: Database, watch_id: str) -> None:
    first = job(database)
    change(database, "UPDATE notifications SET leased_until = now() - interval '1 s'")
    second = job(database)
    assert not record_sending(database, first.lease, NEVER, 0.5)
    assert record_sending(database, second.lease, SendResult(), 0.5)
    assert notifications(database)[0]["status"] == "sent"


def test_of_two_workers_one_sends(database: Database, watch_id: str) -> None:
    (row,) = notifications(database)
    claims = at_once([lambda: claim_notification(database, row["id"])] * 8)
    assert len([claim for claim in claims if claim is not None]) == 1


def test_a_sweep_replaces_a_lost_wake_up(database: Database, watch_id: str, publisher: Recorded) -> None:
    publisher.wakeups.clear()
    assert sweep_notifications(database) == 0
    change(database, "UPDATE notifications SET hint_at = now() - interval '1 s'")
    assert sweep_notifications(database) == 1
    assert [wakeup.kind for wakeup in publisher.wakeups] == [NOTIFICATION]


def test_one_that_ends_wakes_those_that_found_no_room(database: Database, watch_id: str, publisher: Recorded) -> None:
    person(database, "otto", "json://o")
    tell(database, watch_id, stage=1)
    first, *others = notifications(database)
    claimed = claim_notification(database, first["id"])
    assert claimed is not None
    publisher.wakeups.clear()
    change(database, "UPDATE notifications SET hint_at = now()")
    record_sending(database, claimed.lease, SendResult(), 0.5)
    assert {wakeup.id for wakeup in publisher.wakeups} == {row["id"] for row in others}


def test_an_operator_retries_what_failed(database: Database, watch_id: str, publisher: Recorded) -> None:
    """It gets the whole schedule again, and the audit log records the retry."""
    record_sending(database, job(database).lease, NEVER, 0.5)
    (row,) = notifications(database)
    publisher.wakeups.clear()
    shown = retry_notification(database, OPERATOR, ids.text(ids.NOTIFICATION, row["id"]))
    assert (shown["status"], shown["attempts"], shown["last_error"]) == ("pending", 0, "the mail server answered 535")
    assert [wakeup.id for wakeup in publisher.wakeups] == [row["id"]]
    entry = one(linked(database), "SELECT entry FROM audit_events WHERE entry ->> 'type' = 'notification.retried'")
    assert (entry["subject"], entry["by"]) == (shown["id"], OPERATOR.id)
    record_sending(database, job(database).lease, SendResult(), 0.5)
    with pytest.raises(NotificationEnded):
        retry_notification(database, OPERATOR, shown["id"])


def test_nothing_is_retried_for_a_review_that_is_over(database: Database, watch_id: str) -> None:
    record_sending(database, job(database).lease, NEVER, 0.5)
    decide_pause(database, REVIEWER, watch_id, approve())
    (row,) = notifications(database)
    with pytest.raises(NotificationEnded):
        retry_notification(database, OPERATOR, ids.text(ids.NOTIFICATION, row["id"]))


def test_lists_show_no_secret_and_nothing_of_other_namespaces(database: Database) -> None:
    made = post(database)
    person(database, "anne", "mailtos://me:hunter2@mail.example.com?to=x@example.com", "tgram://123:abc/42", "email")
    tell(database, made)
    shown = list_notifications(database, ADMIN, NotificationFilter(watch_id=made), Page()).items
    assert {item["channel"] for item in shown} == {"mailtos://mail.example.com", "tgram://…", "email"}
    assert not re.search("hunter2|abc|42@", str([{**item, "id": "", "watch_id": ""} for item in shown]))
    stranger = someone(Role.OPERATOR, "other")
    assert list_notifications(database, stranger, NotificationFilter(), Page()).items == []
    with pytest.raises(NotFound):
        retry_notification(database, stranger, shown[0]["id"])
    with pytest.raises(NotFound):
        retry_notification(database, ADMIN, ids.text(ids.NOTIFICATION, UUID(int=7)))


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (NotificationFilter(recipient="anne@example.com"), 1),
        (NotificationFilter(recipient="otto@example.com"), 0),
        (NotificationFilter(namespace="default"), 1),
        (NotificationFilter(namespace="other"), 0),
    ],
)
def test_filters(database: Database, watch_id: str, wanted: NotificationFilter, count: int) -> None:
    assert len(list_notifications(database, ADMIN, wanted, Page()).items) == count

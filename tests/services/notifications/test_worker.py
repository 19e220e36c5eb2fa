"""From a due notification to its end: sent, tried again, failed, or of no use any more."""

import logging
import re
from uuid import UUID

import pytest

from domain.delivery.notification import RETRY_SECONDS, Sending
from domain.identity.access import Role
from domain.pauses.pause import OnTimeout
from domain.values import ids
from domain.values.errors import NotFound
from services.identity.sign_in_links import find_review_link
from services.kernel.leases import NOTIFICATION
from services.kernel.pagination import Page
from services.kernel.unit_of_work import Store
from services.notifications.queries import NotificationEnded, NotificationFilter, list_notifications, retry_notification
from services.notifications.worker import claim_notification, record_sending, sweep_notifications
from services.pauses.lifecycle import expire_due, get_pause, locked_pause
from services.reviews.decisions import decide_pause
from tests.conftest import Recorded
from tests.services.people import errand, group, notifications, notifications_due, person, tell
from tests.services.world import (
    ADMIN,
    OPERATOR,
    REVIEWER,
    approve,
    at_once,
    change,
    expire,
    one,
    post,
    rows,
    someone,
    uuid_of,
)

LATER = Sending("the mail server answered 451")
NEVER = Sending("the mail server answered 535", final=True)


@pytest.fixture
def watch_id(store: Store) -> str:
    """Anne is to be told of it."""
    made = post(store)
    person(store, "anne", "json://a")
    tell(store, made)
    return made


def test_sent(store: Store, watch_id: str) -> None:
    found = errand(store)
    assert (found.recipient, found.channel, found.letter.action) == ("anne@example.com", "json://a", "deploy")
    assert record_sending(store, found.lease, Sending(), 0.5)
    (row,) = notifications(store)
    assert (row["status"], row["attempts"], row["last_error"], row["lease_token"]) == ("sent", 1, None, None)
    assert claim_notification(store, row["id"]) is None


def test_a_message_does_not_wait_for_whoever_is_deciding(store: Store, watch_id: str) -> None:
    """Its link refers to the pause, and a transaction that holds the pause may be waiting for others."""
    with store.transaction() as tx:
        locked_pause(tx, REVIEWER, watch_id)
        assert errand(store).letter.link


def test_the_link_is_that_persons_for_that_review_until_it_expires(store: Store, watch_id: str) -> None:
    link = errand(store).letter.link
    token = link.removeprefix("http://sagahold.test/r/")
    session = find_review_link(store, [token], uuid_of(watch_id))
    assert session is not None
    assert session.person.email == "anne@example.com"
    assert one(store, "SELECT l.expires_at = p.expires_at FROM sign_in_links l JOIN pauses p ON p.id = l.pause_id")
    expire(store, watch_id)
    change(store, "UPDATE sign_in_links SET expires_at = now()")
    assert find_review_link(store, [token], uuid_of(watch_id)) is None


def test_the_link_to_a_review_that_never_expires_does(store: Store) -> None:
    """A mailbox is kept for years."""
    made = post(store, expires=None)
    person(store, "anne", "json://a")
    tell(store, made)
    assert errand(store).letter.expires_at is None
    assert one(store, "SELECT expires_at - created_at = interval '14 days' FROM sign_in_links")


def test_the_link_to_a_review_that_is_escalated_lasts_on(store: Store) -> None:
    """Where others were added before, nobody is told when time runs out: the links that they have are all there are."""
    review = {"groups": ["ops"], "escalate": {"after": 60, "to": {"groups": ["leads"]}}}
    person(store, "anne", "json://a", groups=["ops"])
    made = post(store, review=review, on_timeout=OnTimeout.ESCALATE)
    tell(store, made, asked=["group:ops"])
    token = errand(store).letter.link.removeprefix("http://sagahold.test/r/")
    change(store, "UPDATE pauses SET escalated_at = created_at + interval '60 s'")
    change(store, "UPDATE pauses SET created_at = created_at - interval '1 h', expires_at = now() - interval '1 s'")
    change(store, "UPDATE sign_in_links SET expires_at = expires_at - interval '1 h 1 s'")
    assert expire_due(store) == 1
    assert get_pause(store, REVIEWER, made).status == "pending"
    assert len(notifications(store)) == 1
    assert find_review_link(store, [token], uuid_of(made)) is not None


def test_a_groups_link_lets_nobody_in(store: Store) -> None:
    """Whoever reads a room is not one person: the page asks who they are."""
    made = post(store)
    group(store, "finance", "json://f")
    tell(store, made, asked=["group:finance"])
    letter = errand(store).letter
    assert (letter.link, letter.personal) == (f"http://sagahold.test/review/{made}", False)
    assert rows(store, "SELECT 1 FROM sign_in_links") == []


def test_tried_again_and_given_up(store: Store, watch_id: str, caplog: pytest.LogCaptureFixture) -> None:
    """After each wait of the schedule; then it is failed, which the log and the list show."""
    for wait in RETRY_SECONDS:
        assert record_sending(store, errand(store).lease, LATER, 0.5)
        assert one(store, "SELECT round(extract(epoch FROM due_at - now())) FROM notifications") == wait
        (row,) = notifications(store)
        assert claim_notification(store, row["id"]) is None
        notifications_due(store)
    with caplog.at_level(logging.ERROR):
        record_sending(store, errand(store).lease, LATER, 0.5)
    assert "failed for good" in caplog.text
    (shown,) = list_notifications(store, OPERATOR, NotificationFilter(), Page()).items
    assert (shown["status"], shown["attempts"], shown["last_error"]) == ("failed", 6, "the mail server answered 451")
    assert shown["next_attempt_at"] is None


def test_refused_for_good_is_not_tried_again(store: Store, watch_id: str) -> None:
    """A wrong password stays wrong, and trying it locks accounts."""
    record_sending(store, errand(store).lease, NEVER, 0.5)
    (row,) = notifications(store)
    assert (row["status"], row["attempts"]) == ("failed", 1)


@pytest.mark.parametrize("end", ["decided", "expired", "disabled", "removed", "elsewhere", "moved"])
def test_of_no_use_any_more(store: Store, watch_id: str, end: str) -> None:
    """Nothing is sent, no link is made."""
    if end == "decided":
        decide_pause(store, REVIEWER, watch_id, approve())
    elif end == "expired":
        expire(store, watch_id)
    elif end == "disabled":
        change(store, "UPDATE users SET disabled_at = now()")
    elif end == "elsewhere":
        change(store, "UPDATE users SET namespaces = '{other}'")
    elif end == "moved":
        change(store, "UPDATE users SET channels = '{email}', email = 'new@example.com'")
        change(store, "UPDATE notifications SET channel = 'email'")
    else:
        change(store, "UPDATE users SET channels = '{json://b}'")
    (row,) = notifications(store)
    assert claim_notification(store, row["id"]) is None
    (row,) = notifications(store)
    assert (row["status"], row["attempts"], row["lease_token"]) == ("obsolete", 0, None)
    assert rows(store, "SELECT 1 FROM sign_in_links") == []


def test_a_superseded_result_is_dropped(store: Store, watch_id: str) -> None:
    first = errand(store)
    change(store, "UPDATE notifications SET leased_until = now() - interval '1 s'")
    second = errand(store)
    assert not record_sending(store, first.lease, NEVER, 0.5)
    assert record_sending(store, second.lease, Sending(), 0.5)
    assert notifications(store)[0]["status"] == "sent"


def test_of_two_workers_one_sends(store: Store, watch_id: str) -> None:
    (row,) = notifications(store)
    claims = at_once([lambda: claim_notification(store, row["id"])] * 8)
    assert len([claim for claim in claims if claim is not None]) == 1


def test_a_lost_hint_is_made_up_for(store: Store, watch_id: str, signals: Recorded) -> None:
    signals.hints.clear()
    assert sweep_notifications(store) == 0
    change(store, "UPDATE notifications SET hint_at = now() - interval '1 s'")
    assert sweep_notifications(store) == 1
    assert [hint.kind for hint in signals.hints] == [NOTIFICATION]


def test_one_that_ends_hints_at_those_that_found_no_room(store: Store, watch_id: str, signals: Recorded) -> None:
    person(store, "otto", "json://o")
    tell(store, watch_id, stage=1)
    first, *others = notifications(store)
    claimed = claim_notification(store, first["id"])
    assert claimed is not None
    signals.hints.clear()
    change(store, "UPDATE notifications SET hint_at = now()")
    record_sending(store, claimed.lease, Sending(), 0.5)
    assert {hint.id for hint in signals.hints} == {row["id"] for row in others}


def test_an_operator_retries_what_failed(store: Store, watch_id: str, signals: Recorded) -> None:
    """With the whole schedule before it; it stands in the audit log."""
    record_sending(store, errand(store).lease, NEVER, 0.5)
    (row,) = notifications(store)
    signals.hints.clear()
    shown = retry_notification(store, OPERATOR, ids.text(ids.NOTIFICATION, row["id"]))
    assert (shown["status"], shown["attempts"], shown["last_error"]) == ("pending", 0, "the mail server answered 535")
    assert [hint.id for hint in signals.hints] == [row["id"]]
    entry = one(store, "SELECT entry FROM audit_events WHERE entry ->> 'type' = 'notification.retried'")
    assert (entry["subject"], entry["by"]) == (shown["id"], OPERATOR.id)
    record_sending(store, errand(store).lease, Sending(), 0.5)
    with pytest.raises(NotificationEnded):
        retry_notification(store, OPERATOR, shown["id"])


def test_nothing_is_retried_for_a_review_that_is_over(store: Store, watch_id: str) -> None:
    record_sending(store, errand(store).lease, NEVER, 0.5)
    decide_pause(store, REVIEWER, watch_id, approve())
    (row,) = notifications(store)
    with pytest.raises(NotificationEnded):
        retry_notification(store, OPERATOR, ids.text(ids.NOTIFICATION, row["id"]))


def test_lists_show_no_secret_and_nothing_of_other_namespaces(store: Store) -> None:
    made = post(store)
    person(store, "anne", "mailtos://me:hunter2@mail.example.com?to=x@example.com", "tgram://123:abc/42", "email")
    tell(store, made)
    shown = list_notifications(store, ADMIN, NotificationFilter(watch_id=made), Page()).items
    assert {item["channel"] for item in shown} == {"mailtos://mail.example.com", "tgram://…", "email"}
    assert not re.search("hunter2|abc|42@", str([{**item, "id": "", "watch_id": ""} for item in shown]))
    stranger = someone(Role.OPERATOR, "other")
    assert list_notifications(store, stranger, NotificationFilter(), Page()).items == []
    with pytest.raises(NotFound):
        retry_notification(store, stranger, shown[0]["id"])
    with pytest.raises(NotFound):
        retry_notification(store, ADMIN, ids.text(ids.NOTIFICATION, UUID(int=7)))


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (NotificationFilter(recipient="anne@example.com"), 1),
        (NotificationFilter(recipient="otto@example.com"), 0),
        (NotificationFilter(namespace="default"), 1),
        (NotificationFilter(namespace="other"), 0),
    ],
)
def test_filters(store: Store, watch_id: str, wanted: NotificationFilter, count: int) -> None:
    assert len(list_notifications(store, ADMIN, wanted, Page()).items) == count

"""One notification from its wake-up to its record, to a real mail server and a real web service."""

from uuid import uuid4

from redis import Redis

from adapters.notify.channel import MOST_AT_ONCE
from domain.sagas.outcome import Lost
from services.identity.sign_in_links import find_review_link
from services.kernel.pagination import Page
from services.kernel.unit_of_work import Database
from services.notifications.queries import NotificationFilter, list_notifications
from services.notifications.worker import claim_notification
from tasks import maintenance, notifications
from tasks.runtime import messages
from tests.adapters.notify.mail_server import PASSWORD, MailServer
from tests.adapters.receiver import Receiver, reply
from tests.faults.scene import until
from tests.services.by_watch_id import decide_pause
from tests.services.people import notifications as notification_rows
from tests.services.people import notifications_due, person, tell
from tests.services.saga_world import start, step, tools, work
from tests.services.world import ADMIN, REVIEWER, approve, at_once, post, uuid_of


def send(database: Database) -> list[dict[str, object]]:
    """Carry out what waits; what the list shows then."""
    for row in notification_rows(database):
        notifications.send(row["id"].hex)
    return list_notifications(database, ADMIN, NotificationFilter(), Page()).items


def test_by_mail_with_a_link_that_lets_in(database: Database) -> None:
    watch_id = post(database, action="Pay 5 €")
    with MailServer() as server:
        person(database, "anne", server.url("anne@example.com"))
        tell(database, watch_id)
        (shown,) = send(database)
        (mail,) = server.wait_for(1)
    assert (shown["status"], shown["attempts"], shown["last_error"]) == ("sent", 1, None)
    body = mail.get_body(("plain",))
    assert body is not None
    assert "Action: Pay 5 €" in body.get_content()
    (link,) = [line for line in body.get_content().split() if "/r/" in line]
    session = find_review_link(database, [link.rpartition("/")[2]], uuid_of(watch_id))
    assert session is not None
    assert session.person.email == "anne@example.com"


def test_an_operator_hears_of_a_saga_by_mail(database: Database) -> None:
    trace_id = start(database, step("a"))
    with MailServer() as server:
        person(database, "otto", server.url("otto@example.com"), role="operator")
        work(database, trace_id, tools(do_a=Lost("the server broke off", False)))
        (shown,) = send(database)
        (mail,) = server.wait_for(1)
    assert (shown["status"], shown["trace_id"]) == ("sent", trace_id.hex)
    assert mail["Subject"] == "Needs an operator: s 1"
    body = mail.get_body(("plain",))
    assert body is not None
    assert f"/sagas/{trace_id.hex}" in body.get_content()


def test_down_at_first(database: Database) -> None:
    """The mail arrives, once, when the server is back."""
    watch_id = post(database)
    with MailServer() as probe:
        port = probe.port
    person(database, "anne", probe.url("anne@example.com"))
    tell(database, watch_id)
    (shown,) = send(database)
    assert (shown["status"], shown["last_error"]) == ("pending", "the connection failed: connection refused")
    notifications_due(database)
    with MailServer(port=port, busy=1) as server:
        (shown,) = send(database)
        assert (shown["status"], shown["last_error"]) == ("pending", "the mail server answered 451")
        notifications_due(database)
        (shown,) = send(database)
        assert (shown["status"], shown["attempts"], shown["last_error"]) == ("sent", 3, None)
        assert len(server.wait_for(1)) == 1


def test_wrong_credentials_fail_at_once_and_are_seen(database: Database) -> None:
    watch_id = post(database)
    with MailServer(password=True) as server:
        person(database, "anne", server.url("anne@example.com", "me", f"not {PASSWORD}".replace(" ", "%20")))
        tell(database, watch_id)
        (shown,) = send(database)
    assert (shown["status"], shown["attempts"]) == ("failed", 1)
    assert shown["last_error"] == "the mail server answered 535 (user name or password)"


def test_a_dead_channel_stops_no_other(database: Database) -> None:
    watch_id = post(database)
    with Receiver() as good, Receiver(reply(410)) as gone:
        person(database, "anne", *(f"json://127.0.0.1:{receiver.port}/" for receiver in (good, gone)))
        tell(database, watch_id)
        assert sorted(str(shown["status"]) for shown in send(database)) == ["failed", "sent"]


def test_nothing_is_sent_about_what_is_decided(database: Database) -> None:
    watch_id = post(database)
    with Receiver() as receiver:
        person(database, "anne", f"json://127.0.0.1:{receiver.port}/")
        tell(database, watch_id)
        decide_pause(database, REVIEWER, watch_id, approve())
        (shown,) = send(database)
        assert receiver.connections == 0
    assert shown["status"] == "obsolete"


def test_two_workers_race(database: Database) -> None:
    """However often it is hinted at, it is sent once."""
    watch_id = post(database)
    with Receiver() as receiver:
        person(database, "anne", f"json://127.0.0.1:{receiver.port}/")
        tell(database, watch_id)
        (row,) = notification_rows(database)
        at_once([lambda: notifications.send(row["id"].hex)] * 4)
        assert len(receiver.requests) == 1


def test_without_room_it_stays_due(database: Database) -> None:
    """No thread waits for a slow mail server to be done with others."""
    watch_id = post(database)
    person(database, "anne", "json://127.0.0.1:9/")
    tell(database, watch_id)
    taken = [namespace for namespace in "abcd" if messages().take(namespace, uuid4())]
    assert len(taken) == MOST_AT_ONCE
    (shown,) = send(database)
    for namespace in taken:
        messages().give_back(namespace)
    assert (shown["status"], shown["attempts"]) == ("pending", 0)
    assert claim_notification(database, notification_rows(database)[0]["id"]) is not None


def test_the_sweep_finds_what_was_missed(database: Database, redis: Redis) -> None:
    """The broker was flushed."""
    watch_id = post(database)
    person(database, "anne", "json://127.0.0.1:9/")
    tell(database, watch_id)
    until("it was hinted at", lambda: redis.llen("notifications") == 1, 90)
    redis.flushdb()
    notifications_due(database)
    maintenance.sweep_due()
    until("it was hinted at again", lambda: redis.llen("notifications") == 1, 90)

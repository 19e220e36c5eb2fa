"""Operators are notified of a saga that waits for them: who, when, of what, and until when."""

from uuid import UUID

import pytest

from domain.delivery.notification import Reason, SendResult, compose
from domain.sagas.outcome import Failed, Lost
from domain.sagas.serialization import idempotency_key
from domain.sagas.step import Error
from services.kernel.leases import NOTIFICATION
from services.kernel.pagination import Page
from services.kernel.unit_of_work import Database
from services.notifications.queries import NotificationEnded, NotificationFilter, list_notifications, retry_notification
from services.notifications.worker import claim_notification, record_sending
from services.operations.health import backlog
from services.sagas.recovery import Retry, resolve, retry_compensation, retry_step
from tests.conftest import Recorded
from tests.services.people import group, job, notifications, person, told
from tests.services.saga_world import ref, saga_of, start, step, step_of, tools, undo_of, work
from tests.services.world import OPERATOR, change

BROKE = Failed(Error("TOOL_INVOKE_FAILED", "no such ticket"))
NOBODY_KNOWS = Lost("the server broke off", False)


@pytest.fixture
def otto(database: Database) -> UUID:
    return person(database, "otto", "json://o", role="operator")


def unknown(database: Database) -> UUID:
    """A saga whose first call has an unknown outcome."""
    trace_id = start(database, step("a"))
    work(database, trace_id, tools(do_a=NOBODY_KNOWS))
    return trace_id


def hard_stop(database: Database) -> UUID:
    """A saga whose undo of `a` has failed."""
    trace_id = start(database, step("a", undo=True), step("b"))
    work(database, trace_id, tools(do_b=BROKE, undo_a=BROKE))
    assert saga_of(database, trace_id).needs_operator
    return trace_id


def test_who_may_settle_it_and_has_a_channel(database: Database, publisher: Recorded) -> None:
    """Operators and admins who see the namespace, and groups without other members, are notified."""
    person(database, "otto", "json://o", "json://o2", role="operator", groups=["night", "mixed"])
    person(database, "ada", "json://a", role="admin", namespaces=["*"], groups=["night"])
    person(database, "rita", "json://r", groups=["mixed"])
    person(database, "mute", role="operator")
    person(database, "elsewhere", "json://e", role="operator", namespaces=["other"])
    gone = person(database, "gone", "json://g", role="operator", groups=["night"])
    change(database, "UPDATE users SET disabled_at = now() WHERE id = :id", id=gone)
    for name in ("night", "mixed", "empty"):
        group(database, name, f"json://{name}")
    unknown(database)
    assert told(database) == [
        ("ada@example.com", "json://a"),
        ("night", "json://night"),
        ("otto@example.com", "json://o"),
        ("otto@example.com", "json://o2"),
    ]
    woken = {wakeup.id for wakeup in publisher.wakeups if wakeup.kind == NOTIFICATION}
    assert woken == {row["id"] for row in notifications(database)}


def test_instead_of_who_is_away_an_operator_who_stands_in(database: Database) -> None:
    rita = person(database, "rita", "json://r")
    ida = person(database, "ida", role="operator")
    change(database, "UPDATE users SET channels = '{json://i}' WHERE id = :id", id=ida)
    person(database, "otto", "json://o", role="operator", delegate_id=ida, away=True)
    person(database, "omar", "json://m", role="operator", delegate_id=rita, away=True)
    unknown(database)
    assert told(database) == [("ida@example.com", "json://i"), ("omar@example.com", "json://m")]


def test_the_content_of_a_message_to_operators(database: Database, otto: UUID) -> None:
    """The content has the event, the key to search for at the tool, and a link. The link does not sign in."""
    trace_id = unknown(database)
    found = job(database)
    key = idempotency_key(saga_of(database, trace_id), step_of(database, trace_id, "a"))
    message = compose(found.content)
    assert found.content.reason is Reason.OUTCOME_UNKNOWN
    assert message.subject == "Needs an operator: s 1"
    assert "the outcome of a call is unknown" in message.text
    assert "What happened: OUTCOME_UNKNOWN: the server broke off" in message.text
    assert key in message.text
    assert f"http://sagahold.test/sagas/{trace_id.hex}\n" in message.text
    assert "/r/" not in message.text


def test_a_failed_undo_is_named_as_one(database: Database, otto: UUID) -> None:
    trace_id = hard_stop(database)
    message = compose(job(database).content)
    assert "an undo failed" in message.text
    assert "TOOL_INVOKE_FAILED: no such ticket" in message.text
    assert idempotency_key(saga_of(database, trace_id), undo_of(database, trace_id, "a")) in message.text


def test_a_tools_words_call_nobody(database: Database, otto: UUID) -> None:
    trace_id = start(database, step("a", undo=True), step("b"))
    work(
        database,
        trace_id,
        tools(do_b=BROKE, undo_a=Failed(Error("TOOL_INVOKE_FAILED", "@everyone <b>\u202e" + "x" * 400))),
    )
    message = compose(job(database).content)
    assert "@\u2060everyone <b><U+202E>" in message.text
    assert "<b>@" not in message.html
    assert "x" * 300 not in message.text


def test_once_for_each_execution_that_came_to_it(database: Database, otto: UUID) -> None:
    """A worker that continues the saga notifies no one again; a retry that fails again does."""
    trace_id = hard_stop(database)
    work(database, trace_id, tools())
    assert len(notifications(database)) == 1
    which = ref(trace_id, undo_of(database, trace_id, "a"))
    retry_compensation(database, OPERATOR, which, Retry(allow_destructive=True))
    assert len(notifications(database)) == 1
    work(database, trace_id, tools(undo_a=BROKE))
    assert len(notifications(database)) == 2


def test_a_call_that_is_lost_again_is_notified_again(database: Database, otto: UUID) -> None:
    trace_id = unknown(database)
    retry_step(database, OPERATOR, ref(trace_id, step_of(database, trace_id, "a")), Retry(allow_destructive=True))
    work(database, trace_id, tools(do_a=NOBODY_KNOWS))
    assert len(notifications(database)) == 2


@pytest.mark.parametrize("end", ["settled", "demoted", "disabled", "removed", "elsewhere"])
def test_of_no_use_any_more(database: Database, otto: UUID, end: str) -> None:
    trace_id = unknown(database)
    if end == "settled":
        which = ref(trace_id, step_of(database, trace_id, "a"))
        resolve(database, OPERATOR, which, done=True, output=None, evidence="the ledger has it")
    else:
        changes = {
            "demoted": "role = 'reviewer'",
            "disabled": "disabled_at = now()",
            "removed": "channels = '{}'",
            "elsewhere": "namespaces = '{other}'",
        }
        change(database, f"UPDATE users SET {changes[end]}")
    (row,) = notifications(database)
    assert claim_notification(database, row["id"]) is None
    (row,) = notifications(database)
    assert (row["status"], row["attempts"]) == ("obsolete", 0)
    seen_to = row["last_error"] == "the saga needed no operator any more before this was sent"
    assert seen_to == (end == "settled")


def test_one_that_failed_is_seen_and_sent_again_while_the_saga_waits(database: Database, otto: UUID) -> None:
    trace_id = unknown(database)
    record_sending(database, job(database).lease, SendResult("wrong password", final=True), 0.5)
    assert backlog(database).failed_notifications == 1
    (shown,) = list_notifications(database, OPERATOR, NotificationFilter(trace_id=trace_id), Page()).items
    assert (shown["trace_id"], shown["watch_id"], shown["reason"]) == (trace_id.hex, None, "outcome_unknown")
    assert list_notifications(database, OPERATOR, NotificationFilter(trace_id=otto), Page()).items == []
    retry_notification(database, OPERATOR, shown["id"])
    record_sending(database, job(database).lease, SendResult("wrong password", final=True), 0.5)
    which = ref(trace_id, step_of(database, trace_id, "a"))
    resolve(database, OPERATOR, which, done=True, output=None, evidence="the ledger has it")
    assert backlog(database).failed_notifications == 0
    with pytest.raises(NotificationEnded):
        retry_notification(database, OPERATOR, shown["id"])

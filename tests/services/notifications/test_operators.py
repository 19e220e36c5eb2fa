"""Operators are told of a saga that waits for them: who, when, what, and until when it is of use."""

from uuid import UUID

import pytest

from domain.delivery.notification import Reason, Sending, compose
from domain.sagas.outcome import Failed, Lost
from domain.sagas.serialization import idempotency_key
from domain.sagas.step import Error
from services.kernel.leases import NOTIFICATION
from services.kernel.pagination import Page
from services.kernel.unit_of_work import Store
from services.notifications.queries import NotificationEnded, NotificationFilter, list_notifications, retry_notification
from services.notifications.worker import claim_notification, record_sending
from services.operations.health import backlog
from services.sagas.recovery import Retry, resolve, retry_compensation, retry_step
from tests.conftest import Recorded
from tests.services.people import errand, group, notifications, person, told
from tests.services.saga_world import ref, saga_of, start, step, step_of, tools, undo_of, work
from tests.services.world import OPERATOR, change

BROKE = Failed(Error("TOOL_INVOKE_FAILED", "no such ticket"))
NOBODY_KNOWS = Lost("the server broke off", False)


@pytest.fixture
def otto(store: Store) -> UUID:
    return person(store, "otto", "json://o", role="operator")


def unknown(store: Store) -> UUID:
    """A saga of whose first call nobody knows what came of it."""
    trace_id = start(store, step("a"))
    work(store, trace_id, tools(do_a=NOBODY_KNOWS))
    return trace_id


def hard_stop(store: Store) -> UUID:
    """A saga whose undo of `a` has failed."""
    trace_id = start(store, step("a", undo=True), step("b"))
    work(store, trace_id, tools(do_b=BROKE, undo_a=BROKE))
    assert saga_of(store, trace_id).needs_operator
    return trace_id


def test_who_may_settle_it_and_has_a_channel(store: Store, signals: Recorded) -> None:
    """Operators and admins who see the namespace; rooms where nobody else is."""
    person(store, "otto", "json://o", "json://o2", role="operator", groups=["night", "mixed"])
    person(store, "ada", "json://a", role="admin", namespaces=["*"], groups=["night"])
    person(store, "rita", "json://r", groups=["mixed"])
    person(store, "mute", role="operator")
    person(store, "elsewhere", "json://e", role="operator", namespaces=["other"])
    gone = person(store, "gone", "json://g", role="operator", groups=["night"])
    change(store, "UPDATE users SET disabled_at = now() WHERE id = :id", id=gone)
    for name in ("night", "mixed", "empty"):
        group(store, name, f"json://{name}")
    unknown(store)
    assert told(store) == [
        ("ada@example.com", "json://a"),
        ("night", "json://night"),
        ("otto@example.com", "json://o"),
        ("otto@example.com", "json://o2"),
    ]
    hinted = {hint.id for hint in signals.hints if hint.kind == NOTIFICATION}
    assert hinted == {row["id"] for row in notifications(store)}


def test_instead_of_who_is_away_an_operator_who_stands_in(store: Store) -> None:
    rita = person(store, "rita", "json://r")
    ida = person(store, "ida", role="operator")
    change(store, "UPDATE users SET channels = '{json://i}' WHERE id = :id", id=ida)
    person(store, "otto", "json://o", role="operator", delegate_id=ida, away=True)
    person(store, "omar", "json://m", role="operator", delegate_id=rita, away=True)
    unknown(store)
    assert told(store) == [("ida@example.com", "json://i"), ("omar@example.com", "json://m")]


def test_what_is_told(store: Store, otto: UUID) -> None:
    """What happened, the key to search for at the tool, and where it is settled; the link lets nobody in by itself."""
    trace_id = unknown(store)
    found = errand(store)
    key = idempotency_key(saga_of(store, trace_id), step_of(store, trace_id, "a"))
    message = compose(found.letter)
    assert found.letter.reason is Reason.OUTCOME_UNKNOWN
    assert message.subject == "Needs an operator: s 1"
    assert "nobody knows what came of a call" in message.text
    assert "What happened: OUTCOME_UNKNOWN: the server broke off" in message.text
    assert key in message.text
    assert f"http://sagahold.test/sagas/{trace_id.hex}\n" in message.text
    assert "/r/" not in message.text


def test_a_failed_undo_is_told_as_one(store: Store, otto: UUID) -> None:
    trace_id = hard_stop(store)
    message = compose(errand(store).letter)
    assert "an undo has failed" in message.text
    assert "TOOL_INVOKE_FAILED: no such ticket" in message.text
    assert idempotency_key(saga_of(store, trace_id), undo_of(store, trace_id, "a")) in message.text


def test_a_tools_words_call_nobody(store: Store, otto: UUID) -> None:
    trace_id = start(store, step("a", undo=True), step("b"))
    work(
        store,
        trace_id,
        tools(do_b=BROKE, undo_a=Failed(Error("TOOL_INVOKE_FAILED", "@everyone <b>\u202e" + "x" * 400))),
    )
    message = compose(errand(store).letter)
    assert "@\u2060everyone <b><U+202E>" in message.text
    assert "<b>@" not in message.html
    assert "x" * 300 not in message.text


def test_once_for_each_execution_that_came_to_it(store: Store, otto: UUID) -> None:
    """A worker that looks again tells nobody again; a retry that fails again does."""
    trace_id = hard_stop(store)
    work(store, trace_id, tools())
    assert len(notifications(store)) == 1
    which = ref(trace_id, undo_of(store, trace_id, "a"))
    retry_compensation(store, OPERATOR, which, Retry(allow_destructive=True))
    assert len(notifications(store)) == 1
    work(store, trace_id, tools(undo_a=BROKE))
    assert len(notifications(store)) == 2


def test_a_lost_call_that_is_lost_again_is_told_again(store: Store, otto: UUID) -> None:
    trace_id = unknown(store)
    retry_step(store, OPERATOR, ref(trace_id, step_of(store, trace_id, "a")), Retry(allow_destructive=True))
    work(store, trace_id, tools(do_a=NOBODY_KNOWS))
    assert len(notifications(store)) == 2


@pytest.mark.parametrize("end", ["settled", "demoted", "disabled", "removed", "elsewhere"])
def test_of_no_use_any_more(store: Store, otto: UUID, end: str) -> None:
    trace_id = unknown(store)
    if end == "settled":
        which = ref(trace_id, step_of(store, trace_id, "a"))
        resolve(store, OPERATOR, which, done=True, output=None, evidence="the ledger has it")
    else:
        changes = {
            "demoted": "role = 'reviewer'",
            "disabled": "disabled_at = now()",
            "removed": "channels = '{}'",
            "elsewhere": "namespaces = '{other}'",
        }
        change(store, f"UPDATE users SET {changes[end]}")
    (row,) = notifications(store)
    assert claim_notification(store, row["id"]) is None
    (row,) = notifications(store)
    assert (row["status"], row["attempts"]) == ("obsolete", 0)
    seen_to = row["last_error"] == "an operator had seen to it before this was sent"
    assert seen_to == (end == "settled")


def test_one_that_failed_is_seen_and_sent_again_while_the_saga_waits(store: Store, otto: UUID) -> None:
    trace_id = unknown(store)
    record_sending(store, errand(store).lease, Sending("wrong password", final=True), 0.5)
    assert backlog(store).failed_notifications == 1
    (shown,) = list_notifications(store, OPERATOR, NotificationFilter(trace_id=trace_id), Page()).items
    assert (shown["trace_id"], shown["watch_id"], shown["reason"]) == (trace_id.hex, None, "outcome_unknown")
    assert list_notifications(store, OPERATOR, NotificationFilter(trace_id=otto), Page()).items == []
    retry_notification(store, OPERATOR, shown["id"])
    record_sending(store, errand(store).lease, Sending("wrong password", final=True), 0.5)
    which = ref(trace_id, step_of(store, trace_id, "a"))
    resolve(store, OPERATOR, which, done=True, output=None, evidence="the ledger has it")
    assert backlog(store).failed_notifications == 0
    with pytest.raises(NotificationEnded):
        retry_notification(store, OPERATOR, shown["id"])

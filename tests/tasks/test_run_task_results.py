"""Results of run tasks: the token, reports while the decision is pending, and what must not pass."""

import json
from typing import Any

import pytest

from adapters.text_cipher import TextCipher
from domain.pauses.serialization import pause_id
from services.kernel.unit_of_work import Database
from services.pauses.callback_tokens import MAX_FAILED, store_token, sweep_progress
from services.pauses.lifecycle import expire_due
from tasks import webhooks
from tests.adapters.receiver import Receiver, reply
from tests.services.by_watch_id import decide_pause
from tests.services.world import AGENT, REVIEWER, approve, cancel, change, deliveries, expire, one, post, reject
from tests.tasks.conftest import ENCRYPTION_KEY

TOKEN = "4QEuyyxug1f2rw.atlasv1.iDyxqhXGVZ0"


def held(database: Database, receiver: Receiver, cipher: TextCipher | None = None, **more: Any) -> str:
    wanted = {"callback_url": receiver.url, "callback_format": "terraform", "arguments": {"run_id": "run-1"}}
    watch_id = post(database, **wanted | more)
    encrypted = (cipher or TextCipher(ENCRYPTION_KEY)).encrypt(TOKEN)
    store_token(database, pause_id(watch_id), encrypted)
    return watch_id


def deliver_pending(database: Database) -> None:
    for row in deliveries(database):
        if row["status"] == "pending":
            webhooks.deliver(row["id"].hex)


def report(database: Database) -> None:
    """Let the time of the next report come, and send it."""
    change(database, "UPDATE callback_tokens SET progress_at = now() WHERE progress_at IS NOT NULL")
    sweep_progress(database)
    deliver_pending(database)


def results(receiver: Receiver) -> list[tuple[str, str]]:
    found = [json.loads(request.body)["data"]["attributes"] for request in receiver.requests]
    return [(each["status"], each["message"]) for each in found]


def test_reports_come_before_the_result_and_end_with_it(database: Database) -> None:
    with Receiver(reply(200)) as receiver:
        watch_id = held(database, receiver)
        assert TOKEN not in one(database, "SELECT token FROM callback_tokens")
        report(database)
        assert sweep_progress(database) == 0, "the next one is due in minutes"
        report(database)
        assert one(database, "SELECT consumed_at FROM pauses") is None
        assert sweep_progress(database) == 0
        change(database, "UPDATE callback_tokens SET progress_at = now()")
        sweep_progress(database)
        change(database, "UPDATE callback_tokens SET progress_at = now()")
        sweep_progress(database)
        decide_pause(database, REVIEWER, watch_id, approve())
        deliver_pending(database)
        report(database)
    assert [status for status, _ in results(receiver)] == ["running", "running", "running", "passed"]
    for request in receiver.requests:
        assert request.line.startswith("PATCH /")
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        assert request.headers["content-type"] == "application/vnd.api+json"
    assert one(database, "SELECT progress_at FROM callback_tokens") is None


def test_reports_are_not_repeated_and_end_after_some_failures(database: Database) -> None:
    """The result is sent all the same."""
    with Receiver(reply(404)) as receiver:
        watch_id = held(database, receiver)
        for _ in range(MAX_FAILED + 2):
            report(database)
        assert results(receiver) == [("running", "Waiting for a decision.")] * MAX_FAILED
        assert {row["status"] for row in deliveries(database)} == {"exhausted"}
        decide_pause(database, REVIEWER, watch_id, reject(comment="no"))
        deliver_pending(database)
    assert results(receiver)[-1] == ("failed", "Rejected by reviewer: no")
    assert deliveries(database)[-1]["status"] == "pending", "a result is repeated"


def test_a_cancelled_or_expired_pause_fails_the_task(database: Database) -> None:
    with Receiver(reply(200)) as receiver:
        decide_pause(database, AGENT, held(database, receiver), cancel())
        deliver_pending(database)
        expire(database, held(database, receiver))
        expire_due(database)
        deliver_pending(database)
    assert results(receiver) == [("failed", "Cancelled by agent."), ("failed", "The time ran out without a decision.")]


LATE = "The approval expired, or something else used it, before this result was sent: start a new run."


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE pauses SET resolved_at = resolved_at - interval '901 s'", LATE),
        ("UPDATE pauses SET consumed_at = resolved_at, consumed_with = 'another'", LATE),
        (
            "UPDATE pauses SET posted_arguments = '{}'",
            "A reviewer edited the request, and a run cannot be changed: start a new run.",
        ),
    ],
)
def test_what_does_not_pass(database: Database, statement: str, message: str) -> None:
    with Receiver(reply(200)) as receiver:
        decide_pause(database, REVIEWER, held(database, receiver, approval_valid_for=900), approve())
        change(database, statement)
        deliver_pending(database)
    assert results(receiver) == [("failed", message)]


@pytest.mark.parametrize(
    ("cipher", "statement", "error"),
    [
        (TextCipher("x" * 32), "SELECT 1", "another SAGAHOLD_ENCRYPTION_KEY encrypted the secret"),
        (None, "DELETE FROM callback_tokens", "the receiver's token is not stored yet"),
    ],
)
def test_without_the_token_nothing_is_sent(
    database: Database, cipher: TextCipher | None, statement: str, error: str
) -> None:
    with Receiver(reply(200)) as receiver:
        watch_id = held(database, receiver, cipher)
        change(database, statement)
        decide_pause(database, REVIEWER, watch_id, approve())
        deliver_pending(database)
        assert receiver.requests == []
    (waiting,) = deliveries(database)
    assert waiting["status"] == "pending"
    assert waiting["last_error"].startswith(error)
    assert one(database, "SELECT consumed_at FROM pauses") is None, "the approval is not used up"

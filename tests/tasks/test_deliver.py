"""One delivery from its wake-up to its record, with a receiver that answers well, badly or not at all."""

import base64
import json
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis
from standardwebhooks.webhooks import Webhook

from services.kernel.unit_of_work import Database
from services.webhooks.deliveries import get_delivery
from services.webhooks.endpoints import EndpointChange, change_endpoint, rotate_endpoint_secret
from services.webhooks.signing import namespace_secret
from tasks import webhooks
from tests.adapters.receiver import Exchange, Receiver, reply
from tests.services.by_watch_id import decide_pause
from tests.services.world import (
    ADMIN,
    AGENT,
    REVIEWER,
    an_endpoint,
    approve,
    at_once,
    change,
    deliveries,
    due_now,
    one,
    post,
)


def send(database: Database, receiver: Receiver | None = None, **endpoint: Any) -> dict[str, Any]:
    """Post a pause that an endpoint hears of, do the delivery, and return how it went."""
    url = receiver.url if receiver is not None else "http://127.0.0.1:9/hook"
    made = an_endpoint(database, **{"url": url, **endpoint})
    post(database)
    return {"secret": made["secret"], "endpoint": made["id"], **done(database)}


def done(database: Database) -> dict[str, Any]:
    """Deliver what waits, and what was recorded of it."""
    row = deliveries(database)[-1]
    webhooks.deliver(row["id"].hex)
    return get_delivery(database, ADMIN, f"dlv_{row['id'].hex}")


def test_delivered_and_signed(database: Database) -> None:
    """As the library of the standard verifies it: signature, time, and the body to the byte."""
    with Receiver(reply(204)) as receiver:
        shown = send(database, receiver, headers={"X-Team": "ops", "authorization": "Bearer mine"})
        (request,) = receiver.requests
    assert Webhook(shown["secret"]).verify(request.body, request.headers)["type"] == "pause.created"
    assert request.headers["webhook-id"] == shown["webhook_id"]
    assert abs(time.time() - int(request.headers["webhook-timestamp"])) < 60
    assert (request.headers["x-team"], request.headers["authorization"]) == ("ops", "Bearer mine")
    assert (request.headers["content-type"], request.headers["user-agent"]) == ("application/json", "Sagahold")
    assert (shown["status"], shown["attempts"], shown["last_error"]) == ("delivered", 1, None)
    (attempt,) = shown["attempts_made"]
    assert (attempt["outcome"], attempt["status_code"], attempt["error"]) == ("succeeded", 204, None)


def test_after_a_rotation_both_secrets_verify(database: Database) -> None:
    """For a receiver that has not changed its own yet, and for one that has."""
    with Receiver() as receiver:
        made = an_endpoint(database, url=receiver.url)
        new = rotate_endpoint_secret(database, ADMIN, made["id"])["secret"]
        post(database)
        done(database)
        (request,) = receiver.requests
    for secret in (made["secret"], new):
        assert Webhook(secret).verify(request.body, request.headers)
    assert len(request.headers["webhook-signature"].split(" ")) == 2


def test_a_callback_is_signed_with_its_namespaces_secret(database: Database) -> None:
    with Receiver() as receiver:
        decide_pause(database, REVIEWER, post(database, callback_url=receiver.url), approve())
        assert done(database)["status"] == "delivered"
        (request,) = receiver.requests
    secret = namespace_secret(database, AGENT, "default")
    assert Webhook(secret).verify(request.body, request.headers)["data"]["status"] == "approved"


@pytest.mark.parametrize("status", [199, 300, 302, 400, 404, 429, 500, 503])
def test_anything_but_2xx_is_a_failure(database: Database, status: int) -> None:
    """The attempt is recorded and retried."""
    script = reply(status, b"no", location="http://127.0.0.1:9/") if status >= 200 else _not_http
    with Receiver(script) as receiver:
        shown = send(database, receiver)
    (attempt,) = shown["attempts_made"]
    assert (shown["status"], attempt["outcome"]) == ("pending", "failed")
    assert receiver.connections == 1
    if status >= 200:
        assert (attempt["status_code"], attempt["excerpt"]) == (status, "no")
        assert shown["last_error"] == f"the receiver answered {status}"


def _not_http(exchange: Exchange) -> None:
    exchange.read()
    exchange.send(b"hello\r\n\r\n")


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_that_is_no_text_is_kept_as_well_as_it_can(database: Database, status: int) -> None:
    """Bytes that PostgreSQL would refuse must not keep the attempt from being recorded."""
    with Receiver(reply(status, b"\xff\x00abc\xed\xa0\x80" + "é".encode())) as receiver:
        (attempt,) = send(database, receiver)["attempts_made"]
    assert attempt["excerpt"].startswith("\ufffd\ufffdabc")
    assert attempt["excerpt"].endswith("é")


def test_retry_after(database: Database) -> None:
    """Kept to, and whatever nonsense it is, recorded."""
    with Receiver(reply(503, retry_after="3600")) as receiver:
        send(database, receiver)
        assert one(database, "SELECT due_at - now() > interval '59 min' FROM webhook_deliveries")
        receiver.script = reply(503, retry_after="Mon, 01 Jan 2024 00:00:00 +" + "9" * 30)
        due_now(database)
        assert done(database)["attempts"] == 2


def test_timed_out(database: Database) -> None:
    with Receiver(Exchange.hold) as receiver:
        (attempt,) = send(database, receiver)["attempts_made"]
    assert (attempt["outcome"], attempt["error"]) == ("timed_out", "no complete answer within 1 s")
    assert attempt["duration_ms"] >= 1_000


def test_nobody_listens(database: Database) -> None:
    with Receiver() as receiver:
        pass
    (attempt,) = send(database, receiver)["attempts_made"]
    assert (attempt["outcome"], attempt["error"]) == ("failed", "the connection failed: connection refused")


def test_blocked(database: Database) -> None:
    """An address that has come to be forbidden since the endpoint was made: nothing is sent, and it says why."""
    made = an_endpoint(database)
    post(database)
    change(database, "UPDATE webhook_endpoints SET url = 'http://10.0.0.1/'")
    (attempt,) = done(database)["attempts_made"]
    assert (attempt["outcome"], attempt["status_code"]) == ("blocked", None)
    assert "SAGAHOLD_EGRESS_ALLOW" in attempt["error"]
    assert change_endpoint(database, ADMIN, made["id"], EndpointChange())["failing_since"] is not None


def test_410_disables(database: Database) -> None:
    with Receiver(reply(410)) as receiver:
        shown = send(database, receiver)
    assert shown["status"] == "exhausted"
    assert one(database, "SELECT disabled_reason FROM webhook_endpoints") == "the receiver answered 410 Gone"


def test_what_nobody_foresaw_is_a_failed_attempt(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """Counted and on the schedule like any other, with the cause in the log and not in the record."""
    an_endpoint(database)
    post(database)
    change(database, "UPDATE webhook_secrets SET secret = 'whsec_not base64'")
    with caplog.at_level(logging.ERROR):
        shown = done(database)
    (attempt,) = shown["attempts_made"]
    assert (attempt["outcome"], attempt["error"]) == ("failed", "internal error, see the log")
    assert (shown["status"], shown["attempts"]) == ("pending", 1)
    assert one(database, "SELECT due_at > now() AND lease_token IS NULL FROM webhook_deliveries")
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.delivery_id == str(deliveries(database)[0]["id"])  # type: ignore[attr-defined]


def test_fifty_wake_ups_one_request(database: Database) -> None:
    """Also all at the same time."""
    with Receiver() as receiver:
        an_endpoint(database, url=receiver.url)
        post(database)
        (row,) = deliveries(database)
        answers = at_once([lambda: webhooks.deliver(row["id"].hex)] * 50)
        assert answers == [None] * 50
        assert len(receiver.requests) == 1


def test_a_wake_up_for_nothing(database: Database) -> None:
    """A row that is gone is no error."""
    webhooks.deliver("0" * 32)


def test_the_next_delivery_of_the_same_pause_is_woken(database: Database, redis: Redis) -> None:
    """Over the broker, when the first is delivered."""
    with Receiver() as receiver:
        an_endpoint(database, url=receiver.url)
        decide_pause(database, REVIEWER, post(database), approve())
        created, approved = deliveries(database)
        _until(lambda: redis.llen("webhooks") == 2)
        redis.flushdb()
        webhooks.deliver(created["id"].hex)
        _until(lambda: redis.llen("webhooks") == 1)
        message = json.loads(redis.lindex("webhooks", 0))
        assert approved["id"].hex in base64.b64decode(message["body"]).decode()
        webhooks.deliver(approved["id"].hex)
        assert [request.headers["webhook-id"] for request in receiver.requests] == [
            f"msg_{row['message_id'].hex}" for row in (created, approved)
        ]


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.005)

"""A server, a proxy or a network that does anything unexpected never makes a function run."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import sagahold
from sagahold import require_approval
from sagahold.protocol import Answer, Budget, Call, backoff
from sagahold.testing import FakeApprover

from tests.clients.sdk_python.http_fake import http_fake


def altered(**changes: Any) -> Callable[[Answer], Answer]:
    """Replace parts of the pause, by their paths: `decision__outcome="approved"`."""

    def change(answer: Answer) -> Answer:
        document = json.loads(answer.body)
        for path, value in changes.items():
            *parents, last = path.split("__")
            place = document
            for parent in parents:
                place = place[parent]
            place[last] = value
        return Answer(answer.status, json.dumps(document).encode())

    return change


def fixed(status: int, body: bytes = b"", **headers: str) -> Callable[[Answer], Answer]:
    return lambda _: Answer(status, body, headers)


OTHER = {"order": "A-1", "cents": 1_000_000}
BROKEN: dict[str, Callable[[Answer], Answer]] = {
    "an empty body": fixed(200),
    "a page of a proxy": fixed(200, b"<html>Please sign in</html>"),
    "a list": fixed(200, b"[]"),
    "text": fixed(200, b'"approved"'),
    "an empty object": fixed(200, b"{}"),
    "only a status": fixed(200, b'{"status": "approved"}'),
    "a truncated body": lambda answer: Answer(200, answer.body[:-9]),
    "a repeated name": lambda answer: Answer(200, answer.body[:-1] + b', "status": "approved"}'),
    "NaN": lambda answer: Answer(200, answer.body.replace(b'"revision": 1', b'"revision": NaN')),
    "not UTF-8": lambda answer: Answer(200, answer.body.replace(b"A-1", b"\xff-1")),
    "not gzip": lambda answer: Answer(200, answer.body, {"Content-Encoding": "gzip"}),
    "no content": fixed(204),
    "accepted": lambda answer: Answer(202, answer.body),
    "a redirect": lambda answer: Answer(302, answer.body, {"Location": "https://example.org/"}),
    "a permanent redirect": lambda answer: Answer(308, answer.body, {"Location": "/api/pause"}),
    "an error that is not JSON": fixed(404, b"not here"),
    "an error in another form": fixed(400, b'{"message": "no"}'),
    "an unknown status": altered(status="approved_by_ai"),
    "a status of another type": altered(status=True),
    "a status without its decision": altered(decision=None),
    "a decision that says otherwise": altered(decision__outcome="rejected"),
    "a decision of another type": altered(decision="approved"),
    "another pause": altered(watchId="wch_" + "0" * 32),
    "other approved arguments": altered(decision__arguments=OTHER),
    "another digest": altered(argumentsDigest="0" * 64),
    "no digest": altered(argumentsDigest=None),
    "no arguments": altered(decision__arguments=None),
    "neither arguments nor digest": altered(decision__arguments=None, argumentsDigest=None),
    "arguments of another type": altered(decision__arguments=["A-1", 5]),
    "a number that no digest has": lambda a: Answer(200, a.body.replace(b'"cents": 5', b'"cents": 1e999')),
    "another action": altered(agentContext__action="Refund 1 for A-1"),
    "other posted arguments": altered(postedArguments=OTHER),
    "a feature that the server does not know": altered(unreadable=["review"]),
    "a revision of another type": altered(revision="1"),
}


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setenv("SAGAHOLD_API_KEY", "hitl_secret")
    return []


@pytest.fixture
def refund(ran: list[Any]) -> Callable[..., None]:
    @require_approval(action="Refund {cents} for {order}", key="k")
    def refund(order: str, cents: int) -> None:
        ran.append((order, cents))

    return refund


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("place", ["request", "consume"])
def test_a_broken_answer_runs_nothing(
    refund: Callable[..., None], ran: list[Any], name: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(call: Call, answer: Answer) -> Answer:
        return BROKEN[name](answer) if call.method == "POST" and _place(call) == place else answer

    with http_fake(FakeApprover(), change) as url:
        monkeypatch.setenv("SAGAHOLD_URL", url)
        with pytest.raises(sagahold.SagaholdError) as raised:
            refund("A-1", 5)
    assert not isinstance(raised.value, sagahold.NotApproved | sagahold.NotReachable)
    assert place == "request" or raised.value.decision is not None
    assert "hitl_secret" not in str(raised.value)
    assert ran == []


# These are pauses too, though not the one that was asked for; the HTTP client finds the broken encoding.
OTHERS = {"another action", "other posted arguments", "neither arguments nor digest", "not gzip"}


@pytest.mark.parametrize("name", sorted(BROKEN.keys() - OTHERS))
def test_a_broken_answer_is_an_error_of_its_own(name: str) -> None:
    """Each by itself, without the checks of later steps."""
    approver = FakeApprover()
    with approver, sagahold.Client() as client:
        made = client.request("Refund 5 for A-1", arguments={"order": "A-1", "cents": 5})
    answer = BROKEN[name](approver.answer(Call("GET", f"/api/pause/{made.watch_id}")))
    flow = sagahold.protocol.get(made, Budget(0))
    next(flow)
    with pytest.raises(sagahold.UnexpectedResponse):
        flow.send(answer)


def _place(call: Call) -> str:
    """Return the verb of a call: `request`, `consume`, …"""
    return call.path.removeprefix("/api/pause").rpartition("/")[2] or "request"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599, None])
@pytest.mark.parametrize("place", ["request", "get", "consume", "outcome"])
def test_an_outage_is_waited_out(
    refund: Callable[..., None], ran: list[Any], status: int | None, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The effect of the first attempt may have happened; it happens once."""
    monkeypatch.setattr(sagahold.client.time, "sleep", lambda seconds: None)
    failed: list[str] = []
    approver = FakeApprover()

    def change(call: Call, answer: Answer) -> Answer | None:
        here = "get" if call.method == "GET" and "wait" in call.params else _place(call)
        if here == place and len(failed) < 3:
            failed.append(call.headers.get("Idempotency-Key", ""))
            return None if status is None else Answer(status, b"<html>")
        if call.method == "POST" and here == "request":
            return altered(status="pending", decision=None)(answer)
        return answer

    with http_fake(approver, change) as url:
        monkeypatch.setenv("SAGAHOLD_URL", url)
        refund("A-1", 5)
    assert ran == [("A-1", 5)]
    assert len(failed) == 3
    assert len(set(failed)) == 1
    assert len(approver.pauses) == 1
    assert approver.pauses[0].outcome is not None


def test_a_server_that_is_not_there(
    refund: Callable[..., None], ran: list[Any], closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = sagahold.Client(f"http://127.0.0.1:{closed_port}", retry_for=0)
    with client, pytest.raises(sagahold.NotReachable, match="check SAGAHOLD_URL"):
        client.request("x")


@pytest.mark.parametrize("url", ["", "ftp://example.org", "127.0.0.1:8000", "example.org", "http://", "http://x:port"])
def test_an_address_that_is_none(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGAHOLD_URL", url)
    with pytest.raises(ValueError, match="set SAGAHOLD_URL, or pass url"):
        sagahold.Client()


def test_keys_that_are_none() -> None:
    with pytest.raises(ValueError, match="copy it again"):
        sagahold.Client("http://127.0.0.1:1", "hitl_\nx")
    with sagahold.Client("http://127.0.0.1:1", "hitl_x\n") as client, pytest.raises(ValueError, match="8 to 128"):
        client.request("x", key="a b c d e f")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("999999999999", 3600.0),
        ("-3", None),
        ("soon", None),
        ("", None),
        ("Fri, 99 Nov", None),
        ("٣", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    answer = Answer(503, b"", {"retry-after": value})
    assert answer.retry_after == seconds
    assert backoff(0, answer) >= (seconds or 0.4)


def test_retry_after_a_date() -> None:
    at = datetime.now(UTC) + timedelta(seconds=100)
    found = Answer(503, b"", {"retry-after": format_datetime(at, usegmt=True)}).retry_after
    assert found is not None
    assert 90 < found <= 100
    past = Answer(503, b"", {"retry-after": format_datetime(at - timedelta(days=1), usegmt=True)})
    assert past.retry_after == 0


def test_the_wait_honours_retry_after_and_its_timeout() -> None:
    """Without I/O: the generator yields what the client would do."""
    pause = {"status": "pending", "decision": None}
    approver = FakeApprover()
    with approver, sagahold.Client() as client:
        made = client.request("x")
    pending = altered(**pause)(approver.answer(Call("GET", f"/api/pause/{made.watch_id}")))
    flow = sagahold.protocol.wait(made, Budget(130.0))
    first = next(flow)
    assert isinstance(first, Call)
    assert (first.params, first.timeout) == ({"wait": "60"}, 75.0)
    assert flow.send(Answer(503, b"", {"retry-after": "20"}, 5.0)).seconds == 20.0  # type: ignore[union-attr]
    assert flow.send(None).params == {"wait": "60"}  # type: ignore[union-attr]
    # No room for a long poll.
    assert flow.send(Answer(200, pending.body, {"retry-after": "2"}, 0.1)).seconds == 2.0  # type: ignore[union-attr]
    flow.send(None)
    # The server ends.
    assert flow.send(Answer(200, pending.body, {}, 0.25)).seconds == 0.75  # type: ignore[union-attr]
    assert flow.send(None).params == {"wait": "60"}  # type: ignore[union-attr]
    assert flow.send(Answer(200, pending.body, {}, 60.0)).seconds == 0.0  # type: ignore[union-attr]
    assert flow.send(None).params == {"wait": "41"}  # type: ignore[union-attr]
    with pytest.raises(sagahold.StillPending, match="still waits for a decision"):
        flow.send(Answer(200, pending.body, {}, 41.0))


def test_events_keep_separators_that_only_python_knows() -> None:
    approver = FakeApprover()
    with approver, sagahold.Client() as client:
        made = client.request("one\u2028two")
    stream = approver.answer(Call("GET", f"/api/pause/{made.watch_id}/events")).body
    stream = stream.replace(b"\\u2028", "\u2028".encode())
    reader = sagahold.events.EventReader(made)
    found = [event for index in range(len(stream)) for event in reader.feed(stream[index : index + 1])]
    assert [(event.type, event.pause.action) for event in found] == [("pause.approved", "one\u2028two")]
    assert reader.done
    assert reader.connect().headers["Last-Event-ID"] == "2"


def test_events_through_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[str | None] = []
    approver = FakeApprover()
    monkeypatch.setattr(sagahold.client.time, "sleep", lambda seconds: None)

    def change(call: Call, answer: Answer) -> Answer | None:
        if not call.path.endswith("/events"):
            return answer
        attempts.append(call.headers.get("Last-Event-Id"))
        created = answer.body.replace(b"pause.approved", b"pause.created").replace(b"id: 2", b"id: 1")
        created = created.replace(b'"status": "approved"', b'"status": "pending"')
        bodies = [None, Answer(503, b""), Answer(200, created + answer.body[:50]), answer]
        chosen = bodies[len(attempts) - 1]
        return chosen and Answer(chosen.status, chosen.body, {"Content-Type": "text/event-stream"})

    with http_fake(approver, change) as url, sagahold.Client(url) as client:
        pause = client.request("x")
        assert [event.type for event in client.events(pause)] == ["pause.created", "pause.approved"]
    assert attempts == [None, None, None, "1"]

"""The bodies and signatures of callbacks in other products' formats, for each way a pause ends."""

import base64
import hashlib
import hmac
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from domain.pauses.callbacks import FORMATS, PROGRESS_FORMATS
from domain.pauses.pause import SYSTEM, Actor, Decision, Pause, Status
from tests.domain.pauses.test_pause import BEN, T0, a_pause, resolved

URL = "https://hold.example"
WATCH_ID = "wch_00000000000000000000000000000007"
PAGE = f"{URL}/review/{WATCH_ID}"
SECRET = base64.b64encode(bytes(range(32))).decode()
LATE = "The approval expired, or something else used it, before this result was sent: start a new run."
EDITED = "A reviewer edited the request, and a run cannot be changed: start a new run."


def ended(status: Status, comment: str | None = None, by: Actor = BEN, **changes: Any) -> Pause:
    decision = Decision(status, by, T0 + timedelta(minutes=1), comment)
    return replace(resolved(status, **changes), decision=decision)


def body(name: str, pause: Pause, *, valid: bool = True) -> dict[str, Any]:
    found: dict[str, Any] = FORMATS[name].document(pause, URL, valid)
    return found


RESULTS: list[tuple[Pause, bool, str, str]] = [
    (ended(Status.APPROVED), True, "passed", "Approved by Ben."),
    (ended(Status.APPROVED, "fine"), True, "passed", "Approved by Ben: fine"),
    (ended(Status.APPROVED), False, "failed", LATE),
    (ended(Status.APPROVED, posted_arguments={"run_id": "run-1"}), True, "failed", EDITED),
    (ended(Status.REJECTED, "no"), False, "failed", "Rejected by Ben: no"),
    (ended(Status.CANCELLED), False, "failed", "Cancelled by Ben."),
    (ended(Status.EXPIRED), False, "failed", "The time ran out without a decision."),
    (ended(Status.REJECTED, by=Actor(SYSTEM, SYSTEM)), False, "failed", "The time ran out without a decision."),
]


@pytest.mark.parametrize(("pause", "valid", "status", "message"), RESULTS)
def test_the_result_of_a_run_task(pause: Pause, valid: bool, status: str, message: str) -> None:
    attributes = {"status": status, "message": message, "url": PAGE}
    assert body("terraform", pause, valid=valid) == {"data": {"type": "task-results", "attributes": attributes}}


def test_a_long_comment_fits_a_run_task() -> None:
    found = body("terraform", ended(Status.REJECTED, "x" * 2_000))
    assert found["data"]["attributes"]["message"] == "Rejected by Ben: " + "x" * 983


def test_a_pending_run_task_is_running() -> None:
    attributes = {"status": "running", "message": "Waiting for a decision.", "url": PAGE}
    found = body(PROGRESS_FORMATS["terraform"], a_pause(), valid=False)
    assert found == {"data": {"type": "task-results", "attributes": attributes}}


SUBMISSION = {"formId": "mail", "agentId": "bot", "sessionId": "s1", "meta": {"threadId": "t1"}}


def test_the_result_of_gotohumans_review() -> None:
    posted, approved = {"draft": "Hello", "to": "a@x.org"}, {"draft": "Hello!", "to": "a@x.org", "cc": None}
    wanted = {"arguments": approved, "posted_arguments": posted, "metadata": {"submission": SUBMISSION}}
    assert body("gotohuman", ended(Status.APPROVED, "fine", **wanted)) == {
        "event": "review.completed",
        "type": "review",
        "accountId": "default",
        "reviewId": WATCH_ID,
        "agentId": "bot",
        "sessionId": "s1",
        "formId": "mail",
        "formName": "mail",
        "status": "approved",
        "comment": "fine",
        "reviewResult": {
            "response": "approved",
            "respondingUser": "Ben",
            "respondedAt": "2026-03-01T12:01:00.000Z",
            "data": approved,
        },
        "response": "approved",
        "respondingUser": "Ben",
        "respondedAt": "2026-03-01T12:01:00.000Z",
        "responseValues": {
            "draft": {"value": "Hello!", "wasEdited": True},
            "to": {"value": "a@x.org", "wasEdited": False},
            "cc": {"value": None, "wasEdited": True},
        },
        "meta": {"threadId": "t1"},
        "gthLink": PAGE,
        "gthLinkToReview": PAGE,
    }


@pytest.mark.parametrize(
    ("pause", "valid", "status", "comment"),
    [
        (
            ended(Status.APPROVED),
            False,
            "expired",
            "the approval expired before it reached the agent: request a new review",
        ),
        (ended(Status.REJECTED, "no"), False, "rejected", "no"),
        (ended(Status.EXPIRED), False, "expired", None),
        (ended(Status.CANCELLED), False, "cancelled", None),
    ],
)
def test_gotohuman_knows_every_other_end_as_a_rejection(
    pause: Pause, valid: bool, status: str, comment: str | None
) -> None:
    found = body("gotohuman", pause, valid=valid)
    assert (found["response"], found["reviewResult"]["response"]) == ("rejected", "rejected")
    assert (found["status"], found["comment"], found["responseValues"]) == (status, comment, {})


def test_the_webhook_of_awaithumans() -> None:
    schema = {"type": "object", "properties": {"approved": {"type": "boolean"}}, "required": ["approved"]}
    pause = ended(Status.APPROVED, external_id="refund-1", metadata={"submission": {"response_schema": schema}})
    empty = {"completed_by_email": None, "verification_attempt": 0}
    assert body("awaithumans", pause) == empty | {
        "task_id": WATCH_ID,
        "idempotency_key": "refund-1",
        "status": "completed",
        "response": {"approved": True},
        "completed_at": "2026-03-01T12:01:00.000Z",
        "timed_out_at": None,
        "completed_via_channel": "dashboard",
    }
    assert body("awaithumans", pause, valid=False) == empty | {
        "task_id": WATCH_ID,
        "idempotency_key": "refund-1",
        "status": "timed_out",
        "response": None,
        "completed_at": None,
        "timed_out_at": "2026-03-01T12:01:00.000Z",
        "completed_via_channel": None,
    }


def test_awaithumans_signs_with_a_derived_key_and_the_others_do_not() -> None:
    key = HKDF(SHA256(), 32, salt=b"awaithumans-webhook-v1", info=b"v1").derive(bytes(range(32)))
    signature = hmac.new(key, b"{}", hashlib.sha256).hexdigest()
    secrets = [f"whsec_{SECRET}", "whsec_AAAA"]
    assert FORMATS["awaithumans"].headers("{}", secrets) == {"X-Awaithumans-Signature": f"sha256={signature}"}
    for name in FORMATS.keys() - {"awaithumans"}:
        assert FORMATS[name].headers("{}", secrets) == {}

"""The claims of a receipt, for each way a pause ends, and the check of claims that a reader needs."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from domain.identity.access import Authentication
from domain.pauses import approval_policy
from domain.pauses.consumption import ExecutionReport, ExecutionStatus
from domain.pauses.execution import consume, report, settle
from domain.pauses.pause import Actor, Approve, Cancel, OnTimeout, Pause, Reject, Timeout, decide
from domain.pauses.receipt import action_digest, claims, wrong_claims
from domain.pauses.receipt_key import SigningKey, thumbprint
from domain.pauses.votes import Voter
from domain.values import canonical_json
from domain.values.errors import NotResolved, NotUnderstood

NOW = datetime(2026, 12, 2, 5, 0, tzinfo=UTC)
ANN = Actor("usr_a", "Ann", Authentication.PASSWORD)
BOB = Actor("usr_b", "Bob", Authentication.API_KEY)
ARGUMENTS = {"order": 1042, "amount": 129.0}
PENDING = Pause(
    id=UUID(int=7),
    namespace="shop",
    action="Refund order 1042 – žádost",
    created_by="key_agent",
    created_at=NOW - timedelta(minutes=5),
    arguments=ARGUMENTS,
    arguments_digest=canonical_json.digest(ARGUMENTS),
)
TWO = approval_policy.parse({"approvals": 2, "groups": ["finance"]})
VOTERS = tuple(Voter(id_, name, groups=("finance",)) for id_, name in (("usr_a", "Ann"), ("usr_b", "Bob")))


def receipt(pause: Pause) -> dict[str, Any]:
    return claims(pause, "https://hold.example", "rct_1", NOW + timedelta(seconds=90))


def decided(pause: Pause, *commands: Any, now: datetime = NOW) -> Pause:
    for command in commands:
        pause, _ = decide(pause, command, now, VOTERS)
    return pause


def test_an_approval_by_one_person() -> None:
    assert receipt(decided(PENDING, Approve(ANN))) == {
        "iss": "https://hold.example",
        "iat": 1796187690,
        "jti": "rct_1",
        "watch_id": "wch_00000000000000000000000000000007",
        "namespace": "shop",
        "revision": 1,
        "action_sha256": hashlib.sha256("Refund order 1042 – žádost".encode()).hexdigest(),
        "arguments_sha256": hashlib.sha256(b'{"amount":129,"order":1042}').hexdigest(),
        "outcome": "approved",
        "decided_at": "2026-12-02T05:00:00.000Z",
        "decided_by": "usr_a",
        "valid_until": None,
        "votes": [
            {
                "person": "usr_a",
                "name": "Ann",
                "outcome": "approved",
                "at": "2026-12-02T05:00:00.000Z",
                "auth": "password",
            }
        ],
        "policy": {
            "approvals": 1,
            "groups": [],
            "on_timeout": "expire",
            "sha256": hashlib.sha256(b'{"approvals":1}').hexdigest(),
        },
        "requested_by": "key_agent",
    }


def test_a_pending_pause_has_none() -> None:
    with pytest.raises(NotResolved):
        receipt(PENDING)


def test_each_vote_that_made_the_outcome() -> None:
    found = receipt(decided(replace(PENDING, review=TWO), Approve(ANN), Approve(BOB)))
    assert [(vote["person"], vote["auth"]) for vote in found["votes"]] == [("usr_a", "password"), ("usr_b", "api_key")]
    policy = {"approvals": 2, "groups": ["finance"]}
    digest = canonical_json.digest(policy).hex()
    assert found["policy"] == {**policy, "on_timeout": "expire", "sha256": digest}


def test_a_replaced_vote_is_left_out() -> None:
    edit = Approve(BOB, arguments={"order": 1})
    found = receipt(decided(replace(PENDING, review=TWO), Approve(ANN), edit, Approve(ANN, revision=2)))
    assert (found["revision"], found["outcome"]) == (2, "approved")
    assert [vote["person"] for vote in found["votes"]] == ["usr_b", "usr_a"]
    assert found["arguments_sha256"] == hashlib.sha256(b'{"order":1}').hexdigest()


def test_the_approvals_of_all_stages_are_required() -> None:
    stages = [{"approvals": 2, "groups": ["finance", "law"]}, {"approvals": 1, "groups": ["law"]}]
    pause = replace(decided(PENDING, Reject(ANN)), review=approval_policy.parse({"stages": stages}))
    policy = receipt(pause)["policy"]
    assert (policy["approvals"], policy["groups"]) == (3, ["finance", "law"])


def test_a_vote_for_an_absent_person_names_both() -> None:
    away = (Voter("usr_c", "Cid", groups=("finance",), delegate="usr_b"),)
    pause, _ = decide(replace(PENDING, review=approval_policy.parse({"groups": ["finance"]})), Approve(BOB), NOW, away)
    (vote,) = receipt(pause)["votes"]
    assert (vote["person"], vote["on_behalf_of"]) == ("usr_b", {"person": "usr_c", "name": "Cid"})


def test_an_unknown_authentication_is_not_guessed() -> None:
    (vote,) = receipt(decided(PENDING, Approve(Actor("usr_a", "Ann"))))["votes"]
    assert vote["auth"] == "unknown"


@pytest.mark.parametrize(
    ("on_timeout", "outcome"),
    [(OnTimeout.EXPIRE, "expired"), (OnTimeout.REJECT, "rejected"), (OnTimeout.APPROVE, "approved")],
)
def test_the_system_decides_without_votes(on_timeout: OnTimeout, outcome: str) -> None:
    """A vote that was not enough did not make the outcome."""
    pause = replace(PENDING, review=TWO, expires_at=NOW + timedelta(hours=1), on_timeout=on_timeout)
    found = receipt(decided(decided(pause, Approve(ANN)), Timeout(), now=NOW + timedelta(hours=1)))
    assert (found["outcome"], found["decided_by"], found["votes"]) == (outcome, "system", [])
    assert found["policy"]["on_timeout"] == on_timeout


def test_a_cancelled_pause_names_its_creator() -> None:
    found = receipt(decided(PENDING, Cancel(Actor("key_agent", "agent", Authentication.API_KEY))))
    assert (found["outcome"], found["decided_by"], found["votes"]) == ("cancelled", "key_agent", [])


def test_a_limit_and_the_use_of_the_approval() -> None:
    pause = decided(replace(PENDING, approval_valid_for=900), Approve(ANN))
    assert receipt(pause)["valid_until"] == "2026-12-02T05:15:00.000Z"
    assert not receipt(pause).keys() & {"consumed_at", "execution"}
    used, _ = consume(pause, "key-0001", None, NOW + timedelta(seconds=12))
    found = receipt(used)
    assert (found["consumed_at"], "execution" in found) == ("2026-12-02T05:00:12.000Z", False)
    at = NOW + timedelta(seconds=20)
    reported, _ = report(used, ExecutionReport(ExecutionStatus.SUCCEEDED, at, "done", {"refund": 7}))
    assert receipt(reported)["execution"] == {
        "status": "succeeded",
        "at": "2026-12-02T05:00:20.000Z",
        "result_sha256": hashlib.sha256(b'{"refund":7}').hexdigest(),
    }
    failed, _ = report(used, ExecutionReport(ExecutionStatus.FAILED, at))
    assert receipt(failed)["execution"] == {"status": "failed", "at": "2026-12-02T05:00:20.000Z"}
    unknown, _ = report(used, ExecutionReport(ExecutionStatus.UNKNOWN, at))
    settled, _ = settle(unknown, ExecutionReport(ExecutionStatus.FAILED, at, "no trace of it", by=ANN))
    assert receipt(settled)["execution"] == {**receipt(failed)["execution"], "settled_by": ANN.id}
    assert (wrong_claims(receipt(reported)), wrong_claims(receipt(settled))) == ([], [])


def test_no_arguments() -> None:
    pause = replace(PENDING, arguments=None, arguments_digest=None)
    assert receipt(decided(pause, Approve(ANN)))["arguments_sha256"] is None


def test_what_a_newer_release_has_written_gets_no_receipt() -> None:
    with pytest.raises(NotUnderstood):
        receipt(replace(decided(PENDING, Approve(ANN)), unreadable=("review.quorum",)))


def test_the_name_of_a_key_is_the_thumbprint_of_rfc_8037() -> None:
    """The example of its appendix A.3."""
    public = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert thumbprint(public) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert "private" not in SigningKey("k", public, "secret").jwk


def test_a_receipt_of_our_own_lacks_no_claim() -> None:
    assert wrong_claims(receipt(decided(PENDING, Approve(ANN)))) == []
    assert wrong_claims(receipt(decided(replace(PENDING, review=TWO), Approve(ANN), Approve(BOB)))) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("iss", None),
        ("iat", "now"),
        ("revision", True),
        ("arguments_sha256", 5),
        ("valid_until", 5),
        ("outcome", "pending"),
        ("votes", None),
        ("votes", ["Ann"]),
        ("votes", [{"person": "usr_a"}]),
        ("policy", []),
        ("policy", {"approvals": "2", "groups": []}),
        ("policy", {"approvals": 2, "groups": [1]}),
        ("consumed_at", 5),
        ("execution", "succeeded"),
        ("execution", {"status": 1, "at": ""}),
        ("execution", {"status": "failed", "at": "", "settled_by": None}),
    ],
)
def test_a_claim_of_another_type_is_named(name: str, value: Any) -> None:
    found = receipt(decided(PENDING, Approve(ANN)))
    assert wrong_claims({**found, name: value}) == [name]
    if name in ("iss", "iat", "arguments_sha256", "votes", "policy"):
        del found[name]
        assert wrong_claims(found) == [name]


def test_the_digest_of_an_action_is_that_of_its_text() -> None:
    assert action_digest("deploy") == hashlib.sha256(b"deploy").hexdigest()

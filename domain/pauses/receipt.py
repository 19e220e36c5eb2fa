"""The receipt of a decision: its claims, and what a reader may rely on. `adapters.receipts` signs and verifies it.

A receipt has digests of the action and the arguments, not their content, so that it may be shown to others.
"""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from domain.pauses.approval_policy import ApprovalPolicy
from domain.pauses.pause import SYSTEM, Decision, Pause, Status
from domain.pauses.serialization import all_votes, instant, instant_or_none
from domain.pauses.validity import valid_until
from domain.pauses.votes import Vote
from domain.values import canonical_json, ids
from domain.values.errors import NotResolved, NotUnderstood

# The type in the header, so that no other token of the same key passes for a receipt.
TYPE = "sagahold-receipt+jwt"
# A vote in a session of an earlier release does not say how its voter authenticated.
UNKNOWN = "unknown"


def action_digest(action: str) -> str:
    """Return the SHA-256 of the action's UTF-8 text, in hex."""
    return hashlib.sha256(action.encode("utf-8", "replace")).hexdigest()


def claims(pause: Pause, issuer: str, receipt_id: str, now: datetime) -> dict[str, Any]:
    """Return the claims of the pause's receipt. Raise `NotResolved`, `NotUnderstood`."""
    decision = pause.decision
    if decision is None:
        raise NotResolved
    if pause.unreadable:
        raise NotUnderstood
    digest = pause.arguments_digest
    return {
        "iss": issuer,
        "iat": int(now.timestamp()),
        "jti": receipt_id,
        "watch_id": ids.text(ids.WATCH, pause.id),
        "namespace": pause.namespace,
        "revision": pause.revision,
        "action_sha256": action_digest(pause.action),
        "arguments_sha256": None if digest is None else digest.hex(),
        "outcome": str(decision.outcome),
        "decided_at": instant(decision.at),
        "decided_by": decision.by.id,
        "valid_until": instant_or_none(valid_until(pause)),
        "votes": [_vote(vote) for vote in _deciding_votes(pause, decision)],
        "policy": _policy(pause),
        "requested_by": pause.created_by,
        **_use(pause),
    }


def _use(pause: Pause) -> dict[str, Any]:
    """Return the use of the approval, and the outcome that the agent reported or an operator settled."""
    used = pause.consumption
    if used is None:
        return {}
    report = used.report
    found = {"consumed_at": instant(used.at)}
    if report is None:
        return found
    execution = {"status": str(report.status), "at": instant(report.at)}
    if report.result is not None:
        execution["result_sha256"] = canonical_json.digest(report.result).hex()
    if report.by is not None:
        execution["settled_by"] = report.by.id
    return {**found, "execution": execution}


def _deciding_votes(pause: Pause, decision: Decision) -> Iterator[Vote]:
    """Yield the votes that made the outcome: none if time ran out, or the creator cancelled."""
    if decision.by.id == SYSTEM or decision.outcome not in (Status.APPROVED, Status.REJECTED):
        return
    yield from (vote for vote in all_votes(pause) if vote.counts)


def _vote(vote: Vote) -> dict[str, Any]:
    """Return a vote. Its id identifies the person for good; the name is the one at the time of the vote."""
    other = vote.on_behalf_of
    return {
        "person": vote.by.id,
        "name": vote.by.name,
        "outcome": str(Status.APPROVED if vote.approves else Status.REJECTED),
        "at": instant(vote.at),
        "auth": str(vote.by.auth or UNKNOWN),
    } | ({} if other is None else {"on_behalf_of": {"person": other.id, "name": other.name}})


def _policy(pause: Pause) -> dict[str, Any]:
    """Return a summary of the policy, and the digest by which the pause's `review` is compared with it."""
    policy: ApprovalPolicy = pause.review
    named = [name for stage in policy.stages for name in stage.voters.groups]
    document = policy.document()
    return {
        "approvals": sum(stage.approvals for stage in policy.stages),
        "groups": list(dict.fromkeys(named)),
        "on_timeout": str(pause.on_timeout),
        "sha256": canonical_json.digest(document).hex(),
    }


_TEXTS = ("iss", "jti", "watch_id", "action_sha256", "outcome", "decided_at", "decided_by", "requested_by")
_VOTE_TEXTS = ("person", "name", "outcome", "at", "auth")


def wrong_claims(found: Mapping[str, Any]) -> list[str]:
    """Return the names of the claims that a reader needs and that are missing or of another type."""
    wrong = [name for name in _TEXTS if not isinstance(found.get(name), str)]
    wrong += [name for name in ("iat", "revision") if not _is_whole(found.get(name))]
    wrong += [name for name in ("arguments_sha256", "valid_until") if not isinstance(found.get(name, 0), str | None)]
    if found.get("outcome") not in (Status.APPROVED, Status.REJECTED, Status.EXPIRED, Status.CANCELLED):
        wrong.append("outcome")
    votes = found.get("votes")
    if not isinstance(votes, list) or not all(map(_is_vote, votes)):
        wrong.append("votes")
    policy = found.get("policy")
    if not isinstance(policy, dict) or not _is_whole(policy.get("approvals")) or not _are_texts(policy.get("groups")):
        wrong.append("policy")
    if not isinstance(found.get("consumed_at", ""), str):
        wrong.append("consumed_at")
    execution = found.get("execution", {"status": "", "at": ""})
    if not isinstance(execution, dict) or not _are_texts(
        [execution.get("status"), execution.get("at"), execution.get("settled_by", "")]
    ):
        wrong.append("execution")
    return list(dict.fromkeys(wrong))


def _is_vote(vote: object) -> bool:
    return isinstance(vote, dict) and all(isinstance(vote.get(name), str) for name in _VOTE_TEXTS)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)

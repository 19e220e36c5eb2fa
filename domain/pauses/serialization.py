"""How a pause is told to the outside, in API answers and in webhooks: camelCase, ISO 8601 in UTC with milliseconds."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from domain.pauses.pause import SYSTEM, Event, Pause, Status
from domain.pauses.votes import Vote, approvals
from domain.values import ids


def instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instant_or_none(at: datetime | None) -> str | None:
    return None if at is None else instant(at)


def review_url(id_: UUID, public_url: str) -> str:
    """Where a person reads how to decide the pause."""
    return f"{public_url}/review/{ids.text(ids.WATCH, id_)}"


def pause_document(pause: Pause, public_url: str) -> dict[str, Any]:
    watch_id = ids.text(ids.WATCH, pause.id)
    decision = pause.decision
    return {
        "watchId": watch_id,
        "namespace": pause.namespace,
        "kind": pause.kind,
        "status": str(pause.status),
        "createdAt": instant(pause.created_at),
        "createdBy": pause.created_by,
        "expiresAt": instant_or_none(pause.expires_at),
        "onTimeout": str(pause.on_timeout),
        "resolvedAt": None if decision is None else instant(decision.at),
        "agentContext": {"action": pause.action, "context": pause.context or {}, "arguments": pause.arguments},
        "decision": _decision_document(pause),
        "review": pause.review.document(),
        "votes": _votes(pause),
        "waitingFor": waiting_for(pause),
        "claim": _claim_document(pause),
        "escalatedAt": instant_or_none(pause.escalated_at),
        "argumentsSchema": pause.arguments_schema,
        "responseSchema": pause.response_schema,
        "revision": pause.revision,
        "argumentsDigest": None if pause.arguments_digest is None else pause.arguments_digest.hex(),
        "priority": pause.priority,
        "tags": list(pause.tags),
        "metadata": pause.metadata or {},
        # Only where there is one: the digests of documents without it are in the log.
        **({} if pause.posted_arguments is None else {"postedArguments": pause.posted_arguments}),
        **({} if pause.external_id is None else {"externalId": pause.external_id}),
        "callbackUrl": pause.callback_url,
        "statusUrl": f"{public_url}/api/pause/{watch_id}",
        "reviewUrl": review_url(pause.id, public_url),
    } | ({"unreadable": list(pause.unreadable)} if pause.unreadable else {})


def _decision_document(pause: Pause) -> dict[str, Any] | None:
    decision = pause.decision
    if decision is None:
        return None
    return {
        "outcome": str(decision.outcome),
        "comment": decision.comment,
        "decidedBy": decision.by.id,
        "decidedByName": decision.by.name,
        "decidedAt": instant(decision.at),
        "arguments": pause.arguments,
        "response": decision.response,
        "votes": [vote for vote in _votes(pause) if vote["counts"]],
    }


def _votes(pause: Pause) -> list[dict[str, Any]]:
    """In the order in which they were cast, with those that no longer count."""
    votes, one = pause.votes, pause.decision
    if not votes and one is not None and one.outcome in (Status.APPROVED, Status.REJECTED) and one.by.id != SYSTEM:
        # The only one, which was not kept: the decision says it all.
        approves = one.outcome is Status.APPROVED
        votes = (Vote(one.by, approves, one.at, pause.revision, 0, one.comment, one.response),)
    return [_vote_document(vote) for vote in votes]


def _vote_document(vote: Vote) -> dict[str, Any]:
    other = vote.on_behalf_of
    return {
        "by": vote.by.id,
        "byName": vote.by.name,
        "onBehalfOf": None if other is None else {"id": other.id, "name": other.name},
        "outcome": str(Status.APPROVED if vote.approves else Status.REJECTED),
        "comment": vote.comment,
        "response": vote.response,
        "at": instant(vote.at),
        "revision": vote.revision,
        "stage": vote.stage,
        "counts": vote.counts,
    }


def waiting_for(pause: Pause) -> dict[str, Any] | None:
    """Whose votes are missing now."""
    if pause.status is not Status.PENDING:
        return None
    stage = pause.review.stages[pause.stage]
    asked = stage.asked if stage.asked.anybody else stage.asked | pause.escalated_to
    return {
        "stage": pause.stage,
        "stages": len(pause.review.stages),
        "name": stage.name,
        "approvals": stage.approvals,
        "approved": approvals(pause.votes, pause.stage),
        "groups": list(asked.groups),
        "assignees": list(asked.assignees),
    }


def _claim_document(pause: Pause) -> dict[str, Any] | None:
    claim = pause.claim
    if claim is None or pause.status is not Status.PENDING:
        return None
    until = instant(claim.until)
    return {"by": claim.by.id, "byName": claim.by.name, "at": instant(claim.at), "until": until}


def event_document(event: Event, public_url: str) -> dict[str, Any]:
    """The body of a Standard Webhook."""
    return {"type": event.type, "timestamp": instant(event.at), "data": pause_document(event.pause, public_url)}

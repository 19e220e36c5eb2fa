"""Pauses as JSON documents, for API responses and webhooks: camelCase, times in ISO 8601, UTC, with milliseconds."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from domain.pauses.content import CONTENT_FIELDS
from domain.pauses.pause import SYSTEM, Event, Pause, Status
from domain.pauses.validity import outcome_due_at, valid_until
from domain.pauses.votes import Vote, approvals
from domain.values import ids
from domain.values.errors import NotFound


def instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instant_or_none(at: datetime | None) -> str | None:
    return None if at is None else instant(at)


def pause_id(watch_id: str) -> UUID:
    """Parse the id that a caller wrote. Raise `NotFound` for text that is not the id of any pause."""
    id_ = ids.parse(ids.WATCH, watch_id)
    if id_ is None:
        raise NotFound(f"{watch_id[:64]!r} is not the id of a pause")
    return id_


def review_url(id_: UUID, public_url: str) -> str:
    """Return the address of the page on which a person decides the pause."""
    return f"{public_url}/review/{ids.text(ids.WATCH, id_)}"


def camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


# The document has each of these, with or without a value.
_ALWAYS = frozenset(
    {
        *("context", "arguments", "arguments_schema", "response_schema", "callback_url"),
        *("priority", "tags", "metadata"),
    }
)
# It never has this one: the door that sets it is in the metadata.
_HIDDEN = frozenset({"callback_format"})
# It has the other fields only if they have a value: the log keeps digests of documents that were written without them.
_OPTIONAL = {name: camel_case(name) for name in ("posted_arguments", *CONTENT_FIELDS) if name not in _ALWAYS | _HIDDEN}


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
        **{key: value for name, key in _OPTIONAL.items() if (value := getattr(pause, name)) is not None},
        "callbackUrl": pause.callback_url,
        "statusUrl": f"{public_url}/api/pause/{watch_id}",
        "reviewUrl": review_url(pause.id, public_url),
        **_consumption(pause),
    } | ({"unreadable": list(pause.unreadable)} if pause.unreadable else {})


def _consumption(pause: Pause) -> dict[str, Any]:
    """Return the field of a used approval."""
    used = pause.consumption
    if used is None:
        return {}
    report = used.report
    document = {"consumedAt": instant(used.at), "outcomeDueAt": instant_or_none(outcome_due_at(pause, used.at))}
    if report is None:
        return {"consumption": document}
    outcome = {
        "status": str(report.status),
        "note": report.note,
        "result": report.result,
        "reportedAt": instant(report.at),
        **({} if report.by is None else {"settledBy": report.by.id, "settledByName": report.by.name}),
    }
    return {"consumption": {**document, "outcome": outcome}}


def _decision_document(pause: Pause) -> dict[str, Any] | None:
    decision = pause.decision
    if decision is None:
        return None
    until = valid_until(pause)
    return {
        "outcome": str(decision.outcome),
        "comment": decision.comment,
        "decidedBy": decision.by.id,
        "decidedByName": decision.by.name,
        "decidedAt": instant(decision.at),
        "arguments": pause.arguments,
        "response": decision.response,
        "votes": [vote for vote in _votes(pause) if vote["counts"]],
    } | ({} if until is None else {"validUntil": instant(until)})


def _votes(pause: Pause) -> list[dict[str, Any]]:
    return [_vote_document(vote) for vote in all_votes(pause)]


def all_votes(pause: Pause) -> tuple[Vote, ...]:
    """Return all votes in their order, including those that no longer count."""
    votes, decision = pause.votes, pause.decision
    if not votes and decision is not None and decision.by.id != SYSTEM and decision.outcome in _BY_VOTE:
        # The only vote is not stored: the decision has all of it.
        approves = decision.outcome is Status.APPROVED
        only = Vote(decision.by, approves, decision.at, pause.revision, 0, decision.comment, decision.response)
        return (only,)
    return votes


_BY_VOTE = (Status.APPROVED, Status.REJECTED)


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
    """Return the voters and the number of approvals that the current stage still needs."""
    if pause.status is not Status.PENDING:
        return None
    stage = pause.review.stages[pause.stage]
    voters = stage.voters if stage.voters.anybody else stage.voters | pause.escalated_to
    return {
        "stage": pause.stage,
        "stages": len(pause.review.stages),
        "name": stage.name,
        "approvals": stage.approvals,
        "approved": approvals(pause.votes, pause.stage),
        "groups": list(voters.groups),
        "assignees": list(voters.assignees),
    }


def _claim_document(pause: Pause) -> dict[str, Any] | None:
    claim = pause.claim
    if claim is None or pause.status is not Status.PENDING:
        return None
    until = instant(claim.until)
    return {"by": claim.by.id, "byName": claim.by.name, "at": instant(claim.at), "until": until}


def event_document(event: Event, document: dict[str, Any]) -> dict[str, Any]:
    """Return the body of the event's Standard Webhook; `document` is that of its pause."""
    return {"type": event.type, "timestamp": instant(event.at), "data": document}


@dataclass(frozen=True, slots=True)
class RenderedEvent:
    """An event with its pause's document, rendered once for the response, the audit log and the webhooks."""

    event: Event
    document: dict[str, Any]

    @property
    def pause(self) -> Pause:
        return self.event.pause


def render_event(event: Event, public_url: str) -> RenderedEvent:
    return RenderedEvent(event, pause_document(event.pause, public_url))

"""How a pause is told to the outside, in API answers and in webhooks: camelCase, ISO 8601 in UTC with milliseconds."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from domain import ids
from domain.pause import SYSTEM, Event, Pause, Status


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
        "argumentsSchema": pause.arguments_schema,
        "responseSchema": pause.response_schema,
        "revision": pause.revision,
        "argumentsDigest": None if pause.arguments_digest is None else pause.arguments_digest.hex(),
        "priority": pause.priority,
        "tags": list(pause.tags),
        "metadata": pause.metadata or {},
        "callbackUrl": pause.callback_url,
        "statusUrl": f"{public_url}/api/pause/{watch_id}",
        "reviewUrl": review_url(pause.id, public_url),
    }


def _decision_document(pause: Pause) -> dict[str, Any] | None:
    decision = pause.decision
    if decision is None:
        return None
    said = {"outcome": str(decision.outcome), "comment": decision.comment}
    voted = decision.outcome in (Status.APPROVED, Status.REJECTED) and decision.by.id != SYSTEM
    vote = {"by": decision.by.id, "byName": decision.by.name, "at": instant(decision.at), "revision": pause.revision}
    return {
        **said,
        "decidedBy": decision.by.id,
        "decidedByName": decision.by.name,
        "decidedAt": instant(decision.at),
        "arguments": pause.arguments,
        "response": decision.response,
        "votes": [said | vote] if voted else [],
    }


def event_document(event: Event, public_url: str) -> dict[str, Any]:
    """The body of a Standard Webhook."""
    return {"type": event.type, "timestamp": instant(event.at), "data": pause_document(event.pause, public_url)}

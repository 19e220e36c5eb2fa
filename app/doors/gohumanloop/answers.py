"""The answers to GoHumanLoop's client, which polls until the status is final."""

from typing import Any

from app.doors.gohumanloop.loops import APPROVAL, CONVERSATION
from domain.pauses.pause import SYSTEM, Pause, Status
from domain.pauses.serialization import instant
from domain.values import canonical_json
from domain.values.errors import ApprovalExpired, ArgumentsChanged, ExecutionConflict

_PENDING, _APPROVED, _REJECTED, _EXPIRED = "pending", "approved", "rejected", "expired"
_EDITED = "The reviewer approved other arguments, and this client runs the old ones. Call it again with these: "


def status_document(pause: Pause, refused: ExecutionConflict | None) -> dict[str, Any]:
    """Return the state of the request. `refused`: why the client must not act on the approval."""
    decision = pause.decision
    if decision is None:
        return _document(_PENDING)
    by = {"responded_by": decision.by.name, "responded_at": instant(decision.at)}
    if isinstance(refused, ArgumentsChanged):
        said = f"{decision.comment}\n" if decision.comment else ""
        reason = f"{said}{_EDITED}{canonical_json.encode(pause.arguments)}"
        return _document(_REJECTED, response=_verdict(_REJECTED, reason), **by)
    if isinstance(refused, ApprovalExpired):
        return _document(_EXPIRED, error="the approval expired before it was used: request a new one", **by)
    if refused is not None:
        return _document("error", error=refused.detail, **by)
    if pause.status is Status.APPROVED:
        return _approved(pause, by)
    if pause.status is Status.REJECTED and decision.by.id != SYSTEM:
        return _document(_REJECTED, response=_verdict(_REJECTED, decision.comment), **by)
    if pause.status is Status.CANCELLED:
        return _document("cancelled", error="the request was cancelled", **by)
    return _document(_EXPIRED, error="the request expired before anyone decided", **by)


def error_document(detail: str) -> dict[str, Any]:
    """Return a final state: after an HTTP error the client would wait without end, but not ask again."""
    return _document("error", error=detail)


def _approved(pause: Pause, by: dict[str, Any]) -> dict[str, Any]:
    decision, kind = pause.decision, loop_type_of(pause)
    assert decision is not None, "the pause is approved"
    if kind == APPROVAL:
        return _document(_APPROVED, response=_verdict(_APPROVED, decision.comment), **by)
    response, feedback = decision.response, decision.comment
    goes_on = kind == CONVERSATION and not (isinstance(response, dict) and response.get("end"))
    return _document("inprogress" if goes_on else "completed", response=response, feedback=feedback, **by)


def loop_type_of(pause: Pause) -> str:
    submission = (pause.metadata or {}).get("submission")
    return str(submission.get("loop_type")) if isinstance(submission, dict) else APPROVAL


def _verdict(decision: str, comment: str | None) -> dict[str, str]:
    return {"decision": decision, "reason": comment or ""}


def _document(status: str, **more: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("error", "response", "feedback", "responded_by", "responded_at"))
    return {"success": True, "status": status, **empty, **more}

"""A pause in the words of the tools: a structured result for programs, and a text that tells a model what it may do.

`approved` is true only while the action may still be executed: the approval is valid, and is not used yet. A model that
looks at nothing else therefore cannot run an action again, or late.
"""

from datetime import UTC, datetime
from typing import Any

from app.deps import deps
from domain.pauses.consumption import ExecutionStatus
from domain.pauses.door import object_in
from domain.pauses.pause import Pause, Status
from domain.pauses.serialization import instant, pause_document
from domain.pauses.validity import valid_until
from domain.values import canonical_json

QUESTION = "ask_human"
_NOT_AGAIN = "Do not execute the action, and no variant of it that avoids this decision."


def is_question(pause: Pause) -> bool:
    return bool(object_in(pause.metadata, "client").get("tool") == QUESTION)


def decision_result(pause: Pause, *, just_used: bool = False, blocked: str | None = None) -> dict[str, Any]:
    """Return the result of a tool call about this pause.

    Args:
        just_used: this call has used the approval, so the action may be executed.
        blocked: why the approval cannot be used.
    """
    found = _structured(pause, just_used=just_used)
    if blocked is None:
        return _tool_result(_text(pause, found, just_used), found)
    return _tool_result(f"{blocked} {_NOT_AGAIN}", {**found, "approved": False})


def arguments_changed(pause: Pause) -> dict[str, Any]:
    """Return the result for a model that is about to execute other arguments than the approved ones."""
    approved = "none" if pause.arguments is None else canonical_json.encode(pause.arguments)
    text = (
        f"ARGUMENTS CHANGED: do not execute yours. The approved arguments are {approved}. Call use_approval with"
        " these, or without arguments; the approval is still unused."
    )
    return _tool_result(text, {**_structured(pause, just_used=False), "approved": False})


def _tool_result(text: str, structured: dict[str, Any]) -> dict[str, Any]:
    # The second block is for clients that do not read `structuredContent`.
    blocks = [text, canonical_json.encode(structured)]
    content = [{"type": "text", "text": block} for block in blocks]
    return {"content": content, "structuredContent": structured, "isError": False}


def _structured(pause: Pause, *, just_used: bool) -> dict[str, Any]:
    document = pause_document(pause, deps().database.public_url)
    decision, used = document["decision"], document.get("consumption")
    names = ("outcome", "decidedBy", "decidedByName", "decidedAt", "comment", "arguments", "response", "validUntil")
    found: dict[str, Any] = {
        "watchId": document["watchId"],
        "status": document["status"],
        "approved": just_used or _may_be_used(pause),
        "reviewUrl": document["reviewUrl"],
        "expiresAt": document["expiresAt"],
        "argumentsDigest": document["argumentsDigest"],
        "edited": pause.posted_arguments is not None,
        "used": used is not None,
    }
    if decision is not None:
        found["decision"] = {name: decision[name] for name in names if name in decision}
    if used is not None:
        found["usedAt"] = used["consumedAt"]
        if "outcome" in used:
            found["execution"] = used["outcome"]["status"]
    if is_question(pause):
        found["answered"] = None if pause.status is Status.PENDING else pause.status is Status.APPROVED
        found["answer"] = decision["response"] if pause.status is Status.APPROVED else None
    return found


def _may_be_used(pause: Pause) -> bool | None:
    if pause.status is Status.PENDING:
        return None
    if is_question(pause):
        return pause.status is Status.APPROVED
    return pause.status is Status.APPROVED and pause.consumption is None and not is_stale(pause)


def is_stale(pause: Pause) -> bool:
    until = valid_until(pause)
    return until is not None and until <= datetime.now(UTC)


def _text(pause: Pause, found: dict[str, Any], just_used: bool) -> str:
    by = "" if pause.decision is None else _by(pause)
    match pause.status:
        case Status.PENDING:
            return _pending(pause, found)
        case Status.APPROVED if is_question(pause):
            return f"ANSWERED{by} The answer is {canonical_json.encode(found['answer'])}."
        case Status.APPROVED:
            return _approved(pause, found, by, just_used)
        case Status.REJECTED if is_question(pause):
            return f"DECLINED{by} This question has no answer: do not guess the answer, and do not ask it again."
        case Status.REJECTED:
            return f"REJECTED{by} {_NOT_AGAIN} Adapt to the reason if there is one, or tell the user."
        case Status.EXPIRED:
            return f"EXPIRED: no decision came in time, and silence is not consent. {_NOT_AGAIN} Tell the user."
        case _:
            return f"CANCELLED{by} {_NOT_AGAIN}"


def _pending(pause: Pause, found: dict[str, Any]) -> str:
    until = "" if pause.expires_at is None else f" until {instant(pause.expires_at)}"
    held = "Do not guess the answer." if is_question(pause) else "Do not execute the action."
    return (
        f"PENDING: no decision yet. {held} Call wait_for_decision with watchId {found['watchId']} to wait longer."
        f" A person decides at {found['reviewUrl']}; the request stays open{until}."
    )


def _approved(pause: Pause, found: dict[str, Any], by: str, just_used: bool) -> str:
    edited = " A reviewer changed the arguments: yours are not approved." if found["edited"] else ""
    exactly = (
        "" if pause.arguments is None else f", with exactly these arguments: {canonical_json.encode(pause.arguments)}"
    )
    if just_used:
        return (
            f"GO: execute the action now, once{exactly}.{edited} Then call record_outcome with watchId"
            f" {found['watchId']}. This approval is used now and allows no second execution."
        )
    if pause.consumption is not None:
        return (
            f"ALREADY USED at {instant(pause.consumption.at)}.{_reported(pause)} Do not execute the action again. For"
            " another execution, call request_approval again."
        )
    until = valid_until(pause)
    if is_stale(pause):
        return (
            f"TOO LATE: the approval was valid until {found['decision']['validUntil']}, and was not used. {_NOT_AGAIN}"
        )
    limit = "" if until is None else f" The approval is valid until {instant(until)}."
    return (
        f"APPROVED{by} Do not execute the action yet: call use_approval with watchId {found['watchId']} immediately"
        f" before. Execute only if it says GO, with exactly the arguments that it returns.{edited}{limit}"
    )


def _reported(pause: Pause) -> str:
    report = None if pause.consumption is None else pause.consumption.report
    if report is None:
        return " No outcome is recorded: find out whether the action ran, and call record_outcome."
    if report.status is ExecutionStatus.UNKNOWN:
        return " The outcome is unknown: a person looks into it."
    return f" It {report.status}."


def _by(pause: Pause) -> str:
    assert pause.decision is not None, "only a decided pause has one"
    comment = pause.decision.comment
    return f" by {pause.decision.by.name}" + (f": {comment.rstrip('.')}." if comment else ".")

"""The answers to HumanLayer's clients.

A client polls until `approved` or `response` has a value. It then executes the function only for `approved: true`, and
gives the comment or the response to its model. `approved: false` without a comment is an error inside the client.
"""

from typing import Any

from domain.pauses.door import object_in
from domain.pauses.pause import SYSTEM, Pause, Status
from domain.pauses.serialization import instant, instant_or_none
from domain.pauses.validity import valid_until
from domain.values import canonical_json
from domain.values.errors import ApprovalExpired, ArgumentsChanged, ExecutionConflict

_ENDED = {
    Status.REJECTED: "Rejected without a comment.",
    Status.EXPIRED: "The request expired before anyone decided.",
    Status.CANCELLED: "The request was cancelled.",
}


def document(call_id: str, pause: Pause, status: dict[str, Any]) -> dict[str, Any]:
    run_id = object_in(pause.metadata, "client").get("run", "")
    return {"run_id": run_id, "call_id": call_id, "spec": spec_of(pause), "status": status}


def spec_of(pause: Pause) -> dict[str, Any]:
    """Return the client's description; empty for a pause that the agent made through the API itself."""
    return object_in(pause.metadata, "submission")


def function_call_status(pause: Pause, refused: ExecutionConflict | None) -> dict[str, Any]:
    """Return the status of a function call. `refused`: why the client must not act on the approval."""
    option = chosen_option(pause)
    approved = (
        None if pause.decision is None else pause.status is Status.APPROVED and refused is None and option is None
    )
    return {
        **_times(pause),
        "approved": approved,
        "comment": _reason(pause, refused, option) if approved is False else _comment(pause),
        "reject_option_name": option if approved is False else None,
        "slack_message_ts": None,
    }


def human_contact_status(pause: Pause, refused: ExecutionConflict | None) -> dict[str, Any]:
    """Return the status of a question. Its response also tells that there will be no answer."""
    option, text = chosen_option(pause), None
    answered = pause.decision is not None and pause.status is Status.APPROVED and refused is None
    if pause.decision is not None and answered:
        response = pause.decision.response
        own = response.get("text") if isinstance(response, dict) else response
        text = own or _filled(pause, "response_options", option) or _comment(pause) or "Approved without an answer."
    elif pause.decision is not None:
        text = f"There is no answer. {_reason(pause, refused, None)}"
    return {**_times(pause), "response": text, "response_option_name": option if answered else None}


def chosen_option(pause: Pause) -> str | None:
    """Return the name of the option in the reviewer's response."""
    response = None if pause.decision is None else pause.decision.response
    option = response.get("option") if isinstance(response, dict) else None
    return option if isinstance(option, str) else None


def _times(pause: Pause) -> dict[str, Any]:
    decided = None if pause.decision is None else pause.decision.at
    return {"requested_at": instant(pause.created_at), "responded_at": instant_or_none(decided)}


def _comment(pause: Pause) -> str | None:
    return None if pause.decision is None else pause.decision.comment


def _reason(pause: Pause, refused: ExecutionConflict | None, option: str | None) -> str:
    """Return why the function must not run, for the model."""
    said = _comment(pause)
    if isinstance(refused, ArgumentsChanged):
        arguments = canonical_json.encode(pause.arguments)
        more = f" {said}" if said else ""
        return f"Approved only with other arguments. Call the function again with exactly these: {arguments}{more}"
    if isinstance(refused, ApprovalExpired):
        until = instant_or_none(valid_until(pause))
        return f"The approval ended at {until} without being used. Request a new one."
    if refused is not None:
        return f"The approval cannot be used: {refused.detail}."
    if pause.status is Status.APPROVED:
        why = f"The reviewer approved, but also chose the reason {option!r} for a rejection. Request a new decision."
        return f"{why} {said}" if said else why
    by_system = pause.decision is not None and pause.decision.by.id == SYSTEM
    default = _ENDED[Status.EXPIRED] if by_system else _ENDED[pause.status]
    return said or _filled(pause, "reject_options", option) or default


def _filled(pause: Pause, options: str, name: str | None) -> str | None:
    """Return the text for the chosen option."""
    for each in spec_of(pause).get(options) or ():
        if name is not None and each["name"] == name:
            return str(each.get("prompt_fill") or each.get("title") or name)
    return name

"""The descriptions and schemas of the tools, as models read them."""

from types import MappingProxyType
from typing import Any

from domain.pauses.consumption import MAX_NOTE, ExecutionStatus
from domain.pauses.creation import MAX_EXPIRY
from domain.pauses.pause import OnTimeout, Status

# Seconds. Many clients give up a call after 60 s.
DEFAULT_WAIT, MAX_WAIT = 25, 50

INSTRUCTIONS = (
    "Sagahold holds a risky action until a person has decided on it. Before such an action call request_approval, then"
    " wait_for_decision until the status is no longer pending. If it is approved, call use_approval immediately before"
    " you execute the action. Execute only if that call says GO: once, with exactly the arguments that it returns."
    " Then call record_outcome. If the request is rejected, expired or cancelled, do not execute the action."
    " You cannot decide on your own request."
)
_WATCH_ID = {"type": "string", "description": "The watchId that request_approval or ask_human returned."}
_WAIT = {
    "type": "integer",
    "minimum": 0,
    "maximum": MAX_WAIT,
    "default": DEFAULT_WAIT,
    "description": f"The seconds to wait for the decision in this call, at most {MAX_WAIT}."
    " It does not limit the request.",
}
_EXPIRES_IN = {
    "type": "integer",
    "minimum": 1,
    "maximum": int(MAX_EXPIRY.total_seconds()),
    "description": "The seconds that people have for the decision. Leave it out for the server's default.",
}
_KEY = {
    "type": "string",
    "minLength": 1,
    "maxLength": 200,
    "description": "Your own stable name of this one request, like refund-order-4711. Repeating it returns the same"
    " request instead of a new one, also after a crash.",
}
_CONTEXT = {"type": "object", "description": "Whatever helps the person to decide."}
_RESULT = {
    "type": "object",
    "properties": {
        "watchId": {"type": "string"},
        "status": {"type": "string", "enum": [str(status) for status in Status]},
        "approved": {
            "type": ["boolean", "null"],
            "description": "null while pending; true only while the approval is valid and not used yet.",
        },
        "reviewUrl": {"type": "string", "description": "The page on which a person decides."},
        "expiresAt": {"type": ["string", "null"]},
        "decision": {
            "type": "object",
            "properties": {
                "outcome": {"type": "string"},
                "decidedBy": {"type": "string"},
                "decidedByName": {"type": "string"},
                "decidedAt": {"type": "string"},
                "comment": {"type": ["string", "null"]},
                "arguments": {
                    "type": ["object", "null"],
                    "description": "Exactly what was approved; a person may have changed it.",
                },
                "response": {"description": "The person's answer, as response_schema asks."},
                "validUntil": {"type": "string"},
            },
        },
        "argumentsDigest": {"type": ["string", "null"]},
        "edited": {"type": "boolean", "description": "A person changed the arguments."},
        "used": {"type": "boolean"},
        "usedAt": {"type": "string"},
        "execution": {"type": "string", "enum": [str(status) for status in ExecutionStatus]},
    },
    "required": ["watchId", "status", "approved", "reviewUrl", "edited", "used"],
}
_ANSWER = {
    **_RESULT,
    "properties": {
        **_RESULT["properties"],  # type: ignore[dict-item]
        "answered": {"type": ["boolean", "null"], "description": "null while pending."},
        "answer": {"description": "The person's answer; null without one."},
    },
}


def _tool(
    name: str,
    title: str,
    description: str,
    properties: dict[str, Any],
    required: tuple[str, ...],
    *,
    output: dict[str, Any] = _RESULT,
    **hints: bool,
) -> dict[str, Any]:
    return {
        "name": name,
        "title": title,
        "description": description,
        "inputSchema": {
            "type": "object",
            "properties": properties,
            "required": list(required),
            "additionalProperties": False,
        },
        "outputSchema": output,
        "annotations": {"title": title, "destructiveHint": False, "openWorldHint": False, **hints},
    }


_ALL = (
    _tool(
        "request_approval",
        "Ask a person to approve an action",
        "Ask a person to approve one action before you execute it, and wait a little for the decision. The result has"
        " approved: null while no person has decided; then call wait_for_decision. An approval allows one execution,"
        " and only after use_approval says GO. If approved is false, do not execute the action.",
        {
            "action": {
                "type": "string",
                "minLength": 1,
                "maxLength": 500,
                "description": "The action in one line that a person understands without other context.",
            },
            "arguments": {
                "type": "object",
                "description": "Exactly what will be executed. A person may change it before approving.",
            },
            "arguments_schema": {"type": "object", "description": "A JSON Schema that changed arguments must match."},
            "context": _CONTEXT,
            "review": {
                "type": "object",
                "description": 'Who has to agree, like {"approvals": 2, "groups": ["finance"]}. Leave it out for the'
                " default.",
            },
            "response_schema": {"type": "object", "description": "A JSON Schema of what the approver has to answer."},
            "expires_in": _EXPIRES_IN,
            "on_timeout": {
                "type": "string",
                "enum": [str(value) for value in OnTimeout],
                "description": "The result at the end of that time; the default is expire.",
            },
            "idempotency_key": _KEY,
            "wait_seconds": _WAIT,
        },
        ("action",),
    ),
    _tool(
        "wait_for_decision",
        "Wait for the decision",
        "Wait until a person has decided on the request, or the seconds are over. While the status is pending, call it"
        " again; the request stays open also if you stop waiting.",
        {"watchId": _WATCH_ID, "wait_seconds": _WAIT},
        ("watchId",),
        readOnlyHint=True,
        idempotentHint=True,
    ),
    _tool(
        "get_decision",
        "Read the decision",
        "Read the state of a request without waiting.",
        {"watchId": _WATCH_ID},
        ("watchId",),
        readOnlyHint=True,
        idempotentHint=True,
    ),
    _tool(
        "use_approval",
        "Use the approval, once",
        "Call this immediately before you execute an approved action. Only if the result says GO (approved: true),"
        " execute the action, once, with exactly the returned arguments. Each approval says GO to one call only, and"
        " not after its validity ends. Any other result means: do not execute. If an earlier call said GO and you do"
        " not know whether the action ran, do not run it again. Call record_outcome with status unknown, and tell the"
        " user.",
        {
            "watchId": _WATCH_ID,
            "arguments": {
                "type": "object",
                "description": "The arguments that you are about to execute. If they are not the approved ones, the"
                " call is refused, and the approval stays unused.",
            },
        },
        ("watchId",),
    ),
    _tool(
        "record_outcome",
        "Record the outcome of the action",
        "Report the outcome of the approved action after you have executed it. The first report counts. With status"
        " unknown a person looks into it.",
        {
            "watchId": _WATCH_ID,
            "status": {"type": "string", "enum": [str(status) for status in ExecutionStatus]},
            "note": {"type": "string", "maxLength": MAX_NOTE, "description": "A note for people, like a reference."},
            "result": {"description": "The result of the action, any JSON value up to 64 KiB."},
        },
        ("watchId", "status"),
        idempotentHint=True,
    ),
    _tool(
        "cancel_request",
        "Take the request back",
        "Take a pending request back, because the action is no longer needed.",
        {"watchId": _WATCH_ID, "reason": {"type": "string", "maxLength": 10_000}},
        ("watchId",),
        idempotentHint=True,
    ),
    _tool(
        "ask_human",
        "Ask a person a question",
        "Ask a person a question and wait a little for the answer. While answered is null, call wait_for_decision. An"
        " answer is no approval of an action: for that, use request_approval.",
        {
            "question": {"type": "string", "minLength": 1, "maxLength": 500},
            "options": {
                "type": "array",
                "items": {"type": "string", "minLength": 1, "maxLength": 200},
                "minItems": 1,
                "maxItems": 50,
                "uniqueItems": True,
                "description": "The possible answers.",
            },
            "schema": {"type": "object", "description": "A JSON Schema of the answer, instead of options."},
            "context": _CONTEXT,
            "assignees": {
                "type": "array",
                "items": {"type": "string"},
                "minItems": 1,
                "maxItems": 50,
                "description": "E-mail addresses of those who may answer. Leave it out for every reviewer.",
            },
            "expires_in": _EXPIRES_IN,
            "idempotency_key": _KEY,
            "wait_seconds": _WAIT,
        },
        ("question",),
        output=_ANSWER,
    ),
)
TOOLS: MappingProxyType[str, dict[str, Any]] = MappingProxyType({tool["name"]: tool for tool in _ALL})

"""The results of awaithumans' tasks, for its clients and its webhook.

A task's result is a form that the reviewer filled in. One yes-or-no field with a name such as `approved` may be the
decision itself. The reviewer fills in the rest. A form without such a field cannot say no, so a rejection is a
cancellation.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from domain.pauses.callbacks.callback_format import CallbackFormat
from domain.pauses.door import object_in
from domain.pauses.pause import SYSTEM, Pause, Status
from domain.pauses.serialization import instant_or_none
from domain.pauses.validity import valid_until
from domain.values import ids, json_schema

# Only these names say that true is a yes: false in a field `blocked` would be a yes as well.
DECISIONS = frozenset({"approve", "approved", "accept", "accepted", "ok"})
COMMENTS = ("reason", "comment", "comments", "note", "notes", "feedback", "message")
_SALT, _INFO = b"awaithumans-webhook-v1", b"v1"


@dataclass(frozen=True, slots=True)
class TaskResult:
    """The status of a task in the client's words. `response` has a value only for `completed`."""

    status: str
    response: dict[str, Any] | None = None
    completed_at: datetime | None = None
    timed_out_at: datetime | None = None


def decision_field(schema: dict[str, Any]) -> str | None:
    """Return the only yes-or-no field that the decision itself answers."""
    found = [name for name, part in _properties(schema).items() if name in DECISIONS and _may_be(part, "boolean")]
    return found[0] if len(found) == 1 else None


def form_schema(schema: dict[str, Any]) -> dict[str, Any] | None:
    """Return the schema of the fields that the reviewer fills in; None without any."""
    decision = decision_field(schema)
    if decision is None:
        return schema
    left = {name: part for name, part in _properties(schema).items() if name != decision}
    required = [name for name in schema.get("required", ()) if name != decision]
    if not left:
        return None
    # An approval needs no response if each field may stay empty.
    kind = {"type": "object" if required else ["object", "null"]}
    return {**schema, **kind, "properties": left, "required": required}


def result(pause: Pause, valid: bool) -> TaskResult:
    """Return the result. `valid`: this client has just used the approval, in time."""
    decision = pause.decision
    if decision is None:
        return TaskResult("created")
    by_system = decision.by.id == SYSTEM and pause.status is not Status.APPROVED
    if pause.status is Status.APPROVED and not valid:
        return TaskResult("timed_out", timed_out_at=valid_until(pause) or decision.at)
    if pause.status is Status.EXPIRED or (by_system and pause.status is Status.REJECTED):
        return TaskResult("timed_out", timed_out_at=decision.at)
    if pause.status is Status.CANCELLED:
        return TaskResult("cancelled")
    response = _response(pause)
    return TaskResult("cancelled") if response is None else TaskResult("completed", response, decision.at)


def _response(pause: Pause) -> dict[str, Any] | None:
    """Return the form's content; None if the decision does not fit into the form."""
    decision, approved = pause.decision, pause.status is Status.APPROVED
    schema = object_in(pause.metadata, "submission").get("response_schema")
    if decision is None or not isinstance(schema, dict):
        return None
    field = decision_field(schema)
    if field is None and not approved:
        return None
    filled = dict(decision.response) if isinstance(decision.response, dict) else {}
    if field is not None:
        filled[field] = approved
    said = decision.comment or (None if approved else "Rejected without a comment.")
    for name in COMMENTS:
        if said is not None and filled.get(name) is None and _may_be(_properties(schema).get(name), "string"):
            filled[name] = said
            break
    return None if any(json_schema.value_errors(schema, filled, "response")) else filled


def _properties(schema: dict[str, Any]) -> dict[str, Any]:
    found = schema.get("properties")
    return found if isinstance(found, dict) else {}


def _may_be(part: object, kind: str) -> bool:
    """Return whether the part is of this type, or of this type or null."""
    if not isinstance(part, dict):
        return False
    options = part["anyOf"] if isinstance(part.get("anyOf"), list) else [part]
    kinds = [option.get("type") if isinstance(option, dict) else None for option in options]
    return kind in kinds and all(each in (kind, "null") for each in kinds)


def _document(pause: Pause, _public_url: str, valid: bool) -> dict[str, Any]:
    found = result(pause, valid)
    return {
        "task_id": ids.text(ids.WATCH, pause.id),
        "idempotency_key": pause.external_id,
        "status": found.status,
        "response": found.response,
        "completed_at": instant_or_none(found.completed_at),
        "timed_out_at": instant_or_none(found.timed_out_at),
        "completed_by_email": None,
        "completed_via_channel": "dashboard" if found.status == "completed" else None,
        "verification_attempt": 0,
    }


def _headers(body: str, secrets: Sequence[str]) -> dict[str, str]:
    """Sign with a key that HKDF-SHA256 derives from the newest secret, in one block of output."""
    secret = base64.b64decode(secrets[0].removeprefix("whsec_"))
    key = hmac.digest(hmac.digest(_SALT, secret, "sha256"), _INFO + b"\x01", "sha256")
    return {"X-Awaithumans-Signature": f"sha256={hmac.new(key, body.encode(), hashlib.sha256).hexdigest()}"}


FORMAT = CallbackFormat(_document, _headers)

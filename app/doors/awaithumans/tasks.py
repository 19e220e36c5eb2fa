"""Tasks of awaithumans' client, as pauses, and pauses as its answers."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from app.doors.door import MAX_EXTERNAL_ID
from app.doors.fields import required_text, short
from domain.pauses.callbacks.awaithumans import TaskResult, form_schema
from domain.pauses.door import object_in
from domain.pauses.pause import Pause
from domain.pauses.serialization import instant, instant_or_none
from domain.values import canonical_json, ids, json_schema
from domain.values.errors import Invalid
from domain.values.field_reader import FieldErrors, FieldReader

# Seconds that the client accepts: a minute to 30 days.
MIN_TIMEOUT, MAX_TIMEOUT = 60, 2_592_000
MAX_ACTION, MAX_FACT = 500, 200
# Requests that would change who sees or decides what, and that this server cannot keep.
_REFUSED = {
    "verifier_config": "is not possible here: no model checks the response of a reviewer",
    "redact_payload": "is not possible here: every reviewer of the namespace sees the payload",
    "redact_response_after_submit": "is not possible here: the server keeps the response",
    "initial_response": "is not possible here: the form begins empty",
}
_ASSIGN = (
    "must be an e-mail address, a list of addresses, or a pool or role with the name of a group."
    " Set everything else in the approval policy of the namespace"
)


@dataclass(frozen=True, slots=True)
class Task:
    """A task that the client asks for.

    Attributes:
        key: its idempotency key.
        submission: what identifies the task; another request with the key must be equal in this.
        wanted: fields of `PauseRequest`.
    """

    key: str
    submission: dict[str, Any]
    wanted: dict[str, Any]


def read_task(body: dict[str, Any]) -> Task:
    """Read a request for a task. Raise `Invalid`."""
    errors = FieldErrors()
    task = FieldReader(errors, "", body)
    title = required_text(task, "task", most=canonical_json.MAX_BYTES)
    key = required_text(task, "idempotency_key", most=MAX_EXTERNAL_ID)
    payload, schema = (_object(task, name) for name in ("payload", "response_schema"))
    # The whole schema, because the form has only a part of it.
    errors.found += json_schema.schema_errors(schema, "response_schema")
    timeout = task.whole("timeout_seconds", MIN_TIMEOUT, MAX_TIMEOUT)
    if timeout is None and body.get("timeout_seconds") is None:
        task.field_error("timeout_seconds", f"is missing: give {MIN_TIMEOUT} to {MAX_TIMEOUT} seconds")
    facts = task.text_mapping("task_metadata")
    notify = task.texts("notify")
    for name, why in _REFUSED.items():
        if task.raw(name) not in (None, False):
            task.field_error(name, why)
    review = _review(task)
    callback = task.text("callback_url", most=2_048)
    if errors.found:
        raise Invalid(errors.found)
    same = ("task", "payload", "response_schema", "assign_to", "callback_url", "task_metadata")
    submission = {name: body[name] for name in same if body.get(name) is not None}
    words = {**facts, **({"notify": ", ".join(notify)} if notify else {})}
    wanted: dict[str, Any] = {
        "action": short(title, MAX_ACTION),
        "context": {**({"task": title} if len(title) > MAX_ACTION else {}), **facts} or None,
        "arguments": payload,
        # The client acts on its own copy of the payload, so nothing but exactly this can be approved.
        "arguments_schema": {"const": payload},
        "response_schema": form_schema(schema),
        "expires": timedelta(seconds=timeout or 0),
        "review": review,
        "callback_url": callback,
        "callback_format": None if callback is None else "awaithumans",
        "metadata": {
            "client": {name: short(text, MAX_FACT) for name, text in words.items()},
            "request": {name: body.get(name) for name in ("payload_schema", "form_definition", "timeout_seconds")},
        },
    }
    return Task(key, submission, wanted)


def _object(task: FieldReader, name: str) -> dict[str, Any]:
    value = task.raw(name, required=True)
    if isinstance(value, dict):
        if canonical_json.size(value) > canonical_json.MAX_BYTES // 4:
            task.field_error(name, f"is larger than {canonical_json.MAX_BYTES // 4 // 1024} KiB")
        return value
    if task.has(name):
        task.field_error(name, "is not an object")
    return {}


def _review(task: FieldReader) -> dict[str, Any] | None:
    """Return the policy for `assign_to`; None without one."""
    match task.raw("assign_to"):
        case None:
            return None
        case {"email": str(address), **others} if not others:
            return {"assignees": [address]}
        case {"emails": [_, *_] as addresses, **others} if not others:
            return {"assignees": addresses}
        case {"pool": str(group), **others} if not others:
            return {"groups": [group]}
        case {"role": str(group), **others} if not any(others.values()):
            return {"groups": [group]}
        case _:
            task.field_error("assign_to", _ASSIGN)
            return None


def task_document(pause: Pause, result: TaskResult) -> dict[str, Any]:
    submission, asked = (object_in(pause.metadata, name) for name in ("submission", "request"))
    decided = pause.created_at if pause.decision is None else pause.decision.at
    completed = result.status == "completed"
    assigned = object_in(submission, "assign_to")
    return {
        "id": ids.text(ids.WATCH, pause.id),
        "idempotency_key": pause.external_id,
        "task": submission.get("task", pause.action),
        "payload": pause.arguments,
        "payload_schema": asked.get("payload_schema") or {},
        "response_schema": submission.get("response_schema", {}),
        "form_definition": asked.get("form_definition"),
        "task_metadata": submission.get("task_metadata"),
        "status": result.status,
        "assign_to": submission.get("assign_to"),
        "assigned_to_email": assigned.get("email"),
        "initial_response": None,
        "response": result.response,
        "verifier_result": None,
        "verification_attempt": 0,
        "timeout_seconds": asked.get("timeout_seconds"),
        "redact_payload": False,
        "created_at": instant(pause.created_at),
        "updated_at": instant(decided),
        "completed_at": instant_or_none(result.completed_at),
        "timed_out_at": instant_or_none(result.timed_out_at),
        "completed_by_email": None,
        "completed_by_user_id": pause.decision.by.id if completed and pause.decision else None,
        "completed_by_display_name": pause.decision.by.name if completed and pause.decision else None,
        "completed_via_channel": "dashboard" if completed else None,
    }


def poll_document(result: TaskResult) -> dict[str, Any]:
    return {
        "status": result.status,
        "response": result.response,
        "completed_at": instant_or_none(result.completed_at),
        "timed_out_at": instant_or_none(result.timed_out_at),
    }

"""The requests of GoHumanLoop's client, as pauses."""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from domain.pauses.creation import MAX_EXPIRY
from domain.values import canonical_json
from domain.values.errors import FieldError, Invalid

APPROVAL, INFORMATION, CONVERSATION = "approval", "information", "conversation"
LOOP_TYPES = (APPROVAL, INFORMATION, CONVERSATION)
MAX_ID, MAX_ACTION = 500, 500
_ANSWER: dict[str, dict[str, Any]] = {
    INFORMATION: {"information": {"type": "string", "title": "Answer"}},
    CONVERSATION: {
        "message": {"type": "string", "title": "Message"},
        "end": {"type": "boolean", "title": "End the conversation", "default": False},
    },
}


@dataclass(frozen=True, slots=True)
class Loop:
    """A request of the client."""

    conversation_id: str
    request_id: str
    loop_type: str
    body: dict[str, Any]

    @property
    def external_id(self) -> str:
        return external_id(self.conversation_id, self.request_id)

    @property
    def wanted(self) -> dict[str, Any]:
        """Fields of `PauseRequest`."""
        context, metadata = self.body["context"], self.body.get("metadata") or {}
        function = context.get("function")
        name = function.get("function_name") if isinstance(function, dict) else None
        found: dict[str, Any] = {
            "action": self._action(name, context),
            "context": context,
            "tags": (conversation_tag(self.conversation_id),),
            "metadata": {"client": self._client(name)},
        }
        if self.loop_type == APPROVAL:
            # The client sends its arguments as text (`repr`), so the digest is that of this text.
            found["arguments"] = function if isinstance(function, dict) else context
            if isinstance(function, dict):
                found["context"] = {key: value for key, value in context.items() if key != "function"}
        else:
            # An answer does not become wrong with time.
            found |= {"response_schema": _schema(self.loop_type), "approval_valid_for": None}
        if (timeout := metadata.get("timeout")) is not None:
            found["expires"] = timedelta(seconds=timeout)
        return found

    def _action(self, name: Any, context: dict[str, Any]) -> str:
        if self.loop_type == APPROVAL and isinstance(name, str) and name:
            return f"Call {name}"[:MAX_ACTION]
        for key in ("message", "question"):
            if isinstance(context.get(key), str) and context[key].strip():
                return str(context[key]).strip()[:MAX_ACTION]
        return f"Request for {self.loop_type}"

    def _client(self, name: Any) -> dict[str, str]:
        found = {
            "tool": name,
            "kind": self.loop_type,
            "task": self.body.get("task_id"),
            "conversation": self.conversation_id,
            "platform": self.body.get("platform"),
        }
        return {key: value[:200] for key, value in found.items() if isinstance(value, str) and value}


def read_loop(body: dict[str, Any], loop_type: str | None = None) -> Loop:
    """Read a request. Raise `Invalid` with every field error.

    `loop_type`: that of a request which does not have the field.
    """
    body = body if loop_type is None else {**body, "loop_type": loop_type}
    found = []
    for name in ("conversation_id", "request_id"):
        value = body.get(name)
        if not isinstance(value, str) or not 0 < len(value) <= MAX_ID:
            found.append(FieldError(name, f"must be a text of 1 to {MAX_ID} characters"))
    if body.get("loop_type") not in LOOP_TYPES:
        found.append(FieldError("loop_type", f"must be one of {', '.join(LOOP_TYPES)}"))
    if not isinstance(body.get("context"), dict):
        found.append(FieldError("context", "must be an object"))
    metadata = body.get("metadata") or {}
    if not isinstance(metadata, dict):
        found.append(FieldError("metadata", "must be an object"))
    elif (timeout := metadata.get("timeout")) is not None:
        seconds = canonical_json.whole(timeout)
        if seconds is None or not 1 <= seconds <= MAX_EXPIRY.total_seconds():
            found.append(FieldError("metadata.timeout", "must be a whole number of seconds"))
    if found:
        raise Invalid(found)
    return Loop(body["conversation_id"], body["request_id"], body["loop_type"], body)


def external_id(conversation_id: str, request_id: str) -> str:
    """Return one id for both. Long ids are replaced by their digest."""
    both = f"{conversation_id}/{request_id}"
    # The length of an external id is limited, and a slash may be part of either.
    plain = len(both) <= 200 and both.count("/") == 1
    return both if plain else _digest(canonical_json.encode([conversation_id, request_id]))


def conversation_tag(conversation_id: str) -> str:
    """Return the tag that all requests of the conversation have, for its cancellation."""
    return f"conversation:{_digest(conversation_id)[:16]}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _schema(loop_type: str) -> dict[str, Any]:
    properties = _ANSWER[loop_type]
    return {"type": "object", "properties": properties, "required": list(properties)[:1]}

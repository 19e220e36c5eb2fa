"""The events of Claude Code's hooks as JSON, and the answers to them. Facts of version 2.1.332."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

PRE, POST, FAILED, PERMISSION = "PreToolUse", "PostToolUse", "PostToolUseFailure", "PermissionRequest"
EVENTS = (PRE, POST, FAILED, PERMISSION)
# The timeout of a hook whose settings name none, in seconds.
TIMEOUT = 600
MAX_EVENT = 16 * 1024 * 1024
# The one field that tells most about a call of the tool.
TELLING = ("command", "file_path", "notebook_path", "url", "query", "pattern", "description", "prompt")


class BadEvent(Exception):
    """Standard input is not an event that the hook knows."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `call` is the tool call's id, which a permission request has not."""

    name: str
    session: str
    tool: str
    arguments: dict[str, Any]
    cwd: str
    call: str
    document: Mapping[str, Any]

    def text(self, name: str) -> str:
        """Return a field of the event as a short text; empty if it is not there."""
        value = self.document.get(name)
        return value[:200] if isinstance(value, str) else ""

    @property
    def transcript(self) -> Path | None:
        """Return the file of the session's messages, if the event names one."""
        value = self.document.get("transcript_path")
        return Path(value) if isinstance(value, str) and value else None

    @property
    def action(self) -> str:
        """Return the call in words, for the person who decides."""
        found = (self.arguments.get(name) for name in TELLING)
        telling = next((value for value in found if isinstance(value, str) and value), "")
        return f"{self.tool}: {telling}" if telling else self.tool


def read_event(text: bytes) -> Event:
    """Read an event strictly. Raises `BadEvent`."""
    try:
        document = json.loads(text, parse_constant=_reject, object_pairs_hook=_object)
        name = document["hook_event_name"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadEvent(f"standard input is not the JSON of an event ({error or type(error).__name__})") from None
    if name not in EVENTS:
        raise BadEvent(f"the event {name!r:.40} is none of {', '.join(EVENTS)}: remove the hook from it")
    arguments = document.get("tool_input")
    if not isinstance(arguments, dict):
        raise BadEvent("tool_input is not an object")
    return Event(
        name=name,
        session=_word(document, "session_id"),
        tool=_word(document, "tool_name"),
        arguments=arguments,
        cwd=_word(document, "cwd"),
        call="" if name == PERMISSION else _word(document, "tool_use_id"),
        document=document,
    )


def allowed(event: Event, reason: str, edited: dict[str, Any] | None, context: str | None) -> dict[str, Any]:
    """Return the answer that lets the call run, with other arguments if they were edited."""
    changed = {} if edited is None else {"updatedInput": edited}
    if event.name == PERMISSION:
        return _answer(event, decision={"behavior": "allow", **changed})
    said = {} if context is None else {"additionalContext": context}
    return _answer(event, permissionDecision="allow", permissionDecisionReason=reason, **changed, **said)


def denied(event: Event, reason: str) -> dict[str, Any]:
    if event.name == PERMISSION:
        return _answer(event, decision={"behavior": "deny", "message": reason})
    return _answer(event, permissionDecision="deny", permissionDecisionReason=reason)


def deferred(event: Event) -> dict[str, Any]:
    """Return the answer that ends `claude -p`; resuming the session asks the hook again."""
    return _answer(event, permissionDecision="defer")


def _answer(event: Event, **fields: Any) -> dict[str, Any]:
    return {"hookSpecificOutput": {"hookEventName": event.name, **fields}}


def _word(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise BadEvent(f"{name} is missing")
    return value


def _reject(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice in an object")
    return found

"""A submission of an adapter: its checks, and its exact text, which each response repeats."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flask import request

from app.doors.door import read_object
from domain.pauses.creation import MAX_EXPIRY
from domain.values.errors import FieldError, Invalid

# The text is kept beside the arguments and the context, which have the same content.
MAX_BYTES = 200 * 1024
MAX_NAME = 200
_REQUIRED = ("tool", "arguments", "timeout")
_KINDS = {"tool": str, "server": str, "timeout": str, "agent_reasoning": str, "arguments": dict, "context": dict}
_DURATION = re.compile(r"([1-9][0-9]{0,8})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True)
class Submission:
    """A submitted tool call.

    Attributes:
        text: the JSON object as it was sent.
        fields: the same, with a number that no double holds as its text.
    """

    text: str
    fields: dict[str, Any]

    @property
    def action(self) -> str:
        server = self.fields.get("server")
        return f"Call {self.fields['tool']}" + (f" on {server}" if server else "")

    @property
    def context(self) -> dict[str, Any]:
        """The context that the reviewer reads beside the arguments."""
        reasoning = {name: self.fields[name] for name in ("agent_reasoning",) if name in self.fields}
        return {**self.fields.get("context", {}), **reasoning}

    @property
    def client(self) -> dict[str, str]:
        """The client's own words, as short texts."""
        context = self.fields.get("context", {})
        resume = context.get("resume") if isinstance(context.get("resume"), dict) else {}
        found = {
            "tool": self.fields["tool"],
            "server": self.fields.get("server"),
            "framework": context.get("framework"),
            "call": context.get("call_id"),
            "session": context.get("session_id"),
            "thread": resume.get("thread_id") or resume.get("conversation_id"),
        }
        return {name: value[:MAX_NAME] for name, value in found.items() if isinstance(value, str) and value}


def read_submission() -> Submission:
    """Return the request's body. Raises `HTTPProblem`, or `Invalid` with every field error."""
    fields = read_object(exact=True)
    text = request.get_data().decode()
    found = list(_field_errors(fields))
    if len(text.encode()) > MAX_BYTES:
        found.append(FieldError("", f"is larger than {MAX_BYTES // 1024} KiB: shorten the arguments or the context"))
    if found:
        raise Invalid(found)
    return Submission(text, fields)


def read_duration(text: str) -> timedelta:
    """Return the duration, such as `30s` or `24h`. Raise `ValueError` for other text."""
    parts = _DURATION.fullmatch(text)
    if parts is None:
        raise ValueError("must be a whole number with a unit, like 30s, 10m or 24h")
    return timedelta(**{_UNITS[parts[2]]: int(parts[1])})


def window(timeout: str) -> timedelta:
    """Return the time that a reviewer has."""
    return min(read_duration(timeout), MAX_EXPIRY)


def _field_errors(fields: dict[str, Any]) -> Iterator[FieldError]:
    for name in _REQUIRED:
        if name not in fields:
            yield FieldError(name, "is required")
    for name, value in fields.items():
        kind = _KINDS.get(name)
        if kind is None:
            yield FieldError(name[:MAX_NAME], "is no field of an approval request")
        elif not isinstance(value, kind):
            yield FieldError(name, f"must be {'an object' if kind is dict else 'a text'}")
        elif kind is str and not value.strip():
            yield FieldError(name, "is empty: leave it out, or write something")
        elif name in ("tool", "server") and len(value) > MAX_NAME:
            yield FieldError(name, f"is longer than {MAX_NAME} characters")
    if isinstance(timeout := fields.get("timeout"), str):
        try:
            read_duration(timeout)
        except ValueError as error:
            yield FieldError("timeout", str(error))

"""The requests of HumanLayer's clients, as pauses."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.doors.fields import required_text, short
from domain.values import canonical_json
from domain.values.errors import Invalid
from domain.values.field_reader import FieldErrors, FieldReader

MAX_ID = 150
MAX_ACTION, MAX_NAME = 500, 200
# The client puts its id into the path as it is.
_NO_PATH_CHARACTER = re.compile(r"[^/\\?#%\x00-\x1f\x7f]*")
_POSITIONAL = (
    "The client sent no arguments. It does not send positional arguments, so the function may still have some."
)


@dataclass(frozen=True, slots=True)
class Call:
    """A request of the client.

    Attributes:
        id: the client's own id.
        spec: the client's description, without secrets.
        address: the e-mail address of the only eligible voter; None for the policy of the namespace.
        wanted: fields of `PauseRequest`.
    """

    id: str
    spec: dict[str, Any]
    address: str | None
    wanted: dict[str, Any]


def function_call(body: dict[str, Any]) -> Call:
    """Read a request to approve a function call. Raise `Invalid`."""
    errors = FieldErrors()
    spec, call_id, run_id = _call(errors, body)
    name = required_text(spec, "fn", most=MAX_ACTION - len("Call "))
    arguments = spec.raw("kwargs")
    if not isinstance(arguments, dict | None):
        spec.field_error("kwargs", "is not an object: call the function with one object, or with keyword arguments")
    channel, address = _channel(spec)
    options = _options(spec, "reject_options")
    _raise(errors)
    wanted: dict[str, Any] = {
        "action": f"Call {name}",
        "arguments": arguments or {},
        "metadata": {"client": _client(name, run_id, channel)},
    }
    if not arguments:
        wanted["context"] = {"note": _POSITIONAL}
    if options:
        wanted["response_schema"] = _reasons(options)
    return Call(call_id, _without_secrets(body["spec"]), address, wanted)


def human_contact(body: dict[str, Any]) -> Call:
    """Read a question to a person. Raise `Invalid`."""
    errors = FieldErrors()
    spec, call_id, run_id = _call(errors, body)
    message = required_text(spec, "msg", most=canonical_json.MAX_BYTES)
    subject = spec.text("subject", most=canonical_json.MAX_BYTES)
    channel, address = _channel(spec)
    options = _options(spec, "response_options")
    _raise(errors)
    wanted: dict[str, Any] = {
        "action": short(subject or message, MAX_ACTION),
        "context": {"question": message} | ({"subject": subject} if subject else {}),
        "response_schema": _answer(options),
        "metadata": {"client": _client("human_as_tool", run_id, channel)},
        # An answer does not become wrong with time.
        "approval_valid_for": None,
    }
    return Call(call_id, _without_secrets(body["spec"]), address, wanted)


def _call(errors: FieldErrors, body: dict[str, Any]) -> tuple[FieldReader, str, str]:
    call = FieldReader(errors, "", body)
    call_id = required_text(call, "call_id", most=MAX_ID)
    if call_id in (".", "..") or not _NO_PATH_CHARACTER.fullmatch(call_id):
        call.field_error(
            "call_id", "is a part of the path of later requests: leave out / \\ ? # % and control characters"
        )
    run_id = required_text(call, "run_id", most=MAX_NAME)
    status = call.raw("status")
    if isinstance(status, dict) and any(value is not None for value in status.values()):
        call.field_error("status", "must be null: only a reviewer decides")
    spec = call.inner("spec", required=True) or FieldReader(errors, "spec", None)
    size = canonical_json.size(body.get("spec"))
    if size > canonical_json.MAX_BYTES // 2:
        call.field_error("spec", f"is larger than {canonical_json.MAX_BYTES // 2 // 1024} KiB")
    return spec, call_id, run_id


def _raise(errors: FieldErrors) -> None:
    if errors.found:
        raise Invalid(errors.found)


def _channel(spec: FieldReader) -> tuple[str | None, str | None]:
    """Return the channel in words, and the e-mail address in it."""
    channel = spec.inner("channel")
    if channel is None:
        return None, None
    words: list[str] = []
    address: str | None = None
    for kind, key in (("slack", "channel_or_user_id"), ("sms", "phone_number"), ("whatsapp", "phone_number")):
        inner = channel.inner(kind)
        if inner is not None:
            words.append(f"{kind} {inner.text(key, most=MAX_NAME)}")
            if inner.raw("allowed_responder_ids"):
                inner.field_error(
                    "allowed_responder_ids",
                    "is not possible here: name the people who may decide in the approval policy of the namespace",
                )
    email = channel.inner("email")
    if email is not None:
        address = required_text(email, "address", most=254)
        words.append(f"email {address}")
    return ", ".join(words) or None, address


@dataclass(frozen=True, slots=True)
class Option:
    name: str
    title: str


def _options(spec: FieldReader, field: str) -> tuple[Option, ...]:
    found: list[Option] = []
    for each in spec.objects(field):
        name = required_text(each, "name", most=MAX_NAME)
        title = each.text("title", most=MAX_NAME)
        described = each.text("description", most=1_000)
        if name in [option.name for option in found]:
            each.field_error("name", "is a duplicate: give each option a name of its own")
        label = title or name
        found.append(Option(name, f"{label}: {described}" if described else label))
    return tuple(found)


def _choice(title: str, options: Sequence[Option]) -> dict[str, Any]:
    return {
        "type": "string",
        "title": title,
        "oneOf": [{"const": option.name, "title": option.title} for option in options],
    }


def _reasons(options: Sequence[Option]) -> dict[str, Any]:
    """Return the schema of the reason for a rejection. An approval needs no response."""
    return {"type": ["object", "null"], "properties": {"option": _choice("Reason, if you reject", options)}}


def _answer(options: Sequence[Option]) -> dict[str, Any]:
    text = {"type": "string", "minLength": 1, "title": "Answer"}
    if not options:
        return text
    return {
        "type": "object",
        "properties": {"option": _choice("Answer", options), "text": {**text, "title": "In your own words"}},
        "anyOf": [{"required": ["option"]}, {"required": ["text"]}],
    }


def _client(tool: str, run_id: str, channel: str | None) -> dict[str, Any]:
    words = {"tool": tool, "run": run_id, "channel": channel}
    return {name: short(text, MAX_NAME) for name, text in words.items() if text is not None}


def _without_secrets(spec: dict[str, Any]) -> dict[str, Any]:
    slack = (spec.get("channel") or {}).get("slack")
    if not slack or slack.get("bot_token") is None:
        return spec
    return {**spec, "channel": {**spec["channel"], "slack": {**slack, "bot_token": None}}}

"""The API without I/O: each operation is a generator that yields steps, for a blocking or an asynchronous client.

A step is a request to send or a time to sleep. The client sends the response back into the generator.
"""

import json
import logging
import random
import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from itertools import count
from types import EllipsisType
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import uuid4

from sagahold import canonical_json
from sagahold.errors import NotReachable, RequestError, SagaholdError, UnexpectedResponse, not_usable
from sagahold.pauses import ExecutionStatus, Pause, read_pause

log = logging.getLogger("sagahold")

LONG_POLL = 60  # the longest that the server allows, in seconds
MAX_DELAY = 30.0
MAX_RETRY_AFTER = 3600.0
# The longest note of an outcome that the server accepts, in characters.
MAX_NOTE = 1000
DOOR = "python-sdk"

Seconds = float | timedelta
T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """A request. `timeout` is in seconds."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 30.0


@dataclass(frozen=True)
class Sleep:
    seconds: float


@dataclass(frozen=True)
class Answer:
    """A response. Status 0 means that none came; `body` then has the reason."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    elapsed: float = 0.0

    @property
    def retry_after(self) -> float | None:
        value = self.headers.get("retry-after", "")
        if value.isascii() and value.isdigit():
            return min(float(value[:9]), MAX_RETRY_AFTER)
        try:
            at = parsedate_to_datetime(value)
        except (TypeError, ValueError, OverflowError):
            return None
        left = at.replace(tzinfo=at.tzinfo or timezone.utc) - datetime.now(timezone.utc)
        return min(max(left.total_seconds(), 0.0), MAX_RETRY_AFTER)

    @property
    def transient(self) -> bool:
        return self.status in (0, 408, 425, 429) or self.status >= 500


Flow = Generator[Call | Sleep, Any, T]


class Budget:
    """The seconds that an operation may still take; None means no limit."""

    def __init__(self, seconds: float | None) -> None:
        self.left = seconds

    def spend(self, seconds: float) -> None:
        if self.left is not None:
            self.left -= seconds


def backoff(attempt: int, answer: Answer) -> float:
    """Return the delay before the next attempt: what the server asks for, else up to 30 s, with jitter."""
    delay = min(0.5 * 2.0 ** min(attempt, 10), MAX_DELAY) * random.uniform(0.8, 1.2)  # noqa: S311
    return max(delay, answer.retry_after or 0.0)


def exchange(call: Call, budget: Budget) -> Flow[Answer]:
    """Send the request until an answer comes that is neither a network error nor a server error."""
    for attempt in count():
        answer: Answer = yield call
        budget.spend(answer.elapsed)
        if not answer.transient:
            return answer
        delay = backoff(attempt, answer)
        reason = answer.body.decode(errors="replace")[:200] if answer.status == 0 else f"HTTP {answer.status}"
        if budget.left is not None and budget.left < delay:
            advice = "check SAGAHOLD_URL, the network and the server; the same key continues later"
            raise NotReachable(f"Sagahold does not answer ({reason}): {advice}")
        log.warning("Sagahold does not answer (%s): the next attempt is in %.1f s", reason, delay)
        yield Sleep(delay)
        budget.spend(delay)
    raise AssertionError("unreachable")


def read(answer: Answer) -> dict[str, Any]:
    """Return the JSON object of a successful answer. Raise `RequestError` for a problem."""
    if 300 <= answer.status < 400:
        where = answer.headers.get("location", "elsewhere")[:200]
        raise UnexpectedResponse(f"the server redirects to {where}: set SAGAHOLD_URL to the address of Sagahold itself")
    try:
        document = canonical_json.loads(answer.body)
    except ValueError as error:
        document = error
    if not isinstance(document, dict) or answer.status not in (200, 201):
        if isinstance(document, dict) and isinstance(document.get("code"), str):
            found = document.get("errors")
            detail = str(document.get("detail") or document.get("title"))
            raise RequestError(answer.status, document["code"], detail, found if isinstance(found, list) else ())
        raise UnexpectedResponse(
            f"HTTP {answer.status} with a body that is not Sagahold's JSON: check SAGAHOLD_URL, and proxies on the way"
        )
    return document


def path_of(pause: Pause | str, verb: str = "") -> str:
    watch_id = pause if isinstance(pause, str) else pause.watch_id
    return f"/api/pause/{quote(watch_id, safe='')}" + (f"/{verb}" if verb else "")


def post(path: str, body: Mapping[str, Any], key: str | None = None) -> Call:
    headers = {"Content-Type": "application/json"} | ({} if key is None else {"Idempotency-Key": key})
    return Call("POST", path, body=json.dumps(body).encode(), headers=headers)


def draft(
    action: str,
    arguments: dict[str, Any] | None,
    context: dict[str, Any] | None,
    review: Mapping[str, Any] | None,
    expires_in: Seconds | EllipsisType | None,
    valid_for: Seconds | EllipsisType | None,
    fields: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the body of a request. Raise `TypeError` if a part of it is not JSON."""
    body: dict[str, Any] = {"action": action, **fields}
    body["metadata"] = {"door": DOOR, **(fields.get("metadata") or {})}
    body |= {} if arguments is None else {"arguments": arguments}
    body |= {} if context is None else {"context": context}
    body |= {} if review is None else {"review": dict(review)}
    body |= {} if isinstance(expires_in, EllipsisType) else {"expiresIn": _seconds(expires_in)}
    body |= {} if isinstance(valid_for, EllipsisType) else {"approvalValidFor": _seconds(valid_for)}
    copied: dict[str, Any] = canonical_json.snapshot(body, "request")
    return copied


def _seconds(value: Seconds | None) -> int | None:
    if value is None:
        return None
    return int(value.total_seconds() if isinstance(value, timedelta) else value)


def request(body: dict[str, Any], key: str, budget: Budget) -> Flow[Pause]:
    if not re.fullmatch("[!-~]{8,128}", key):
        raise ValueError(f"the key {key!r:.80} must have 8 to 128 printable ASCII characters without blanks")
    answer = yield from exchange(post("/api/pause", body, key), budget)
    return read_pause(read(answer))


def get(pause: Pause | str, budget: Budget) -> Flow[Pause]:
    answer = yield from exchange(Call("GET", path_of(pause)), budget)
    return read_pause(read(answer), pause if isinstance(pause, str) else pause.watch_id)


def page(filters: Mapping[str, Any], budget: Budget) -> Flow[tuple[list[Pause], str | None]]:
    params = {name: _text(value) for name, value in filters.items() if value is not None}
    document = read((yield from exchange(Call("GET", "/api/pause", params), budget)))
    items, cursor = document.get("items"), document.get("next_cursor")
    if not isinstance(items, list) or not (cursor is None or isinstance(cursor, str)):
        raise UnexpectedResponse("the list of pauses has no items: is this the address of Sagahold?")
    return [read_pause(item) for item in items], cursor


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def wait(pause: Pause | str, budget: Budget) -> Flow[Pause]:
    """Wait for the decision by long polls, through any outage of the server. Raise `StillPending` after the budget."""
    watch_id = pause if isinstance(pause, str) else pause.watch_id
    while True:
        seconds = LONG_POLL if budget.left is None else int(min(LONG_POLL, max(0.0, budget.left)))
        call = Call("GET", path_of(watch_id), {"wait": str(seconds)}, timeout=seconds + 15.0)
        answer = yield from exchange(call, budget)
        found = read_pause(read(answer), watch_id)
        if found.status != "pending":
            return found
        if budget.left is not None and budget.left < 1:
            raise not_usable(found)
        # A server that ends or has no room for a long poll answers at once.
        delay = answer.retry_after or max(0.0, 1.0 - answer.elapsed)
        yield Sleep(delay)
        budget.spend(delay)


def consume(pause: Pause, budget: Budget) -> Flow[Pause]:
    """Use the approval once, for exactly these arguments.

    The key is new each time, so that only this attempt gets the approval, and a restarted process does not.
    """
    if pause.decision is None or not pause.approved or pause.consumed_at is not None:
        raise not_usable(pause)
    approved = pause.decision.arguments
    body = {} if approved is None else {"argumentsDigest": canonical_json.digest(approved)}
    answer = yield from exchange(post(path_of(pause, "consume"), body, f"use-{uuid4().hex}"), budget)
    try:
        used = read_pause(read(answer), pause.watch_id)
    except RequestError as error:
        if error.code not in ("NOT_APPROVED", "APPROVAL_EXPIRED", "ALREADY_CONSUMED"):
            raise
        raise not_usable((yield from get(pause, budget))) from error
    if used.consumed_at is None or replace(used, consumed_at=None, outcome=None) != pause:
        raise UnexpectedResponse("the server did not confirm the use of the approval: nothing runs", used)
    return used


def outcome(pause: Pause | str, status: ExecutionStatus, note: str | None, result: Any, budget: Budget) -> Flow[Pause]:
    body = {"status": status} | ({} if note is None else {"note": clean(note)})
    if result is not None:
        body["result"] = canonical_json.snapshot(result, "result")
    answer = yield from exchange(post(path_of(pause, "outcome"), body), budget)
    return read_pause(read(answer), pause if isinstance(pause, str) else pause.watch_id)


def report(pause: Pause, status: ExecutionStatus, note: str | None, budget: Budget) -> Flow[None]:
    """Report the outcome. An error is only logged, because the action has run and its caller needs the result."""
    try:
        yield from outcome(pause, status, note, None, budget)
    except SagaholdError as error:
        log.error("the outcome %s of %s is not reported: %s", status, pause.watch_id, error)


def clean(text: str) -> str:
    """Cut the text to the length and the characters that the server accepts."""
    text = text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
    return text if len(text) <= MAX_NOTE else text[: MAX_NOTE - 1] + "…"


def cancel(pause: Pause | str, comment: str | None, budget: Budget) -> Flow[Pause]:
    answer = yield from exchange(
        post(path_of(pause, "cancel"), {} if comment is None else {"comment": comment}), budget
    )
    return read_pause(read(answer), pause if isinstance(pause, str) else pause.watch_id)


@dataclass(frozen=True)
class Event:
    """A change of a pause, such as `pause.created` or `pause.approved`."""

    type: str
    pause: Pause

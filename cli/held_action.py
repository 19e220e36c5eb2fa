"""Hold an action for a command: request it, wait for the decision, use the approval, report the outcome.

The server's answers are read strictly. An answer that is not clearly an approval raises `Failure`: a wrong server,
or a proxy on the way, never lets the action run.
"""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import uuid4

from cli.client import Failure, Server, ServerRefused, ServerResponse, ServerUnreachable, part
from domain.identity.access import Role
from domain.pauses.pause import Status
from domain.values import canonical_json

PATH = "/api/pause"
# Seconds in which an approval may be used.
VALID_FOR = 900
MAX_ACTION = 500
MAX_NOTE = 1000
# The longest poll that the server allows. Seconds.
LONG_POLL = 60
# The delay before another attempt, while the server is away or has no room. Seconds.
RETRY_SECONDS = 1.0
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
WATCH_ID = re.compile("wch_[0-9a-f]{32}")
T = TypeVar("T")


class StillPending(Failure):
    """The decision did not come in time. The request still waits for it."""


class AlreadyUsed(Failure):
    """The approval was used before."""


@dataclass(frozen=True, slots=True)
class HeldAction:
    """A pause as the server describes it.

    Attributes:
        arguments: what was approved after an approval, else what is requested.
        posted: what the command sent.
        used: whether the approval was used.
        outcome: the reported status after the use, or None.
    """

    watch_id: str
    status: Status
    action: str
    arguments: dict[str, Any] | None
    posted: dict[str, Any] | None
    review_url: str
    decided_by: str
    decided_at: str | None
    comment: str | None
    valid_until: str | None
    used: bool
    outcome: str | None
    client: Mapping[str, Any] = field(compare=False)
    document: Mapping[str, Any] = field(compare=False, repr=False)

    @property
    def approved(self) -> bool:
        return self.status is Status.APPROVED

    @property
    def edited(self) -> bool:
        return not same(self.arguments, self.posted)

    @property
    def why(self) -> str:
        """Return the decision in words, such as `rejected by Ann: too early`."""
        by = "" if self.status is Status.EXPIRED else f" by {self.decided_by}"
        return f"{self.status}{by}" + (f": {self.comment}" if self.comment else "")


@dataclass(frozen=True, slots=True)
class Request:
    """An action to hold: the fields of `POST /api/pause`, and the key that makes a repetition find the same pause."""

    key: str
    action: str
    arguments: dict[str, Any] | None
    door: str
    client: Mapping[str, str]
    external_id: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = {
            "action": shortened(self.action, MAX_ACTION),
            "approvalValidFor": VALID_FOR,
            "metadata": {"door": self.door, "client": {name: value for name, value in self.client.items() if value}},
            **self.fields,
        }
        optional = {"arguments": self.arguments, "externalId": self.external_id}
        return body | {name: value for name, value in optional.items() if value is not None}


class ActionDesk:
    """The operations of an agent on its held actions.

    Args:
        until: the time of `time.monotonic` at which every operation ends.
        patience: the seconds for a server that does not answer the first request.
        warn: is called with a text when the server does not answer.
    """

    def __init__(
        self, server: Server, until: float, *, patience: float = 0, warn: Callable[[str], object] = lambda _: None
    ) -> None:
        self._server = server
        self.until = until
        # A server that has answered once comes back; one that never did may be the wrong one.
        self._retry_until = min(until, time.monotonic() + patience)
        self._warn = warn

    def find(self, external_id: str) -> list[HeldAction]:
        """Return this agent's latest pauses with the id, the newest first."""
        query = {"externalId": external_id, "limit": 20}
        return self._read(
            lambda: self._send("GET", PATH, query=query), lambda found: [read(item) for item in found["items"]]
        )

    def request(self, request: Request) -> HeldAction:
        """Request the decision, or find the pause of the same key."""
        headers = {"Idempotency-Key": request.key}
        held = self._read(lambda: self._send("POST", PATH, body=request.body, headers=headers), read)
        if held.action != request.body["action"] or not same(held.posted, request.arguments):
            raise Failure(f"the server answered with another request, {held.watch_id}: is this the right server?")
        return held

    def get(self, watch_id: str) -> HeldAction:
        return self._read(lambda: self._send("GET", f"{PATH}/{part(watch_id)}"), lambda found: read(found, watch_id))

    def wait(self, held: HeldAction) -> HeldAction:
        """Wait for the decision, also while the server is away. Raise `StillPending` at the end of the time."""
        while held.status is Status.PENDING:
            left = self.until - time.monotonic()
            if left <= 0:
                raise StillPending(f"{held.watch_id} still waits for a decision: {held.review_url}")
            began = time.monotonic()
            held = self._poll(held, int(min(LONG_POLL, left)))
            # A server that is stopping, or has no room for a long poll, answers at once.
            if held.status is Status.PENDING:
                time.sleep(max(0.0, min(RETRY_SECONDS - (time.monotonic() - began), self.until - time.monotonic())))
        return held

    def consume(self, held: HeldAction) -> HeldAction:
        """Use the approval, once. The key is new for each process, so that only this one may run the action."""
        if not held.approved:
            raise Failure(f"{held.watch_id} is {held.why}")
        headers = {"Idempotency-Key": f"use-{uuid4().hex}"}
        body = {} if held.arguments is None else {"argumentsDigest": canonical_json.digest(held.arguments).hex()}
        try:
            answer = self._retried(
                lambda: self._send("POST", f"{PATH}/{part(held.watch_id)}/consume", body=body, headers=headers)
            )
        except ServerRefused as refused:
            if refused.problem.get("code") == "ALREADY_CONSUMED":
                raise AlreadyUsed(f"the approval {held.watch_id} was used before: {held.review_url}") from None
            raise
        used = _checked(answer, lambda document: read(document, held.watch_id))
        if not (used.used and used.approved and same(used.arguments, held.arguments)):
            raise Failure(f"the server did not confirm the use of the approval {held.watch_id}: nothing runs")
        return used

    def report(self, watch_id: str, status: str, note: str | None = None) -> None:
        """Report the outcome. Only the first report of an action counts."""
        body = {"status": status} | ({} if not note else {"note": shortened(note, MAX_NOTE)})
        self._retried(lambda: self._send("POST", f"{PATH}/{part(watch_id)}/outcome", body=body))

    def cancel(self, watch_id: str, comment: str) -> None:
        self._send("POST", f"{PATH}/{part(watch_id)}/cancel", body={"comment": comment})

    def _poll(self, held: HeldAction, seconds: int) -> HeldAction:
        path = f"{PATH}/{part(held.watch_id)}"
        answer = self._retried(lambda: self._send("GET", path, query={"wait": seconds}, held=seconds))
        found = _checked(answer, lambda document: read(document, held.watch_id))
        if not same(found.posted, held.posted) or found.action != held.action:
            raise Failure(f"the server changed the request {held.watch_id} itself: nothing runs, ask its operator")
        return found

    def _send(self, method: str, path: str, **request: Any) -> ServerResponse:
        return self._server.request(Role.AGENT, method, path, **request)

    def _read(self, send: Callable[[], ServerResponse], parse: Callable[[Any], T]) -> T:
        return _checked(self._retried(send), parse)

    def _retried(self, send: Callable[[], ServerResponse]) -> ServerResponse:
        while True:
            try:
                answer = send()
                self._retry_until = self.until
                return answer
            except (ServerUnreachable, ServerRefused) as error:
                passing = isinstance(error, ServerUnreachable) or error.status in TRANSIENT
                if not passing or time.monotonic() + RETRY_SECONDS > self._retry_until:
                    raise
                self._warn(error.format_message())
                time.sleep(RETRY_SECONDS)


def read(document: Any, watch_id: str | None = None) -> HeldAction:
    """Read the document of a pause. Raises `ValueError` or a lookup error if it is none, or another one."""
    _check(document.get("unreadable") is None, "it has parts that the server does not understand")
    status, context, decision = Status(document["status"]), document["agentContext"], document["decision"]
    arguments, posted = context.get("arguments"), document.get("postedArguments")
    _check(bool(WATCH_ID.fullmatch(document["watchId"])), "watchId is not the id of a pause")
    _check(watch_id in (None, document["watchId"]), "it is another pause")
    _check((status is Status.PENDING) == (decision is None), "the status does not fit the decision")
    if status is Status.APPROVED:
        _check(decision["outcome"] == status, "the decision is not an approval")
        arguments = decision["arguments"]
        digest = None if arguments is None else canonical_json.digest(arguments).hex()
        _check(digest == document["argumentsDigest"], "the approved arguments do not match argumentsDigest")
    _check(isinstance(arguments, dict | None) and isinstance(posted, dict | None), "the arguments are no object")
    consumption = document.get("consumption") or {}
    decision = decision or {}
    return HeldAction(
        watch_id=document["watchId"],
        status=status,
        action=_text(context["action"]),
        arguments=arguments,
        posted=arguments if posted is None else posted,
        review_url=_text(document["reviewUrl"]),
        decided_by=_text(decision.get("decidedByName") or decision.get("decidedBy") or "unknown"),
        decided_at=decision.get("decidedAt"),
        comment=decision.get("comment"),
        valid_until=decision.get("validUntil"),
        used="consumedAt" in consumption,
        outcome=(consumption.get("outcome") or {}).get("status"),
        document=document,
        client=(document.get("metadata") or {}).get("client") or {},
    )


def same(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> bool:
    """Return whether the arguments are one JSON value: `1` and `1.0` are the same."""
    return canonical_json.digest(one) == canonical_json.digest(other)


def shortened(text: str, length: int) -> str:
    """Return the text without characters that the server rejects, and at most `length` characters of it."""
    text = text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
    return text if len(text) <= length else text[: length - 1] + "…"


def _checked(answer: ServerResponse, parse: Callable[[Any], T]) -> T:
    try:
        return parse(answer.document)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Failure(f"the answer is not that of a Sagahold server ({error}): check SAGAHOLD_URL") from None


def _check(good: bool, message: str) -> None:
    if not good:
        raise ValueError(message)


def _text(value: Any) -> str:
    _check(isinstance(value, str), f"{value!r:.40} is not a text")
    return str(value)

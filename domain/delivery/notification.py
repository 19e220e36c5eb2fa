"""A message to a person or group that a review or a saga waits: what it says, and what becomes of it.

    pending ── sent ──▶ sent     pending ── not taken, again and again, or refused for good ──▶ failed
    pending ── nothing waits any more, or whom it was for is gone ──▶ obsolete

An operator may set one that failed to pending again.
"""

import html
import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from urllib.parse import urlsplit

from domain.values.backoff import delay
from domain.values.confusables import marked

# Seconds before each further try: most of what fails is a restart or a moment's overload; after the last, nearly three
# hours in, the review has waited so long that a person has to look at the channel.
RETRY_SECONDS = (10, 60, 300, 1_800, 7_200)
# Of what an agent or a tool wrote: a message is read at a glance, the page shows all.
MAX_ACTION = 300
MAX_SUBJECT = 100
# A channel that means: by mail to the person's own address, by the operator's mail server.
EMAIL = "email"

# Services whose URL has a real host in its place for one; elsewhere a token may stand there.
_HOSTED = frozenset({"mailto", "mailtos", "json", "jsons", "xml", "xmls", "form", "forms", "ntfy", "ntfys"})
# What chat services take for "tell everyone in the room", or one person, or for a link that reads as another one.
_MARKUP = re.compile(r"(?<!\w)@(?=\w)|<(?=[!@#&]|[a-z][a-z0-9+.-]*:)|\](?=\()", re.IGNORECASE)
# What mail programs and chats make a link of by themselves: a scheme, a name with a dot before what may be a top-level
# domain, an address of numbers. A character without a shape in it would not do: some follow the link without it.
_LINKED = re.compile(
    r"(?<=[a-z0-9]):(?=//)|(?<=\bmailto):|(?<=\btel):|(?<=[^\W_])[.\u3002\uff0e\uff61](?=(?!\d)[\w-]{2})", re.IGNORECASE
)
_ADDRESS = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])")
_BLANK = re.compile(r"[\n\t\r]")
_WORD_JOINER = "\u2060"


class Reason(StrEnum):
    """Why people are told: a review waits for them, still does, or now does too; or a saga waits for an operator."""

    WAITING = "waiting"
    REMINDER = "reminder"
    ESCALATED = "escalated"
    OUTCOME_UNKNOWN = "outcome_unknown"
    UNDO_FAILED = "undo_failed"
    STUCK = "stuck"


class NotificationStatus(StrEnum):
    """`pending` is left once it was sent, given up, or is of no use any more."""

    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"
    OBSOLETE = "obsolete"


@dataclass(frozen=True, slots=True)
class SendResult:
    """What came of one try. `error`: None when the service took the message; `final`: trying again is of no use."""

    error: str | None = None
    final: bool = False


@dataclass(frozen=True, slots=True)
class NotificationContent:
    """What is told. `link` opens a page; nothing is decided by opening it."""

    reason: Reason
    action: str
    namespace: str
    asked_by: str
    expires_at: datetime | None
    link: str
    personal: bool


@dataclass(frozen=True, slots=True)
class OperatorNotificationContent:
    """What operators are told of a saga that waits for them.

    Attributes:
        happened: the step's own error, or why no worker can go on.
        idempotency_key: of the call, to search for at the tool.
    """

    reason: Reason
    saga: str
    step: str
    namespace: str
    happened: str
    idempotency_key: str
    link: str


@dataclass(frozen=True, slots=True)
class RenderedMessage:
    subject: str
    text: str
    html: str


def retry_at(attempts: int, sending: SendResult, uniform: float) -> float | None:
    """Seconds until the next try, after so many; None: there is none."""
    return None if sending.final else delay(RETRY_SECONDS, attempts - 1, uniform)


def compose(content: NotificationContent | OperatorNotificationContent) -> RenderedMessage:
    """The same in plain text and in HTML. What others wrote is cut, and shows the characters that hide or deceive."""
    return _to_operators(content) if isinstance(content, OperatorNotificationContent) else _to_voters(content)


def _to_voters(content: NotificationContent) -> RenderedMessage:
    opening = {
        Reason.WAITING: "A review waits for you.",
        Reason.REMINDER: "A review still waits for you.",
        Reason.ESCALATED: "A review waited too long for others and now waits for you too.",
    }[content.reason]
    expires = "never" if content.expires_at is None else f"{content.expires_at:%Y-%m-%d %H:%M} UTC"
    facts = {
        "Action": visible(content.action, MAX_ACTION),
        "Namespace": content.namespace,
        "Asked by": visible(content.asked_by, MAX_SUBJECT),
        "Expires": expires,
    }
    closing = "Opening the link decides nothing; you decide on the page."
    if content.personal:
        closing += " It is yours alone: whoever has it can decide in your name."
    return _message(f"Review: {visible(content.action, MAX_SUBJECT)}", opening, facts, content.link, closing)


def _to_operators(content: OperatorNotificationContent) -> RenderedMessage:
    opening = {
        Reason.OUTCOME_UNKNOWN: "A saga needs an operator: nobody knows what came of a call.",
        Reason.STUCK: "A saga needs an operator: no worker can go on with it.",
    }.get(content.reason, "A saga needs an operator: an undo has failed.")
    facts = {
        "Saga": visible(content.saga, MAX_SUBJECT),
        "Step": visible(content.step, MAX_SUBJECT),
        "Namespace": content.namespace,
        "What happened": visible(content.happened, MAX_ACTION),
        "Idempotency key": content.idempotency_key,
    }
    closing = "Search for the key at the tool to see what was done, then settle it on the page."
    if content.reason is Reason.STUCK:
        closing = "Mend the cause, then have it tried again on the page: it goes on from where it stands."
    return _message(f"Needs an operator: {facts['Saga']}", opening, facts, content.link, closing)


def _message(subject: str, opening: str, facts: dict[str, str], url: str, closing: str) -> RenderedMessage:
    lines = [opening, "", *(f"{name}: {value}" for name, value in facts.items()), "", url, "", closing]
    told = "<br>".join(f"{name}: <b>{html.escape(value)}</b>" for name, value in facts.items())
    link = html.escape(url)
    page = f"<p>{opening}</p><p>{told}</p><p><a href='{link}'>{link}</a></p><p>{closing}</p>"
    return RenderedMessage(subject, "\n".join(lines), page)


def visible(text: str, limit: int) -> str:
    """One line of at most `limit` characters; those that hide or act stand there as `<U+202E>`.

    A mention calls nobody, and only the review's own link can be pressed: `https[:]//evil[.]test`.
    """
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    seen = "".join(marked(_BLANK.sub(" ", cut), lambda char: f"<U+{ord(char):04X}>"))
    apart = _MARKUP.sub(lambda found: found.group() + _WORD_JOINER, seen)
    numbers = _ADDRESS.sub(lambda found: found.group().replace(".", "[.]"), apart)
    return _LINKED.sub(lambda found: f"[{found.group()}]", numbers)


def masked(channel: str) -> str:
    """What may be shown of a channel: which service, and at which host where the URL has one; the rest are secrets."""
    scheme, separator, _ = channel.partition("://")
    if not separator:
        return channel if channel == EMAIL else "…"
    scheme = scheme.lower()
    if scheme not in _HOSTED:
        return f"{scheme[:20]}://…"
    try:
        host = urlsplit(channel).hostname
    except ValueError:
        host = None
    return f"{scheme}://{host or '…'}"

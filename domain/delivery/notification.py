"""A notification that a review or a saga waits for a person or group: its content and its states.

    pending ── sent ──▶ sent      pending ── attempts used up, or rejected for good ──▶ failed
    pending ── nothing waits any more, or the recipient is gone ──▶ obsolete

An operator may set a failed notification to pending again.
"""

import html
import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from urllib.parse import urlsplit

from domain.values.backoff import delay
from domain.values.confusables import marked

# Seconds before each further attempt. Most failures are a restart or a brief overload. After the last attempt, nearly
# three hours later, a person has to check the channel.
RETRY_SECONDS = (10, 60, 300, 1_800, 7_200)
# Characters of an agent's or a tool's text in a message. The page shows the whole text.
MAX_ACTION = 300
MAX_SUBJECT = 100
# The channel for mail to the person's own address, through the operator's mail server.
EMAIL = "email"

# Services whose URL has a real host. In other URLs, the host may be a token.
_HOSTED = frozenset({"mailto", "mailtos", "json", "jsons", "xml", "xmls", "form", "forms", "ntfy", "ntfys"})
# Chat services read these as a mention of a person or a whole room, or as a link with a different text.
_MARKUP = re.compile(r"(?<!\w)@(?=\w)|<(?=[!@#&]|[a-z][a-z0-9+.-]*:)|\](?=\()", re.IGNORECASE)
# Mail programs and chats turn these into links: a scheme, a name with a possible top-level domain, a numeric address.
# An invisible character inside does not prevent that, because some programs ignore it.
_LINKED = re.compile(
    r"(?<=[a-z0-9]):(?=//)|(?<=\bmailto):|(?<=\btel):|(?<=[^\W_])[.\u3002\uff0e\uff61](?=(?!\d)[\w-]{2})", re.IGNORECASE
)
_ADDRESS = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])")
_BLANK = re.compile(r"[\n\t\r]")
_WORD_JOINER = "\u2060"


class Reason(StrEnum):
    """The reason for a notification: a review waits, still waits or was escalated, or a saga waits for an operator."""

    WAITING = "waiting"
    REMINDER = "reminder"
    ESCALATED = "escalated"
    OUTCOME_UNKNOWN = "outcome_unknown"
    UNDO_FAILED = "undo_failed"
    STUCK = "stuck"


class NotificationStatus(StrEnum):
    """The state of a notification. It leaves `pending` when it is sent, given up or no longer needed."""

    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"
    OBSOLETE = "obsolete"


@dataclass(frozen=True, slots=True)
class SendResult:
    """The result of one attempt. `error` is None if the service accepted the message. `final`: a retry is useless."""

    error: str | None = None
    final: bool = False


@dataclass(frozen=True, slots=True)
class NotificationContent:
    """The content of a notification to voters. Opening `link` decides nothing."""

    reason: Reason
    action: str
    namespace: str
    asked_by: str
    expires_at: datetime | None
    link: str
    personal: bool


@dataclass(frozen=True, slots=True)
class OperatorNotificationContent:
    """The content of a notification that a saga waits for an operator.

    Attributes:
        happened: the step's own error, or why no worker can continue.
        idempotency_key: the key of the call, to search for at the tool.
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
    """Return the seconds until the next attempt after `attempts` of them, or None if there is none."""
    return None if sending.final else delay(RETRY_SECONDS, attempts - 1, uniform)


def compose(content: NotificationContent | OperatorNotificationContent) -> RenderedMessage:
    """Render the content as plain text and HTML. Texts of others are shortened, and their hidden characters shown."""
    return _to_operators(content) if isinstance(content, OperatorNotificationContent) else _to_voters(content)


def _to_voters(content: NotificationContent) -> RenderedMessage:
    opening = {
        Reason.WAITING: "A review waits for you.",
        Reason.REMINDER: "A review still waits for you.",
        Reason.ESCALATED: "A review was escalated to you because it has waited too long.",
    }[content.reason]
    expires = "never" if content.expires_at is None else f"{content.expires_at:%Y-%m-%d %H:%M} UTC"
    facts = {
        "Action": visible(content.action, MAX_ACTION),
        "Namespace": content.namespace,
        "Requested by": visible(content.asked_by, MAX_SUBJECT),
        "Expires": expires,
    }
    closing = "Opening the link decides nothing. You decide on the page."
    if content.personal:
        closing += " Do not share the link: anyone who has it can decide in your name."
    return _message(f"Review: {visible(content.action, MAX_SUBJECT)}", opening, facts, content.link, closing)


def _to_operators(content: OperatorNotificationContent) -> RenderedMessage:
    opening = {
        Reason.OUTCOME_UNKNOWN: "A saga needs an operator: the outcome of a call is unknown.",
        Reason.STUCK: "A saga needs an operator: no worker can continue it.",
    }.get(content.reason, "A saga needs an operator: an undo failed.")
    facts = {
        "Saga": visible(content.saga, MAX_SUBJECT),
        "Step": visible(content.step, MAX_SUBJECT),
        "Namespace": content.namespace,
        "What happened": visible(content.happened, MAX_ACTION),
        "Idempotency key": content.idempotency_key,
    }
    closing = "Search for the key at the tool to see if the call was carried out, then record the outcome on the page."
    if content.reason is Reason.STUCK:
        closing = "Fix the cause, then retry on the page. The saga continues from its current step."
    return _message(f"Needs an operator: {facts['Saga']}", opening, facts, content.link, closing)


def _message(subject: str, opening: str, facts: dict[str, str], url: str, closing: str) -> RenderedMessage:
    lines = [opening, "", *(f"{name}: {value}" for name, value in facts.items()), "", url, "", closing]
    rows = "<br>".join(f"{name}: <b>{html.escape(value)}</b>" for name, value in facts.items())
    link = html.escape(url)
    page = f"<p>{opening}</p><p>{rows}</p><p><a href='{link}'>{link}</a></p><p>{closing}</p>"
    return RenderedMessage(subject, "\n".join(lines), page)


def visible(text: str, limit: int) -> str:
    """Shorten the text to one line of at most `limit` characters, and show hidden characters as `<U+202E>`.

    Mentions and links in it do not work: `https[:]//evil[.]test`. Only the review's own link does.
    """
    short = text if len(text) <= limit else text[: limit - 1] + "…"
    shown = "".join(marked(_BLANK.sub(" ", short), lambda char: f"<U+{ord(char):04X}>"))
    without_markup = _MARKUP.sub(lambda found: found.group() + _WORD_JOINER, shown)
    without_addresses = _ADDRESS.sub(lambda found: found.group().replace(".", "[.]"), without_markup)
    return _LINKED.sub(lambda found: f"[{found.group()}]", without_addresses)


def masked(channel: str) -> str:
    """Return the public part of a channel: the service, and the host if the URL has one. The rest is secret."""
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

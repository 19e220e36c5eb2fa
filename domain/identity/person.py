"""What may be said of a person or a group: addresses, names, the URLs by which they hear of reviews."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from domain.delivery.notification import EMAIL
from domain.identity.access import Role, is_namespace
from domain.values.errors import FieldError

MAX_EMAIL, MAX_NAME = 254, 100
MAX_CHANNELS, MAX_CHANNEL = 10, 2048
MAX_GROUPS = 50
# Roles of people: an agent is a program, and has a key.
ROLES = (Role.REVIEWER, Role.OPERATOR, Role.ADMIN)

# Enough to catch what is no address. Whether mail arrives there, only mail tells. ASCII: two letters that look alike
# must not make two people.
_EMAIL = re.compile(r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]+@[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_CHANNEL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Identity:
    """What an identity provider says of somebody. `subject`: its issuer and its own id of them.

    Attributes:
        groups: the names of theirs; None where it tells none, or nobody asked.
    """

    subject: str
    email: str | None
    email_verified: bool
    groups: tuple[str, ...] | None = None


def normal_email(text: str) -> str | None:
    """As it is stored and compared; None for what is no address."""
    given = text.strip()
    email = given.lower()
    # As it was given: letters there are (the sign of Kelvin) that only in lower case are plain ones.
    return email if len(email) <= MAX_EMAIL and given.isascii() and _EMAIL.fullmatch(email) else None


def name_errors(name: str) -> Iterator[FieldError]:
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable() or not name.strip():
        yield FieldError("name", f"must have 1 to {MAX_NAME} characters that can be printed")


def channel_errors(channels: Sequence[str], *, personal: bool = True) -> Iterator[FieldError]:
    """`personal`: of one person, who has an address that mail can go to."""
    if len(channels) > MAX_CHANNELS:
        yield FieldError("channels", f"at most {MAX_CHANNELS}")
    for number, channel in enumerate(channels[:MAX_CHANNELS]):
        if channel == EMAIL and personal:
            continue
        if len(channel) > MAX_CHANNEL or not _CHANNEL.fullmatch(channel):
            yield FieldError(f"channels[{number}]", "is not a URL like mailtos://… or slack://…")


def group_name_errors(path: str, name: str) -> Iterator[FieldError]:
    """As namespaces are called."""
    if not is_namespace(name):
        yield FieldError(path, "must be 1 to 63 lowercase letters, digits and hyphens, no hyphen at the ends")

"""The fields of a person or a group: e-mail addresses, names, and the channels that notify them of reviews."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from domain.delivery.notification import EMAIL
from domain.identity.access import Role, is_namespace
from domain.values.errors import FieldError

MAX_EMAIL, MAX_NAME = 254, 100
MAX_CHANNELS, MAX_CHANNEL = 10, 2048
MAX_GROUPS = 50
# The roles of people. An agent is a program and has a key.
ROLES = (Role.REVIEWER, Role.OPERATOR, Role.ADMIN)

# Catches what is not an address; only a message shows whether mail arrives. ASCII only, because two letters that look
# alike must not make two people.
_EMAIL = re.compile(r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]+@[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_CHANNEL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Identity:
    """A person according to an identity provider.

    Attributes:
        subject: the provider's issuer and its own id of the person.
        groups: the names of the person's groups; None if the provider sends none, or none were requested.
    """

    subject: str
    email: str | None
    email_verified: bool
    groups: tuple[str, ...] | None = None


def normal_email(text: str) -> str | None:
    """Return the address as it is stored and compared, or None if it is not one."""
    original = text.strip()
    email = original.lower()
    # The original must be ASCII: some other letters (the Kelvin sign) become ASCII in lower case.
    return email if len(email) <= MAX_EMAIL and original.isascii() and _EMAIL.fullmatch(email) else None


def name_errors(name: str) -> Iterator[FieldError]:
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable() or not name.strip():
        yield FieldError("name", f"must have 1 to {MAX_NAME} printable characters, not only blanks")


def channel_errors(channels: Sequence[str], *, personal: bool = True) -> Iterator[FieldError]:
    """Yield the errors. `personal`: the channels belong to one person, who may choose mail to the own address."""
    if len(channels) > MAX_CHANNELS:
        yield FieldError("channels", f"must have at most {MAX_CHANNELS} entries")
    for number, channel in enumerate(channels[:MAX_CHANNELS]):
        if channel == EMAIL and personal:
            continue
        if len(channel) > MAX_CHANNEL or not _CHANNEL.fullmatch(channel):
            yield FieldError(f"channels[{number}]", "is not a URL like mailtos://… or slack://…")


def group_name_errors(path: str, name: str) -> Iterator[FieldError]:
    """Yield the error of a group's name, which follows the rules of namespace names."""
    if not is_namespace(name):
        yield FieldError(path, "must be 1 to 63 lowercase letters, digits and hyphens, without a hyphen at the ends")

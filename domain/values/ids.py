"""Ids: a prefix that says what it names, and 32 lowercase hex digits that sort by time (UUID version 7, RFC 9562)."""

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

WATCH = "wch_"
MESSAGE = "msg_"
DELIVERY = "dlv_"
ENDPOINT = "ep_"
KEY = "key_"
DEFINITION = "def_"
USER = "usr_"
NOTIFICATION = "ntf_"

# The id of nothing: whoever watches all reviews, not one, waits for wake-ups under it.
INBOX = UUID(int=0)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HEX = re.compile(r"[0-9a-f]{32}")


def uuid7(at: datetime, random_bits: int) -> UUID:
    """To the microsecond in time order: the 12 bits after the milliseconds hold their fraction (RFC 9562, 6.2).

    `at` knows its zone; `random_bits`, of 62 bits, tells apart what was made at the same microsecond.
    """
    milliseconds, rest = divmod((at - _EPOCH) // timedelta(microseconds=1), 1000)
    value = (milliseconds & (1 << 48) - 1) << 80
    value |= 0x7 << 76
    value |= (rest << 12) // 1000 << 64
    value |= 0b10 << 62
    value |= random_bits & (1 << 62) - 1
    return UUID(int=value)


def text(prefix: str, id_: UUID) -> str:
    return prefix + id_.hex


def parse(prefix: str, value: str) -> UUID | None:
    """The id behind the text, or None when the text cannot be one."""
    if value.startswith(prefix) and _HEX.fullmatch(value[len(prefix) :]):
        return UUID(hex=value[len(prefix) :])
    return None

"""Ids: a prefix for the kind of resource, and 32 lowercase hex digits that sort by time (UUID version 7, RFC 9562)."""

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
RECEIPT = "rct_"
HOLD = "hld_"
# A saga's id is its trace id, whose form OpenTelemetry gives.
TRACE = ""

# No resource has this id: a page that shows all reviews waits for wake-ups under it.
INBOX = UUID(int=0)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HEX = re.compile(r"[0-9a-f]{32}")


def uuid7(at: datetime, random_bits: int) -> UUID:
    """Make an id that sorts by time to the microsecond.

    The 12 bits after the milliseconds hold their fraction (RFC 9562, 6.2). The 62 `random_bits` distinguish ids of the
    same microsecond. `at` is aware of its time zone.
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
    """Return the UUID in the text, or None if the text is not an id with this prefix."""
    if value.startswith(prefix) and _HEX.fullmatch(value[len(prefix) :]):
        return UUID(hex=value[len(prefix) :])
    return None

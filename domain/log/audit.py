"""The audit log: what an entry says, and how entries are chained: a change shows."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from domain.pauses.pause import SYSTEM
from domain.pauses.serialization import instant
from domain.values.canonical_json import encode_sorted

# Before the first entry of a chain.
ORIGIN = bytes(32)
# The chain of what belongs to no single namespace: people, groups, keys and endpoints of several namespaces.
EVERYWHERE = "*"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change.

    Attributes:
        namespace: whose chain it is written to.
        type: what was done: `pause.approved`.
        subject: the id of what it was done to.
        by, by_name: the key or person, or `system`.
        where: the address that the request came from.
        before, after: digests (`digest`) of the thing; None where there was none, or is none any more.
        details: what a reader needs beside that.
    """

    namespace: str
    type: str
    subject: str
    by: str = SYSTEM
    by_name: str = SYSTEM
    where: str | None = None
    before: str | None = None
    after: str | None = None
    details: Mapping[str, Any] | None = None


def text(entry: AuditEntry, at: datetime) -> str:
    """The entry as it is stored, and as it is hashed."""
    said = {name: getattr(entry, name) for name in AuditEntry.__slots__}
    return encode_sorted({**said, "at": instant(at)})


def chain_of(namespaces: Sequence[str]) -> str:
    """Whose chain tells of a thing that these namespaces share."""
    return namespaces[0] if len(set(namespaces)) == 1 else EVERYWHERE


def link(previous: bytes, seq: int, entry_text: str) -> bytes:
    """The hash of an entry; the database computes the same (migration 0006)."""
    # What is no text is never stored; it may stand in an export that somebody forged.
    return hashlib.sha256(previous + f"{seq}:{entry_text}".encode("utf-8", "surrogatepass")).digest()


def digest(document: object) -> str:
    """SHA-256 of a document as sorted, compact JSON; 64 hex digits."""
    return hashlib.sha256(encode_sorted(document).encode("utf-8", "replace")).hexdigest()

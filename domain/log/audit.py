"""The audit log: the content of an entry, and the hash chain that makes any later change visible."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from domain.pauses.pause import SYSTEM
from domain.pauses.serialization import instant
from domain.values.canonical_json import encode_sorted

# The hash before the first entry of a chain.
ORIGIN = bytes(32)
# The chain of resources without a single namespace: people, groups, keys and endpoints of several namespaces.
EVERYWHERE = "*"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change.

    Attributes:
        namespace: the namespace of its chain.
        type: the kind of change, like `pause.approved`.
        subject: the id of the changed resource.
        by, by_name: the key or person, or `system`.
        where: the client's address.
        before: the digest of the resource, None before its creation.
        after: the same, None after its deletion.
        details: further facts for a reader.
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
    """Return the entry as the text that is stored and hashed."""
    fields = {name: getattr(entry, name) for name in AuditEntry.__slots__}
    return encode_sorted({**fields, "at": instant(at)})


def chain_of(namespaces: Sequence[str]) -> str:
    """Return the chain of a resource that these namespaces share."""
    return namespaces[0] if len(set(namespaces)) == 1 else EVERYWHERE


def link(previous: bytes, seq: int, entry_text: str) -> bytes:
    """Return the hash of an entry. The database computes the same one (migration 0006)."""
    # Lone surrogates are never stored, but a forged export may contain them.
    return hashlib.sha256(previous + f"{seq}:{entry_text}".encode("utf-8", "surrogatepass")).digest()


def digest(document: object) -> str:
    """Return the SHA-256 of a document as sorted, compact JSON, in 64 hex digits."""
    return hashlib.sha256(encode_sorted(document).encode("utf-8", "replace")).hexdigest()

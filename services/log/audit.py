"""Read the audit log: list a page of a chain, verify chains, export them.

`UnitOfWork.record` writes entries; nothing here changes one.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, select, text, union

from domain.identity.access import Principal
from domain.log.audit import EVERYWHERE, ORIGIN
from domain.log.audit_chain import ChainEnd, ChainHeads, ChainRow, export_line
from domain.log.audit_chain import verify as verdict_on
from domain.pauses.serialization import instant
from domain.values.errors import Forbidden
from models.audit import audit_events, audit_heads
from services.kernel.pagination import Page, Slice, slice_of
from services.kernel.unit_of_work import Database

# Rows in memory at once. No transaction and no connection is held between two batches.
BATCH = 1_000
# Below the sequence number of any row, even of a forged one.
_LOWEST = -(2**62)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which entries to list. `namespace`: whose chain; None is the caller's own. `until` is exclusive."""

    namespace: str | None = None
    subject: str | None = None
    type: str | None = None
    by: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def list_events(database: Database, by: Principal, wanted: EventFilter, page: Page) -> Slice[dict[str, Any]]:
    """List entries, the newest first. A cursor holds the place in the chain. Raise `Forbidden`."""
    columns, entry = audit_events.c, audit_events.c.entry
    query = select(audit_events).where(columns.namespace == _allowed(by, wanted.namespace or by.own_namespace))
    for name in ("subject", "type", "by"):
        if (value := getattr(wanted, name)) is not None:
            query = query.where(entry[name].as_string() == value)
    # Timestamps as text sort by time under the C collation, whatever the database's locale is.
    at = entry["at"].as_string().collate("C")
    if wanted.since is not None:
        query = query.where(at >= instant(wanted.since))
    if wanted.until is not None:
        query = query.where(at < instant(wanted.until))
    if page.after is not None:
        query = query.where(columns.seq < page.after.int)
    query = query.order_by(columns.seq.desc()).limit(page.limit + 1).offset(page.offset)
    with database.reading() as conn:
        rows = conn.execute(query).mappings().all()
    return slice_of(rows, page, _document, lambda row: UUID(int=row["seq"]))


def verify(database: Database, by: Principal, namespace: str | None = None) -> dict[str, Any]:
    """Verify this chain, or all that the caller sees. Return `{ok, checked, first_bad}`. Raise `Forbidden`."""
    return verdict_on(_log(database, visible_chains(database, by, namespace))).document()


def export(database: Database, by: Principal, namespace: str | None = None) -> Iterator[str]:
    """Yield the lines of an export of this chain, or of all that the caller sees. Raise `Forbidden` at once."""
    return (export_line(item) + "\n" for item in _log(database, visible_chains(database, by, namespace)))


def record_export(database: Database, by: Principal, namespace: str | None = None) -> None:
    """Record an export before it begins. The entry goes into the installation's chain. Raise `Forbidden`.

    So it does not change the chains of namespaces that are being exported.
    """
    chosen = [EVERYWHERE] if namespace is None and by.sees_all else visible_chains(database, by, namespace)
    with database.transaction() as uow:
        uow.record(by, EVERYWHERE, "audit.exported", EVERYWHERE, namespaces=chosen)


def _allowed(by: Principal, namespace: str) -> str:
    if not by.sees(namespace):
        raise Forbidden(f"this key has no access to the audit log of {namespace!r}")
    return namespace


def visible_chains(database: Database, by: Principal, namespace: str | None) -> list[str]:
    """Return the namespaces of the chains to read: this one, or all that the caller sees. Raise `Forbidden`."""
    if namespace is not None:
        return [_allowed(by, namespace)]
    if not by.sees_all:
        return sorted(by.namespaces)
    with database.reading() as conn:
        # Both tables are read, because one of them may have been tampered with.
        known = union(select(audit_heads.c.namespace), select(audit_events.c.namespace))
        return sorted(conn.execute(known).scalars())


def _log(database: Database, namespaces: list[str]) -> Iterator[ChainRow | ChainHeads]:
    ends: dict[str, ChainEnd] = {}
    for namespace in namespaces:
        end = yield from _chain(database, namespace)
        if end is not None:
            ends[namespace] = end
    yield ChainHeads(ends)


def _chain(database: Database, namespace: str) -> Generator[ChainRow, None, ChainEnd | None]:
    """Yield the rows of a chain. Return where it has to end according to its head, or None if it has no head."""
    after, previous = _LOWEST, ORIGIN
    while True:
        with database.reading() as conn:
            found = conn.execute(_NEXT, {"namespace": namespace, "after": after, "batch": BATCH}).all()
        head = found[0]
        if head.seq is not None:
            for row in found:
                yield ChainRow(namespace, row.seq, bytes(row.hash), previous, row.entry)
                after, previous = row.seq, bytes(row.hash)
        if head.seq is None or len(found) < BATCH:
            return None if head.head_seq is None else ChainEnd(head.head_seq, bytes(head.head_hash))


# A batch and the head in one statement, and so in one snapshot: the last batch ends at the head.
_NEXT = text("""
SELECT head.seq AS head_seq, head.hash AS head_hash, event.seq, event.hash, event.entry
FROM (SELECT) AS one
LEFT JOIN audit_heads AS head ON head.namespace = :namespace
LEFT JOIN LATERAL (
    SELECT seq, hash, entry::text AS entry FROM audit_events
    WHERE namespace = :namespace AND seq > :after ORDER BY seq LIMIT :batch
) AS event ON true
ORDER BY event.seq
""")


def _document(row: RowMapping) -> dict[str, Any]:
    # A forged entry may be any JSON value. It must not prevent the others from being shown.
    entry = row["entry"] if isinstance(row["entry"], dict) else {"entry": row["entry"]}
    return {"seq": row["seq"], "hash": bytes(row["hash"]).hex(), **entry}

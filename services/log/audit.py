"""Read the audit log: list a page of a chain, verify chains, export them.

`UnitOfWork.record` writes entries, `services.log.sequencer` links them, and nothing here changes one. An entry that is
not linked yet has no place in its chain. It comes after all that are linked.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    LargeBinary,
    Row,
    RowMapping,
    Select,
    Table,
    cast,
    null,
    or_,
    select,
    text,
    union,
    union_all,
)

from domain.identity.access import Principal
from domain.log.audit import EVERYWHERE, ORIGIN
from domain.log.audit_chain import ChainEnd, ChainHeads, ChainRow, LogItem, Unlinked, export_line
from domain.log.audit_chain import verify as verdict_on
from domain.pauses.serialization import instant
from domain.values.errors import Forbidden
from models.audit import audit_events, audit_heads, audit_unlinked
from services.kernel.pagination import Page, Slice, slice_of
from services.kernel.unit_of_work import Database

# Rows in memory at once. No transaction and no connection is held between two batches.
BATCH = 1_000
# Below the sequence number of any row, even of a forged one.
_LOWEST = -(2**62)
_HIGHEST = 2**63 - 1
# In a cursor: the rest is the id of an unlinked entry, not a place in the chain.
_OF_UNLINKED = 1 << 127


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
    """List entries, the newest first. A cursor holds the place in the chain. Raise `Forbidden`.

    Entries that are not linked yet come first, by their ids. A cursor that names one holds its id, by which the next
    page finds the same place after the entry was linked.
    """
    namespace, after = _allowed(by, wanted.namespace or by.own_namespace), page.after.int if page.after else None
    linked, unlinked = (_matching(table, namespace, wanted) for table in (audit_events, audit_unlinked))
    parts = [linked, unlinked]
    if after is not None and after & _OF_UNLINKED:
        id_, entry_id = min(after ^ _OF_UNLINKED, _HIGHEST), audit_events.c.entry_id
        parts = [linked.where(or_(entry_id < id_, entry_id.is_(None))), unlinked.where(audit_unlinked.c.id < id_)]
    elif after is not None:
        parts = [linked.where(audit_events.c.seq < min(after, _HIGHEST))]
    # Unlinked entries have no `seq`, and PostgreSQL sorts those first.
    keys = audit_events.c.seq, audit_unlinked.c.id
    first = [
        part.order_by(key.desc()).limit(page.offset + page.limit + 1) for part, key in zip(parts, keys, strict=False)
    ]
    both = union_all(*first).subquery()
    query = select(both).order_by(both.c.seq.desc(), both.c.entry_id.desc()).limit(page.limit + 1).offset(page.offset)
    with database.reading() as conn:
        rows = conn.execute(query).mappings().all()
    return slice_of(rows, page, _document, _place)


def _matching(table: Table, namespace: str, wanted: EventFilter) -> Select[Any]:
    """Select the entries of a table that match the filter, with the same columns for both tables."""
    columns, entry = table.c, table.c.entry
    if table is audit_events:
        shown = [*columns["seq", "hash", "entry_id"], entry]
    else:
        absent = cast(null(), BigInteger).label("seq"), cast(null(), LargeBinary).label("hash")
        shown = [*absent, columns.id.label("entry_id"), entry]
    conditions: list[ColumnElement[bool]] = [columns.namespace == namespace]
    for name in ("subject", "type", "by"):
        if (value := getattr(wanted, name)) is not None:
            conditions.append(entry[name].as_string() == value)
    # Timestamps as text sort by time under the C collation, whatever the database's locale is.
    at = entry["at"].as_string().collate("C")
    if wanted.since is not None:
        conditions.append(at >= instant(wanted.since))
    if wanted.until is not None:
        conditions.append(at < instant(wanted.until))
    return select(*shown).where(*conditions)


def _place(row: RowMapping) -> UUID:
    return UUID(int=row["seq"] if row["seq"] is not None else row["entry_id"] | _OF_UNLINKED)


def verify(database: Database, by: Principal, namespace: str | None = None) -> dict[str, Any]:
    """Verify this chain, or all that the caller sees. Return the verdict's document. Raise `Forbidden`."""
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
        # All tables are read, because one of them may have been tampered with.
        tables = (audit_heads, audit_events, audit_unlinked)
        known = union(*(select(table.c.namespace) for table in tables))
        return sorted(conn.execute(known).scalars())


def _log(database: Database, namespaces: list[str]) -> Iterator[LogItem]:
    ends: dict[str, ChainEnd] = {}
    for namespace in namespaces:
        end = yield from _chain(database, namespace)
        if end is not None:
            ends[namespace] = end
    yield ChainHeads(ends)


def _chain(database: Database, namespace: str) -> Generator[LogItem, None, ChainEnd | None]:
    """Yield a chain's rows, then its unlinked entries.

    Return where it has to end according to its head, or None if it has no head.
    """
    after, previous = _LOWEST, ORIGIN
    while True:
        # The last batch ends at the head, and the entries that are not in it are unlinked: one snapshot has all three.
        with database.snapshot() as conn:
            found = conn.execute(_NEXT, {"namespace": namespace, "after": after, "batch": BATCH}).all()
            head = found[0]
            is_last = head.seq is None or len(found) < BATCH
            unlinked = _unlinked(conn, namespace, 0) if is_last else []
        if head.seq is not None:
            for row in found:
                yield ChainRow(namespace, row.seq, bytes(row.hash), previous, row.entry)
                after, previous = row.seq, bytes(row.hash)
        if is_last:
            break
    while unlinked:
        for row in unlinked:
            yield Unlinked(namespace, row.age, row.entry)
        if len(unlinked) < BATCH:
            break
        # Entries that have been linked since then are behind the head, and so belong to a later export.
        with database.reading() as conn:
            unlinked = _unlinked(conn, namespace, unlinked[-1].id)
    return None if head.head_seq is None else ChainEnd(head.head_seq, bytes(head.head_hash))


def _unlinked(conn: Connection, namespace: str, after: int) -> Sequence[Row[Any]]:
    return conn.execute(_UNLINKED, {"namespace": namespace, "after": after, "batch": BATCH}).all()


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
_UNLINKED = text("""
SELECT id, entry::text AS entry, floor(extract(epoch FROM clock_timestamp() - added_at))::integer AS age
FROM audit_unlinked WHERE namespace = :namespace AND id > :after ORDER BY id LIMIT :batch
""")


def _document(row: RowMapping) -> dict[str, Any]:
    # A forged entry may be any JSON value. It must not prevent the others from being shown.
    entry = row["entry"] if isinstance(row["entry"], dict) else {"entry": row["entry"]}
    hash_ = None if row["hash"] is None else bytes(row["hash"]).hex()
    return {"seq": row["seq"], "hash": hash_, **entry}

"""Read the audit log: list a page of a chain, verify chains, export them.

`UnitOfWork.record` writes entries, `services.log.sequencer` links them, and nothing here changes one. An entry that is
not linked yet has no place in its chain. It comes after all that are linked.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    LargeBinary,
    Row,
    RowMapping,
    Text,
    cast,
    literal_column,
    null,
    or_,
    select,
    text,
    true,
    tuple_,
    union,
)

from domain.identity.access import Principal
from domain.log.audit import EVERYWHERE, ORIGIN
from domain.log.audit_chain import ChainEnd, ChainHeads, ChainRow, LogItem, SignedRoot, Unlinked, export_line
from domain.log.audit_chain import verify as verdict_on
from domain.pauses.serialization import instant
from domain.values.errors import Forbidden
from models.audit import audit_checkpoints, audit_events, audit_heads, audit_unlinked
from services.kernel.pagination import Listing, Page, Slice, page_of
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
    chain, place = _allowed(by, wanted.namespace or by.own_namespace), page.after.int if page.after else None
    below = min(place ^ _OF_UNLINKED, _HIGHEST) if place is not None and place & _OF_UNLINKED else None
    found: list[RowMapping] = []
    # One snapshot: an entry that is linked meanwhile is on the page once.
    with database.snapshot() as conn:
        if place is None or below is not None:
            wide = Page(page.offset + page.limit, after=page.after)
            unlinked = page_of(conn, _unlinked_entries(chain, wanted), wide, lambda row: row, tuple_(below))
            found = unlinked.items
            if unlinked.next_after is not None:
                return Slice(_documents(found, page), page, UUID(int=unlinked.next_after.int | _OF_UNLINKED))
        shown = _documents(found, page)
        # At least one, to learn whether another page follows.
        rest = Page(max(page.limit - len(shown), 1), max(page.offset - len(found), 0), None if below else page.after)
        listing = _linked_entries(conn, chain, wanted, below)
        linked = page_of(conn, listing, rest, _document, tuple_(min(place or 0, _HIGHEST)))
    if len(shown) < page.limit:
        return Slice([*shown, *linked.items], page, linked.next_after)
    follows = linked.items or linked.next_after
    return Slice(shown, page, UUID(int=found[-1]["entry_id"] | _OF_UNLINKED) if follows else None)


def _unlinked_entries(chain: str, wanted: EventFilter) -> Listing:
    columns = audit_unlinked.c
    absent = cast(null(), BigInteger).label("seq"), cast(null(), LargeBinary).label("hash")
    query = select(*absent, columns.id, columns.id.label("entry_id"), columns.entry)
    filters = [columns.namespace == chain, *_filters(columns.entry, wanted), *_times(columns.entry, wanted)]
    return Listing(query, (columns.id,), [true()], (), filters, SEARCHED)


def _linked_entries(conn: Connection, chain: str, wanted: EventFilter, below: int | None) -> Listing:
    """Return the listing of the entries that are linked; with `below`, without those of that id or a higher one."""
    columns = audit_events.c
    # Each of them has an index. The first one leads to the rows, and the others are checked there.
    filters = _filters(columns.entry, wanted)
    branch = (columns.namespace == chain) & filters.pop(0) if filters else columns.namespace == chain
    if below is not None:
        filters.append(or_(columns.entry_id < below, columns.entry_id.is_(None)))
    bounds = _times(columns.entry, wanted)
    if wanted.since is not None:
        bounds.append(columns.seq >= _place_of(conn, chain, wanted.since - _DISORDER))
    if wanted.until is not None:
        bounds.append(columns.seq < _place_of(conn, chain, wanted.until + _DISORDER))
    return Listing(select(audit_events), (columns.seq,), [branch], bounds, filters, SEARCHED)


def _filters(entry: Column[Any], wanted: EventFilter) -> list[ColumnElement[bool]]:
    given = [(name, value) for name in ("subject", "by", "type") if (value := getattr(wanted, name)) is not None]
    return [text_of(name, entry) == value for name, value in given]


def text_of(name: str, entry: Column[Any] = audit_events.c.entry) -> ColumnElement[str]:
    """Return a field of the entry as the indexes have it: a bound name would not match their expressions."""
    return literal_column(f"({entry.table.name}.entry ->> '{name}')", Text)


def _times(entry: Column[Any], wanted: EventFilter) -> list[ColumnElement[bool]]:
    # Timestamps as text sort by time under the C collation, whatever the database's locale is.
    at = entry["at"].as_string().collate("C")
    bounds = []
    if wanted.since is not None:
        bounds.append(at >= instant(wanted.since))
    if wanted.until is not None:
        bounds.append(at < instant(wanted.until))
    return bounds


def _documents(found: Sequence[RowMapping], page: Page) -> list[dict[str, Any]]:
    return [_document(row) for row in found[page.offset :]]


def _place_of(conn: Connection, chain: str, at: datetime) -> int:
    """Return the place in the chain of the first entry at this time or later, by a binary search."""
    return int(conn.execute(_PLACE, {"namespace": chain, "at": instant(at)}).scalar_one())


# How much later than a following entry an entry may have been written: a transaction takes its time at its beginning.
_DISORDER = timedelta(minutes=1)
# Entries that one page reads to find its matches. PostgreSQL parses each one.
SEARCHED = 1_000
_PLACE = text("""
WITH RECURSIVE search (low, high) AS (
    SELECT coalesce(min(seq), 0), coalesce(max(seq), 0) + 1 FROM audit_events WHERE namespace = :namespace
    UNION ALL
    SELECT CASE WHEN earlier THEN middle + 1 ELSE low END, CASE WHEN earlier THEN high ELSE middle END
    FROM search
    CROSS JOIN LATERAL (SELECT (low + high) / 2 AS middle) AS half
    CROSS JOIN LATERAL (
        SELECT coalesce((entry ->> 'at') COLLATE "C" < :at, false) AS earlier FROM audit_events
        WHERE namespace = :namespace AND seq >= middle ORDER BY seq LIMIT 1
    ) AS event
    WHERE low < high
)
SELECT max(low) FROM search
""")


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
        tables = (audit_heads, audit_events, audit_unlinked, audit_checkpoints)
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
    """Yield a chain's checkpoints, its rows, then its unlinked entries.

    Return where it has to end according to its head, or None if it has no head.
    """
    with database.reading() as conn:
        checkpoints = conn.execute(_CHECKPOINTS, {"namespace": namespace}).all()
    for each in checkpoints:
        yield SignedRoot(namespace, each.size, bytes(each.root), each.note)
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


_CHECKPOINTS = text("SELECT size, root, note FROM audit_checkpoints WHERE namespace = :namespace ORDER BY size")
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

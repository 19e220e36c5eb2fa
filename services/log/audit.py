"""Reading the audit log: a page of a chain, whether it is whole, and all of it for keeping elsewhere.

Entries are written by `Tx.record`; nothing here changes one.
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

# Rows that are in memory at once; no transaction and no connection is held from one batch to the next.
BATCH = 1_000
# Below any row, also one that does not belong there.
_LOWEST = -(2**62)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """`namespace`: whose chain; None is the caller's own. `until` is not included."""

    namespace: str | None = None
    subject: str | None = None
    type: str | None = None
    by: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def list_events(database: Database, by: Principal, wanted: EventFilter, page: Page) -> Slice[dict[str, Any]]:
    """The newest first. A cursor holds the place in the chain. Raises `Forbidden`."""
    columns, entry = audit_events.c, audit_events.c.entry
    query = select(audit_events).where(columns.namespace == _allowed(by, wanted.namespace or by.own_namespace))
    for name in ("subject", "type", "by"):
        if (value := getattr(wanted, name)) is not None:
            query = query.where(entry[name].as_string() == value)
    # As text, which has the order of time; whatever the database's language is.
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
    """`{ok, checked, first_bad}`, of every chain that the caller sees or of this one. Raises `Forbidden`."""
    return verdict_on(_log(database, visible_chains(database, by, namespace))).document()


def export(database: Database, by: Principal, namespace: str | None = None) -> Iterator[str]:
    """The lines of an export of every chain that the caller sees, or of this one. Raises `Forbidden` at once."""
    return (export_line(item) + "\n" for item in _log(database, visible_chains(database, by, namespace)))


def record_export(database: Database, by: Principal, namespace: str | None = None) -> None:
    """Before it begins, in the chain of all: those that leave stay as they leave. Raises `Forbidden`."""
    chosen = [EVERYWHERE] if namespace is None and by.sees_all else visible_chains(database, by, namespace)
    with database.transaction() as uow:
        uow.record(by, EVERYWHERE, "audit.exported", EVERYWHERE, namespaces=chosen)


def _allowed(by: Principal, namespace: str) -> str:
    if not by.sees(namespace):
        raise Forbidden(f"this key has no access to the audit log of {namespace!r}")
    return namespace


def visible_chains(database: Database, by: Principal, namespace: str | None) -> list[str]:
    """Whose chains the caller sees, or this one's. Raises `Forbidden`."""
    if namespace is not None:
        return [_allowed(by, namespace)]
    if not by.sees_all:
        return sorted(by.namespaces)
    with database.reading() as conn:
        # Of both: one of them may have been tampered with.
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
    """Returns where the chain has to end by its head; None where there is no head."""
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


# A batch, and the head as it was with the batch: one statement sees one moment, so a last batch ends at its head.
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
    # An entry may be anything: whoever changed the table without us shall not hide the others.
    entry = row["entry"] if isinstance(row["entry"], dict) else {"entry": row["entry"]}
    return {"seq": row["seq"], "hash": bytes(row["hash"]).hex(), **entry}

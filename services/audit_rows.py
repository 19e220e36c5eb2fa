"""Whether pauses say what the log says of them: who decided what, on which arguments. A row that was changed in the
database since does not fit any more."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, bindparam, select, text

from domain import ids, json_value
from domain.access import Principal
from models.pauses import pauses
from services.audit import BATCH, visible_chains
from services.transaction import Store

# Of an entry's details that were not always there.
_UNKNOWN = object()


@dataclass(frozen=True, slots=True)
class RowVerdict:
    """`checked`: decided pauses that were compared. `first_bad`: which one does not fit, in what, and both values."""

    checked: int
    first_bad: dict[str, Any] | None

    def document(self) -> dict[str, Any]:
        return {"checked": self.checked, "first_bad": self.first_bad}


def verify_rows(store: Store, by: Principal, namespace: str | None = None) -> RowVerdict:
    """Of every namespace that the caller sees, or of this one. Stops at the first. Raises `Forbidden`."""
    checked = 0
    for chain in visible_chains(store, by, namespace):
        after = UUID(int=0)
        while True:
            with store.reading() as conn:
                wanted = {"namespace": chain, "after": after, "batch": BATCH}
                rows = conn.execute(_DECIDED, wanted).mappings().all()
                watches = [ids.text(ids.WATCH, row["id"]) for row in rows]
                logged = {
                    entry.subject: entry
                    for entry in conn.execute(_LAST, {"namespace": chain, "subjects": watches, "types": _TYPES})
                }
            for row, watch_id in zip(rows, watches, strict=True):
                checked += 1
                entry = logged.get(watch_id)
                for field, told, found in _differences(row, entry):
                    bad = {"namespace": chain, "id": watch_id, "field": field, "logged": told, "found": found}
                    return RowVerdict(checked, bad | {"seq": None if entry is None else entry.seq})
            if len(rows) < BATCH:
                break
            after = rows[-1]["id"]
    return RowVerdict(checked, None)


def _differences(row: RowMapping, logged: Any) -> Iterator[tuple[str, Any, Any]]:
    """Field, what the log says, and what the row says."""
    if logged is None:
        # Who goes around the service and decides a pause leaves no entry.
        return (yield "status", "pending", row["status"])
    entry = logged.entry
    details = entry.get("details") or {}
    own_digest = None if row["arguments_digest"] is None else bytes(row["arguments_digest"]).hex()
    pairs = [
        ("status", entry["type"].removeprefix("pause."), row["status"]),
        ("decided_by", entry["by"], row["decided_by"]),
        ("decided_by_name", entry["by_name"], row["decided_by_name"]),
        ("comment", details.get("comment", _UNKNOWN), row["comment"]),
        ("revision", details.get("revision", _UNKNOWN), row["revision"]),
        ("arguments_digest", details.get("arguments_digest"), own_digest),
        ("arguments", own_digest, None if row["arguments"] is None else json_value.digest(row["arguments"]).hex()),
    ]
    yield from ((field, told, found) for field, told, found in pairs if told is not _UNKNOWN and told != found)


_TYPES = ["pause.approved", "pause.rejected", "pause.expired", "pause.cancelled"]
_DECIDED = (
    select(pauses)
    .where(pauses.c.namespace == bindparam("namespace"), pauses.c.status != "pending")
    .where(pauses.c.id > bindparam("after"))
    .order_by(pauses.c.id)
    .limit(bindparam("batch"))
)
_LAST = text("""
SELECT DISTINCT ON (entry ->> 'subject') entry ->> 'subject' AS subject, seq, entry
FROM audit_events
WHERE namespace = :namespace AND entry ->> 'subject' = ANY(:subjects) AND entry ->> 'type' = ANY(:types)
ORDER BY entry ->> 'subject', seq DESC
""")

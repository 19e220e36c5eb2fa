"""Compare rows with the audit log: pauses with their votes, sagas and their steps.

A row that was changed directly in the database differs from its log entries.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection, Select, Table, TextClause, Uuid, any_, bindparam, func, select, text, tuple_
from sqlalchemy.dialects.postgresql import ARRAY

from domain.identity.access import Principal
from domain.log.audit_rows import Difference, LoggedPause, LoggedSaga, LoggedStep, RowKind, pause_row, step_row
from domain.values import ids
from models.definitions import definitions
from models.pauses import pauses
from models.sagas import saga_steps, sagas
from services.kernel.unit_of_work import Database
from services.log.audit import visible_chains

# Rows and entries in memory at once. A row has up to a megabyte.
ROWS, ENTRIES = 50, 1_000
# Differences that a verdict lists. It counts all of them.
LISTED = 100


@dataclass
class RowVerdict:
    """The result of a comparison.

    Attributes:
        pauses: how many were compared.
        sagas: likewise.
        steps: likewise.
        partly: how many of them have entries of an older release, which say less.
        differences: how many were found.
        bad: the first `LISTED` differences, as documents.
    """

    pauses: int = 0
    sagas: int = 0
    steps: int = 0
    partly: int = 0
    differences: int = 0
    bad: list[dict[str, Any]] = field(default_factory=list)

    def add(self, found: Iterator[Difference], **row: str | None) -> None:
        for each in found:
            self.differences += 1
            if len(self.bad) < LISTED:
                said = {"field": each.field, "logged": each.logged, "found": each.found, "seq": each.seq}
                self.bad.append({**row, **said})

    @property
    def checked(self) -> int:
        return self.pauses + self.sagas + self.steps

    @property
    def first_bad(self) -> dict[str, Any] | None:
        return self.bad[0] if self.bad else None

    def document(self) -> dict[str, Any]:
        counts = ("checked", "pauses", "sagas", "steps", "partly", "differences", "bad", "first_bad")
        return {name: getattr(self, name) for name in counts}


# The last row of the batch before.
_Cursor = Mapping[str, Any]
_START: _Cursor = {"created_at": datetime(1, 1, 1, tzinfo=UTC), "id": UUID(int=0), "seq": 0}


def verify_rows(database: Database, by: Principal, namespace: str | None = None) -> RowVerdict:
    """Compare the rows of this namespace, or of all that the caller sees. Raise `Forbidden`."""
    verdict = RowVerdict()
    for chain in visible_chains(database, by, namespace):
        for batch in (_pauses, _sagas, _gone):
            after: _Cursor | None = _START
            while after is not None:
                # One snapshot for rows and entries, so that a change is in both or in neither.
                with database.snapshot() as conn:
                    after = batch(conn, chain, after, verdict)
    return verdict


def _pauses(conn: Connection, chain: str, after: _Cursor, verdict: RowVerdict) -> _Cursor | None:
    """Compare a batch of pauses. Return its last row, or None after the last batch."""
    rows = _rows(conn, _PAUSES, {"namespace": chain, **_place(after)})
    logged = _logged(conn, chain, [ids.text(ids.WATCH, row["id"]) for row in rows], LoggedPause)
    for row in rows:
        id_ = ids.text(ids.WATCH, row["id"])
        verdict.pauses += 1
        verdict.partly += logged[id_].partly
        verdict.add(logged[id_].against(pause_row(row)), namespace=chain, kind=RowKind.PAUSE, id=id_, span=None)
    return _last(rows)


def _sagas(conn: Connection, chain: str, after: _Cursor, verdict: RowVerdict) -> _Cursor | None:
    rows = _rows(conn, _SAGAS, {"namespace": chain, **_place(after)})
    logged = _logged(conn, chain, [row["id"].hex for row in rows], LoggedSaga)
    for row in rows:
        verdict.sagas += 1
        of_saga = {"namespace": chain, "id": row["id"].hex}
        verdict.add(logged[row["id"].hex].against(row), kind=RowKind.SAGA, span=None, **of_saga)
    for step in _steps(conn, [row["id"] for row in rows]):
        id_, found = step["saga_id"].hex, step_row(step)
        said = logged[id_].steps.get(found.span) or LoggedStep()
        verdict.steps += 1
        verdict.partly += said.partly
        verdict.add(said.against(found), namespace=chain, kind=RowKind.STEP, id=id_, span=found.span)
    return _last(rows)


def _gone(conn: Connection, chain: str, after: _Cursor, verdict: RowVerdict) -> _Cursor | None:
    """Find pauses and sagas that the log says are open but that have no row. Ended ones may have been pruned."""
    entries = _rows(conn, _BEGUN, {"namespace": chain, "seq": after["seq"], "batch": ENTRIES})
    for kind, type_, table, prefix, made in _BEGINNINGS:
        begun = {entry["subject"]: entry["seq"] for entry in entries if entry["type"] == type_}
        known = {subject: ids.parse(prefix, subject) for subject in begun}
        there = set(conn.execute(select(table.c.id).where(table.c.id.in_(list(known.values())))).scalars())
        missing = [subject for subject, id_ in known.items() if id_ not in there]
        logged = _logged(conn, chain, missing, made) if missing else {}
        for subject in missing:
            if not logged[subject].ended:
                difference = Difference("status", "not ended", None, begun[subject])
                verdict.add(iter([difference]), namespace=chain, kind=kind, id=subject, span=None)
    return entries[-1] if len(entries) == ENTRIES else None


_BEGINNINGS: tuple[tuple[RowKind, str, Table, str, Callable[[], LoggedPause | LoggedSaga]], ...] = (
    (RowKind.PAUSE, "pause.created", pauses, ids.WATCH, LoggedPause),
    (RowKind.SAGA, "saga.started", sagas, "", LoggedSaga),
)


def _rows(conn: Connection, query: Select[Any] | TextClause, wanted: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(row) for row in conn.execute(query, wanted).mappings()]


def _place(row: _Cursor) -> dict[str, Any]:
    return {"last_created_at": row["created_at"], "last_id": row["id"]}


def _last(rows: list[dict[str, Any]]) -> _Cursor | None:
    return rows[-1] if len(rows) == ROWS else None


_L = TypeVar("_L", bound=LoggedPause | LoggedSaga)


def _logged(conn: Connection, chain: str, subjects: list[str], made: Callable[[], _L]) -> Mapping[str, _L]:
    logged: dict[str, _L] = defaultdict(made)
    subject, seq = "", 0
    while True:
        wanted = {"namespace": chain, "subjects": subjects, "subject": subject, "seq": seq, "batch": ENTRIES}
        entries = conn.execute(_ENTRIES, wanted).all()
        for subject, seq, entry in entries:
            logged[subject].read(seq, entry)
        if len(entries) < ENTRIES:
            return logged


def _steps(conn: Connection, saga_ids: list[UUID]) -> Iterator[dict[str, Any]]:
    saga_id, place = UUID(int=0), -1
    while True:
        wanted = {"saga_ids": saga_ids, "saga_id": saga_id, "place": place}
        rows = _rows(conn, _STEPS, wanted)
        yield from rows
        if len(rows) < ROWS:
            return
        saga_id, place = rows[-1]["saga_id"], rows[-1]["place"]


_PAUSES = (
    select(pauses)
    .where(pauses.c.namespace == bindparam("namespace"), pauses.c.id > bindparam("last_id"))
    .order_by(pauses.c.id)
    .limit(ROWS)
)
_SAGAS = (
    select(
        *sagas.c["id", "created_at", "status", "input", "cancelled", "ended_at"],
        func.concat(definitions.c.name, " ", definitions.c.version).label("definition"),
    )
    .outerjoin(definitions, definitions.c.id == sagas.c.definition_id)
    .where(sagas.c.namespace == bindparam("namespace"))
    .where(tuple_(sagas.c.created_at, sagas.c.id) > tuple_(bindparam("last_created_at"), bindparam("last_id")))
    .order_by(sagas.c.created_at, sagas.c.id)
    .limit(ROWS)
)
_STEPS = (
    select(saga_steps)
    .where(saga_steps.c.saga_id == any_(bindparam("saga_ids", type_=ARRAY(Uuid))))
    .where(
        tuple_(saga_steps.c.saga_id, saga_steps.c.place) > tuple_(bindparam("saga_id", type_=Uuid), bindparam("place"))
    )
    .order_by(saga_steps.c.saga_id, saga_steps.c.place)
    .limit(ROWS)
)
# `waiting`: entries that are not linked yet, with the places that they get if no other entry comes before.
_WAITING = """
WITH waiting AS (
    SELECT entry ->> 'subject' AS subject, entry, row_number() OVER (ORDER BY id)
        + coalesce((SELECT seq FROM audit_heads WHERE namespace = :namespace), 0) AS seq
    FROM audit_unlinked WHERE namespace = :namespace
)
"""
_BEGUN = text(f"""{_WAITING}
(
    SELECT seq, entry ->> 'subject' AS subject, entry ->> 'type' AS type
    FROM audit_events WHERE namespace = :namespace AND seq > :seq ORDER BY seq LIMIT :batch
)
UNION ALL SELECT seq, subject, entry ->> 'type' FROM waiting WHERE seq > :seq
ORDER BY seq LIMIT :batch
""")  # noqa: S608  (constants)
_ENTRIES = text(f"""{_WAITING}
(
    SELECT entry ->> 'subject' AS subject, seq, entry
    FROM audit_events
    WHERE namespace = :namespace AND entry ->> 'subject' = ANY(:subjects)
        AND (entry ->> 'subject', seq) > (:subject, :seq)
    ORDER BY entry ->> 'subject', seq
    LIMIT :batch
)
UNION ALL
SELECT subject, seq, entry FROM waiting WHERE subject = ANY(:subjects) AND (subject, seq) > (:subject, :seq)
ORDER BY subject, seq
LIMIT :batch
""")  # noqa: S608  (constants)

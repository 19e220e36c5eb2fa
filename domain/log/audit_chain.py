"""Is the audit log whole? The server asks it of its rows, `sagahold audit verify FILE` of an export.

An export is JSON Lines: one for each row, each chain in its order, and a last line with the heads of all chains, by
which a tail that was cut off is found. A row is only as well named as the chain allows: where somebody also computed
the hash of a changed row anew, it is the next one that no longer fits.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from domain.log import audit
from domain.values.canonical_json import encode


class ChainError(StrEnum):
    CHANGED = "changed"
    MISSING = "missing"
    INSERTED = "inserted"


@dataclass(frozen=True, slots=True)
class ChainRow:
    """A stored entry. `previous`: the hash of the row before it."""

    namespace: str
    seq: int
    hash: bytes
    previous: bytes
    text: str


@dataclass(frozen=True, slots=True)
class ChainEnd:
    """Where a chain ends."""

    seq: int = 0
    hash: bytes = audit.ORIGIN


@dataclass(frozen=True, slots=True)
class ChainHeads:
    """Where each chain has to end, by its namespace; what comes after the rows."""

    ends: Mapping[str, ChainEnd]


@dataclass(frozen=True, slots=True)
class Bad:
    namespace: str
    seq: int
    what: ChainError


@dataclass(frozen=True, slots=True)
class ChainVerdict:
    """`checked`: rows that were looked at, the bad one included."""

    checked: int
    first_bad: Bad | None

    def document(self) -> dict[str, Any]:
        bad = self.first_bad
        found = None if bad is None else {"namespace": bad.namespace, "seq": bad.seq, "what": str(bad.what)}
        return {"ok": bad is None, "checked": self.checked, "first_bad": found}


def verify(log: Iterable[ChainRow | ChainHeads]) -> ChainVerdict:
    """Stops at the first row that is wrong."""
    ends: dict[str, ChainEnd] = {}
    heads: ChainHeads | None = None
    latest, checked = audit.EVERYWHERE, 0
    for item in log:
        if isinstance(item, ChainHeads):
            heads = item
            continue
        checked += 1
        if heads is not None:
            return ChainVerdict(checked, Bad(item.namespace, item.seq, ChainError.INSERTED))
        if bad := _misfit(item, ends.get(item.namespace, ChainEnd())):
            return ChainVerdict(checked, bad)
        ends[item.namespace] = ChainEnd(item.seq, item.hash)
        latest = item.namespace
    if heads is None:
        return ChainVerdict(checked, Bad(latest, ends.get(latest, ChainEnd()).seq + 1, ChainError.MISSING))
    return ChainVerdict(checked, _wrong_end(ends, heads.ends))


def _misfit(row: ChainRow, end: ChainEnd) -> Bad | None:
    following = end.seq + 1
    if row.seq > following:
        return Bad(row.namespace, following, ChainError.MISSING)
    if row.seq < following:
        return Bad(row.namespace, row.seq, ChainError.INSERTED)
    if audit.link(row.previous, row.seq, row.text) != row.hash or not _is_of(row.namespace, row.text):
        return Bad(row.namespace, row.seq, ChainError.CHANGED)
    if row.previous != end.hash:
        # It is linked to another row than the one that stands before it.
        return Bad(row.namespace, max(end.seq, 1), ChainError.CHANGED)
    return None


def _is_of(namespace: str, text: str) -> bool:
    """The hash does not hold the chain's name, but the entry does: one chain cannot stand in for another."""
    entry = json.loads(text)
    return isinstance(entry, dict) and entry.get("namespace") == namespace


def _wrong_end(ends: Mapping[str, ChainEnd], heads: Mapping[str, ChainEnd]) -> Bad | None:
    for namespace in sorted(ends.keys() | heads.keys()):
        end, head = ends.get(namespace, ChainEnd()), heads.get(namespace)
        if head is None or head.seq > end.seq:
            return Bad(namespace, end.seq + 1, ChainError.MISSING)
        if head.seq < end.seq:
            return Bad(namespace, head.seq + 1, ChainError.INSERTED)
        if head.hash != end.hash:
            return Bad(namespace, end.seq, ChainError.CHANGED)
    return None


# Before the last thing that stands in the line of a row.
_ENTRY = ',"entry":'


def export_line(item: ChainRow | ChainHeads) -> str:
    if isinstance(item, ChainHeads):
        return encode({"heads": [_place(namespace, end) for namespace, end in item.ends.items()]})
    said = _place(item.namespace, ChainEnd(item.seq, item.hash)) | {"previous_hash": item.previous.hex()}
    # The entry as it is stored, letter for letter.
    return encode(said)[:-1] + _ENTRY + item.text + "}"


def _place(namespace: str, end: ChainEnd) -> dict[str, Any]:
    return {"namespace": namespace, "seq": end.seq, "hash": end.hash.hex()}


def read_line(line: str) -> ChainRow | ChainHeads:
    """A line of an export. Raises `ValueError` for anything else."""
    try:
        before, is_row, text = line.strip().partition(_ENTRY)
        if not is_row:
            return _read_heads(_loads(before))
        place = _loads(before + "}")
        previous = bytes.fromhex(place.pop("previous_hash"))
        namespace, end = _end(place)
        # As it stands there: it is hashed as text. That it is JSON, and nothing comes after it, is all that is asked.
        text = text.removesuffix("}")
        _loads(text)
        return ChainRow(namespace, end.seq, end.hash, previous, text)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ValueError("is not a line of an audit export") from None


def _read_heads(found: dict[str, Any]) -> ChainHeads:
    match found:
        case {"heads": list(heads)} if len(found) == 1:
            return ChainHeads(dict(_end(head) for head in heads))
    raise ValueError


def _end(place: dict[str, Any]) -> tuple[str, ChainEnd]:
    """What else stands there is in no hash: it is refused."""
    match place:
        case {"namespace": str(namespace), "seq": int(seq), "hash": str(hash_)} if len(place) == 3:
            return namespace, ChainEnd(seq, bytes.fromhex(hash_))
    raise ValueError


def _loads(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_once_each)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A name that stands twice shows a reader one value, and the verification another."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found

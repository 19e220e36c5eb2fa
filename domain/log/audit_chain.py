"""Verification of the audit log, of the server's rows or of an export (`sagahold audit verify FILE`).

An export is JSON Lines: one line for each row, with each chain in its order. The chain's signed checkpoints precede
it, and entries that are not linked yet follow it. The last line has the heads of all chains, which reveal a missing
tail. The verdict names the first row that does not fit. If a forger also recomputed the hash of a changed row, that is
the next row. If all hashes were recomputed, a checkpoint does not fit.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from domain.log import audit
from domain.log.checkpoint import read_checkpoint, read_note
from domain.log.merkle import GrowingTree, leaf_hash
from domain.values.canonical_json import encode

# Seconds. An entry is linked within a second or two. If it waits longer, no process links entries.
OVERDUE = 15


class ChainError(StrEnum):
    CHANGED = "changed"
    MISSING = "missing"
    INSERTED = "inserted"
    REWRITTEN = "rewritten"


@dataclass(frozen=True, slots=True)
class ChainRow:
    """A stored entry. `previous` is the hash of the row before it."""

    namespace: str
    seq: int
    hash: bytes
    previous: bytes
    text: str


@dataclass(frozen=True, slots=True)
class Unlinked:
    """A stored entry that is not linked yet, `age` seconds after it was written. Nothing reveals a change of it."""

    namespace: str
    age: int
    text: str


@dataclass(frozen=True, slots=True)
class SignedRoot:
    """A checkpoint of the chain: its first `size` entries have this Merkle root. It precedes the chain's rows.

    Attributes:
        note: the signed note, whose signature is not verified here. Empty if only its content is known.
    """

    namespace: str
    size: int
    root: bytes
    note: str = ""


@dataclass(frozen=True, slots=True)
class ChainEnd:
    """The last entry of a chain."""

    seq: int = 0
    hash: bytes = audit.ORIGIN


@dataclass(frozen=True, slots=True)
class ChainHeads:
    """The expected end of each chain, by its namespace. It follows the rows."""

    ends: Mapping[str, ChainEnd]


LogItem = SignedRoot | ChainRow | Unlinked | ChainHeads


@dataclass(frozen=True, slots=True)
class Bad:
    namespace: str
    seq: int
    what: ChainError


@dataclass(frozen=True, slots=True)
class ChainVerdict:
    """The result of a verification.

    Attributes:
        checked: counts the rows, including the bad one.
        first_bad: the first wrong row. If entries were rewritten, the first one after those that a checkpoint proves.
        unlinked: counts the entries that are not linked yet.
        overdue: counts those among them that should be.
        signed: counts the checkpoints whose roots fit.
    """

    checked: int
    first_bad: Bad | None
    unlinked: int = 0
    overdue: int = 0
    signed: int = 0

    def document(self) -> dict[str, Any]:
        bad = self.first_bad
        found = None if bad is None else {"namespace": bad.namespace, "seq": bad.seq, "what": str(bad.what)}
        waiting = {"unlinked": self.unlinked, "overdue": self.overdue, "signed": self.signed}
        return {"ok": bad is None and not self.overdue, "checked": self.checked, **waiting, "first_bad": found}


@dataclass(slots=True)
class _SignedRoots:
    """The Merkle trees of the chains, compared with their checkpoints while they grow."""

    roots: dict[str, dict[int, bytes]] = field(default_factory=dict)
    trees: dict[str, GrowingTree] = field(default_factory=dict)
    fitting: dict[str, int] = field(default_factory=dict)
    count: int = 0

    def expect(self, signed: SignedRoot) -> Bad | None:
        known = self.roots.setdefault(signed.namespace, {})
        if known.setdefault(signed.size, signed.root) != signed.root:
            return Bad(signed.namespace, 1, ChainError.REWRITTEN)
        return None

    def add(self, row: ChainRow) -> Bad | None:
        if row.namespace not in self.roots:
            return None
        tree = self.trees.setdefault(row.namespace, GrowingTree())
        tree.add(leaf_hash(row.text))
        root = self.roots[row.namespace].get(tree.size)
        if root is not None and root != tree.root():
            return Bad(row.namespace, self.fitting.get(row.namespace, 0) + 1, ChainError.REWRITTEN)
        if root is not None:
            self.fitting[row.namespace] = tree.size
            self.count += 1
        return None

    def cut(self) -> Bad | None:
        """Return the first missing entry of a chain that ends before the size of one of its checkpoints."""
        for namespace, roots in sorted(self.roots.items()):
            size = self.trees[namespace].size if namespace in self.trees else 0
            if max(roots) > size:
                return Bad(namespace, size + 1, ChainError.MISSING)
        return None


def verify(log: Iterable[LogItem]) -> ChainVerdict:
    """Verify the rows, up to the first one that is wrong."""
    ends: dict[str, ChainEnd] = {}
    signed = _SignedRoots()
    heads: ChainHeads | None = None
    latest, checked, ages = audit.EVERYWHERE, 0, list[int]()
    for item in log:
        if isinstance(item, ChainHeads):
            heads = item
            continue
        if isinstance(item, SignedRoot):
            if bad := signed.expect(item):
                return ChainVerdict(checked, bad)
            continue
        if isinstance(item, Unlinked):
            if heads is not None:
                following = ends.get(item.namespace, ChainEnd()).seq + 1
                return ChainVerdict(checked, Bad(item.namespace, following, ChainError.INSERTED))
            ages.append(item.age)
            continue
        checked += 1
        if heads is not None:
            return ChainVerdict(checked, Bad(item.namespace, item.seq, ChainError.INSERTED))
        if bad := _misfit(item, ends.get(item.namespace, ChainEnd())) or signed.add(item):
            return ChainVerdict(checked, bad)
        ends[item.namespace] = ChainEnd(item.seq, item.hash)
        latest = item.namespace
    if heads is None:
        return ChainVerdict(checked, Bad(latest, ends.get(latest, ChainEnd()).seq + 1, ChainError.MISSING))
    bad = _wrong_end(ends, heads.ends) or signed.cut()
    return ChainVerdict(checked, bad, len(ages), sum(age >= OVERDUE for age in ages), signed.count)


def _misfit(row: ChainRow, end: ChainEnd) -> Bad | None:
    following = end.seq + 1
    if row.seq > following:
        return Bad(row.namespace, following, ChainError.MISSING)
    if row.seq < following:
        return Bad(row.namespace, row.seq, ChainError.INSERTED)
    if audit.link(row.previous, row.seq, row.text) != row.hash or not _is_of(row.namespace, row.text):
        return Bad(row.namespace, row.seq, ChainError.CHANGED)
    if row.previous != end.hash:
        # Its link names a different row than the one before it.
        return Bad(row.namespace, max(end.seq, 1), ChainError.CHANGED)
    return None


def _is_of(namespace: str, text: str) -> bool:
    """Return whether the entry names this chain. The hash does not cover that, so a chain could replace another."""
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


# It precedes the entry, the last field in the line of a row.
_ENTRY = ',"entry":'


def export_line(item: LogItem) -> str:
    if isinstance(item, ChainHeads):
        return encode({"heads": [_place(namespace, end) for namespace, end in item.ends.items()]})
    if isinstance(item, SignedRoot):
        return encode({"checkpoint": item.note})
    if isinstance(item, Unlinked):
        fields: dict[str, Any] = {"namespace": item.namespace, "unlinked_for": item.age}
    else:
        fields = _place(item.namespace, ChainEnd(item.seq, item.hash)) | {"previous_hash": item.previous.hex()}
    # The entry stays exactly as it is stored, because its text is hashed.
    return encode(fields)[:-1] + _ENTRY + item.text + "}"


def _place(namespace: str, end: ChainEnd) -> dict[str, Any]:
    return {"namespace": namespace, "seq": end.seq, "hash": end.hash.hex()}


def read_line(line: str) -> LogItem:
    """Read a line of an export. Raises `ValueError` for anything else."""
    try:
        before, is_row, text = line.strip().partition(_ENTRY)
        if not is_row:
            return _read_signed_or_heads(_loads(before))
        place = _loads(before + "}")
        # The text is kept as it is, because it is hashed. It only has to be JSON with nothing after it.
        text = text.removesuffix("}")
        _loads(text)
        match place:
            case {"namespace": str(namespace), "unlinked_for": int(age)} if len(place) == 2:
                return Unlinked(namespace, age, text)
        previous = bytes.fromhex(place.pop("previous_hash"))
        namespace, end = _end(place)
        return ChainRow(namespace, end.seq, end.hash, previous, text)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ValueError("is not a line of an audit export") from None


def _read_signed_or_heads(found: dict[str, Any]) -> SignedRoot | ChainHeads:
    match found:
        case {"checkpoint": str(note)} if len(found) == 1:
            return signed_root(note)
        case {"heads": list(heads)} if len(found) == 1:
            return ChainHeads(dict(_end(head) for head in heads))
    raise ValueError


def signed_root(note: str) -> SignedRoot:
    """Read a checkpoint, without its signature. Raise `ValueError`."""
    text, _ = read_note(note)
    found = read_checkpoint(text)
    return SignedRoot(found.namespace, found.size, found.root, note)


def _end(place: dict[str, Any]) -> tuple[str, ChainEnd]:
    """Read the end of a chain. No hash covers further fields, so they are refused."""
    match place:
        case {"namespace": str(namespace), "seq": int(seq), "hash": str(hash_)} if len(place) == 3:
            return namespace, ChainEnd(seq, bytes.fromhex(hash_))
    raise ValueError


def _loads(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_unique_keys)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse duplicate keys: a reader could see one value, and the verification another."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found

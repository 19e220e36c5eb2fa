"""The Merkle tree of a chain: it grows with the linked entries, and gives roots and proofs.

Its hashes are in rows of `audit_tiles`. Leaves beyond the last full row are computed from the entries.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, text

from domain.log.merkle import fold, leaf_hash

# Hashes in a row, and the levels of the tree between two tiers of rows.
WIDTH = 256
LEVELS = 8
HASH = 32
# Full rows of leaves that one transaction stores: some ten thousand entries take a tenth of a second.
ROWS = 32


class TornChain(Exception):
    """Entries of the chain are missing, so its tree cannot grow."""


class TreeReader:
    """A reader of complete nodes of a chain's tree. It reads each row once."""

    def __init__(self, conn: Connection, namespace: str) -> None:
        self._conn = conn
        self._namespace = namespace
        self._rows: dict[tuple[int, int], Sequence[bytes]] = {}

    def __call__(self, level: int, index: int) -> bytes:
        """Return the hash of a node. Raise `TornChain` if entries below it are missing."""
        tier, depth = divmod(level, LEVELS)
        first, count = index << depth, 1 << depth
        row = self._row(tier, first // WIDTH)
        found = row[first % WIDTH : first % WIDTH + count]
        if len(found) < count:
            raise TornChain(f"entries of the audit log of {self._namespace!r} are missing")
        return fold(found)

    def _row(self, tier: int, place: int) -> Sequence[bytes]:
        if (tier, place) not in self._rows:
            self._rows[tier, place] = self._stored(tier, place) or (self._leaves(place) if tier == 0 else [])
        return self._rows[tier, place]

    def _stored(self, tier: int, place: int) -> Sequence[bytes]:
        wanted = {"namespace": self._namespace, "tier": tier, "place": place}
        hashes = self._conn.execute(_ROW, wanted).scalar_one_or_none()
        return [] if hashes is None else split(bytes(hashes))

    def _leaves(self, place: int) -> Sequence[bytes]:
        return leaves(self._conn, self._namespace, place * WIDTH, WIDTH)


def split(hashes: bytes) -> list[bytes]:
    return [hashes[start : start + HASH] for start in range(0, len(hashes), HASH)]


def leaves(conn: Connection, namespace: str, start: int, count: int) -> list[bytes]:
    """Return the hashes of the entries from the index `start` on, up to the first missing one."""
    wanted = {"namespace": namespace, "after": start, "until": start + count}
    found: list[bytes] = []
    for row in conn.execute(_ENTRIES, wanted):
        if row.seq != start + len(found) + 1:
            break
        found.append(leaf_hash(row.entry))
    return found


def grow(conn: Connection, namespace: str, size: int) -> bool:
    """Store the next full rows of a chain with `size` linked entries. Return whether more remain.

    The caller is the only one who grows trees. Raise `TornChain`.
    """
    first = int(conn.execute(_FULL, {"namespace": namespace}).scalar_one())
    last = min(size // WIDTH, first + ROWS)
    for place in range(first, last):
        row = leaves(conn, namespace, place * WIDTH, WIDTH)
        if len(row) < WIDTH:
            raise TornChain(f"entry {place * WIDTH + len(row) + 1} of the audit log of {namespace!r} is missing")
        _add(conn, namespace, 0, place, b"".join(row))
        tier, below, root = 1, place, fold(row)
        while True:
            grown = _add(conn, namespace, tier, below // WIDTH, root)
            if len(grown) < WIDTH * HASH:
                break
            tier, below, root = tier + 1, below // WIDTH, fold(split(grown))
    return last < size // WIDTH


def _add(conn: Connection, namespace: str, tier: int, place: int, hashes: bytes) -> bytes:
    """Append the hashes to a row of the tree, and return the row."""
    wanted = {"namespace": namespace, "tier": tier, "place": place, "hashes": hashes}
    return bytes(conn.execute(_APPEND, wanted).scalar_one())


_ROW = text("SELECT hashes FROM audit_tiles WHERE namespace = :namespace AND tier = :tier AND place = :place")
_ENTRIES = text("""
SELECT seq, entry::text AS entry FROM audit_events
WHERE namespace = :namespace AND seq > :after AND seq <= :until ORDER BY seq
""")
_FULL = text("SELECT coalesce(max(place) + 1, 0) FROM audit_tiles WHERE namespace = :namespace AND tier = 0")
_APPEND = text("""
INSERT INTO audit_tiles AS tile VALUES (:namespace, :tier, :place, :hashes)
ON CONFLICT (namespace, tier, place) DO UPDATE SET hashes = tile.hashes || excluded.hashes RETURNING hashes
""")

"""The Merkle tree over a log's entries (RFC 9162): its root, its proofs, and their verification.

The leaf of index `seq - 1` is the stored text of an entry. A node is named by its level, 0 for leaves, and its index in
that level. Only nodes whose subtree is complete are named, because they never change again.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

# Returns the hash of a complete node.
Nodes = Callable[[int, int], bytes]

EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(entry_text: str) -> bytes:
    # Lone surrogates are never stored, but a forged export may contain them.
    return hashlib.sha256(b"\x00" + entry_text.encode("utf-8", "surrogatepass")).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def fold(hashes: Sequence[bytes]) -> bytes:
    """Return the node above these siblings. Their number is a power of two."""
    while len(hashes) > 1:
        hashes = [node_hash(hashes[place], hashes[place + 1]) for place in range(0, len(hashes), 2)]
    return hashes[0]


@dataclass(slots=True)
class GrowingTree:
    """A tree to which leaves are only added. It keeps one hash per level.

    Attributes:
        size: the number of leaves.
        parts: the complete subtrees from left to right, each with its level.
    """

    size: int = 0
    parts: list[tuple[int, bytes]] = field(default_factory=list)

    def add(self, leaf: bytes) -> None:
        level = 0
        while self.parts and self.parts[-1][0] == level:
            leaf = node_hash(self.parts.pop()[1], leaf)
            level += 1
        self.parts.append((level, leaf))
        self.size += 1

    def root(self) -> bytes:
        return _joined([hash_ for _, hash_ in self.parts])


def tree_of(nodes: Nodes, size: int) -> GrowingTree:
    """Return the tree of the first `size` leaves."""
    return GrowingTree(size, [(level, nodes(level, index)) for level, index in _cover(0, size)])


def inclusion_proof(nodes: Nodes, index: int, size: int) -> list[bytes]:
    """Return the proof that the leaf `index` is in the tree of `size` leaves, from the leaf upwards."""
    low, high, path = 0, size, list[bytes]()
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(_subtree(nodes, middle, high))
            high = middle
        else:
            path.append(_subtree(nodes, low, middle))
            low = middle
    return path[::-1]


def consistency_proof(nodes: Nodes, old: int, new: int) -> list[bytes]:
    """Return the proof that the tree of `new` leaves begins with that of `old` ones. Both are at least 1."""
    low, high, path, is_known = 0, new, list[bytes](), True
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            path.append(_subtree(nodes, middle, high))
            high = middle
        else:
            path.append(_subtree(nodes, low, middle))
            low, is_known = middle, False
    if not is_known:
        path.append(_subtree(nodes, low, high))
    return path[::-1]


def includes(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Return whether the proof shows that the tree with this root has the leaf (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    place, last, found = index, size - 1, leaf
    for hash_ in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            found = node_hash(hash_, found)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, hash_)
        place, last = place >> 1, last >> 1
    return last == 0 and found == root


def extends(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Return whether the proof shows that the newer tree begins with the older one (RFC 9162, 2.1.4.2)."""
    if not 0 < old <= new:
        return False
    if old == new:
        return not proof and old_root == new_root
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    first = second = path[0]
    for hash_ in path[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            first, second = node_hash(hash_, first), node_hash(hash_, second)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            second = node_hash(second, hash_)
        place, last = place >> 1, last >> 1
    return last == 0 and first == old_root and second == new_root


def _split(count: int) -> int:
    """Return the largest power of two below `count`."""
    return 1 << ((count - 1).bit_length() - 1)


def _cover(low: int, high: int) -> list[tuple[int, int]]:
    """Return the complete nodes that cover these leaves, from left to right. `low` is where a subtree begins."""
    found = []
    while low < high:
        level = (high - low).bit_length() - 1
        found.append((level, low >> level))
        low += 1 << level
    return found


def _subtree(nodes: Nodes, low: int, high: int) -> bytes:
    return _joined([nodes(level, index) for level, index in _cover(low, high)])


def _joined(parts: Sequence[bytes]) -> bytes:
    """Return the root over subtrees that get smaller from left to right."""
    if not parts:
        return EMPTY_ROOT
    *others, found = parts
    for part in reversed(others):
        found = node_hash(part, found)
    return found

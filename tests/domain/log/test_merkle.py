"""The Merkle tree, against the definition of RFC 9162 and the vectors of Certificate Transparency."""

from collections.abc import Sequence

import pytest

from domain.log.merkle import (
    EMPTY_ROOT,
    GrowingTree,
    consistency_proof,
    extends,
    fold,
    includes,
    inclusion_proof,
    leaf_hash,
    node_hash,
    tree_of,
)

# The leaves and roots with which certificate-transparency-go tests its trees.
VECTORS = ["", "\x00", "\x10", " !", "01", "@ABC", "PQRSTUVW", "`abcdefghijklmno"]
ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}
LEAVES = [leaf_hash(str(number)) for number in range(70)]


def defined(leaves: Sequence[bytes]) -> bytes:
    """The root by the recursive definition."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(defined(leaves[:split]), defined(leaves[split:]))


def node(level: int, index: int) -> bytes:
    return fold(LEAVES[index << level : (index + 1) << level])


@pytest.mark.parametrize("size", ROOTS)
def test_the_vectors(size: int) -> None:
    tree = GrowingTree()
    for leaf in VECTORS[:size]:
        tree.add(leaf_hash(leaf))
    assert tree.root().hex() == ROOTS[size]


def test_roots_by_growing_and_by_nodes() -> None:
    growing = GrowingTree()
    for size in range(len(LEAVES)):
        assert growing.root() == tree_of(node, size).root() == defined(LEAVES[:size])
        growing.add(LEAVES[size])


def test_each_entry_is_proven_and_no_other() -> None:
    for size in range(1, len(LEAVES)):
        root = defined(LEAVES[:size])
        for index in range(size):
            proof = inclusion_proof(node, index, size)
            assert includes(LEAVES[index], index, size, proof, root)
            wrong = (
                includes(LEAVES[index + 1], index, size, proof, root),
                includes(LEAVES[index], index ^ 1, size, proof, root) if size > 1 else False,
                includes(LEAVES[index], index, size, [*proof, root], root),
                includes(LEAVES[index], index, size, proof[:-1], root) if proof else False,
            )
            assert not any(wrong), (index, size)
    assert not includes(LEAVES[0], 0, 0, [], EMPTY_ROOT)


def test_each_growth_is_proven_and_no_other() -> None:
    for new in range(1, len(LEAVES)):
        root = defined(LEAVES[:new])
        for old in range(1, new + 1):
            before, proof = defined(LEAVES[:old]), consistency_proof(node, old, new)
            assert extends(old, before, new, root, proof)
            wrong = (
                extends(old, root, new, before, proof) if old != new else False,
                extends(old, before, new, root, [*proof, root]),
                extends(old, before, new, root, proof[:-1]) if proof else False,
                extends(old, LEAVES[-1], new, root, proof),
            )
            assert not any(wrong), (old, new)
    assert not extends(0, EMPTY_ROOT, 1, LEAVES[0], [])
    assert not extends(2, root, 1, root, [])
    assert not extends(3, root, 5, root, [])

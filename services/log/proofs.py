"""Checkpoints of a chain, and the proofs that lead to them."""

from typing import Any

from sqlalchemy import Connection, Row, text

from domain.identity.access import Principal
from domain.log.checkpoint import origin_of
from domain.log.merkle import Nodes, consistency_proof, inclusion_proof, tree_of
from domain.values.errors import FieldError, Invalid, NotFound
from services.kernel.unit_of_work import Database
from services.log.audit import visible_chains
from services.log.tree import TreeReader


def latest_checkpoint(database: Database, by: Principal, namespace: str | None) -> str:
    """Return the last signed note of a chain. Raise `Forbidden`, `NotFound`."""
    (chain,) = visible_chains(database, by, namespace or by.own_namespace)
    with database.reading() as conn:
        found = last_checkpoint(conn, chain)
    if found is None:
        raise NotFound(f"the audit log of {chain!r} has no checkpoint yet; a worker signs one within a second or two")
    return str(found.note)


def last_checkpoint(conn: Connection, chain: str) -> Row[Any] | None:
    """Return the `size` and the signed `note` of a chain's last checkpoint."""
    return conn.execute(_LATEST, {"namespace": chain}).one_or_none()


def prove_inclusion(database: Database, by: Principal, namespace: str | None, index: int, size: int) -> dict[str, Any]:
    """Return the proof that the entry at `index` is among the first `size`. Raise `Forbidden`, `Invalid`."""
    (chain,) = visible_chains(database, by, namespace or by.own_namespace)
    with database.snapshot() as conn:
        nodes = _nodes(conn, chain, {"index": index + 1, "size": size})
        if index >= size:
            raise Invalid([FieldError("index", f"must be below the size, {size}")])
        hashes = inclusion_proof(nodes, index, size)
        leaf, root = nodes(0, index).hex(), tree_of(nodes, size).root().hex()
    return _document(database, chain, hashes) | {"index": index, "size": size, "leaf_hash": leaf, "root": root}


def prove_consistency(database: Database, by: Principal, namespace: str | None, old: int, new: int) -> dict[str, Any]:
    """Return the proof that the first `new` entries begin with the first `old`. Raise `Forbidden`, `Invalid`."""
    (chain,) = visible_chains(database, by, namespace or by.own_namespace)
    with database.snapshot() as conn:
        nodes = _nodes(conn, chain, {"from": old, "to": new})
        if old > new:
            raise Invalid([FieldError("from", f"must not be above to, {new}")])
        hashes, root = consistency_proof(nodes, old, new), tree_of(nodes, new).root().hex()
    return _document(database, chain, hashes) | {"from": old, "to": new, "root": root}


def _nodes(conn: Connection, chain: str, sizes: dict[str, int]) -> Nodes:
    head = conn.execute(_HEAD, {"namespace": chain}).scalar_one_or_none() or 0
    errors = [FieldError(name, f"is beyond the log's {head} entries") for name, size in sizes.items() if size > head]
    if errors:
        raise Invalid(errors)
    return TreeReader(conn, chain)


def _document(database: Database, chain: str, hashes: list[bytes]) -> dict[str, Any]:
    origin = origin_of(database.public_url, chain)
    return {"namespace": chain, "origin": origin, "hashes": [each.hex() for each in hashes]}


_LATEST = text("SELECT size, note FROM audit_checkpoints WHERE namespace = :namespace ORDER BY size DESC LIMIT 1")
_HEAD = text("SELECT seq FROM audit_heads WHERE namespace = :namespace")

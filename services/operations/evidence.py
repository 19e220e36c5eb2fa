"""The evidence of one pause or saga: its entries with their proofs, a checkpoint, receipts, and the public keys."""

from typing import Any

from sqlalchemy import select, text

from domain.identity.access import Principal
from domain.log.audit import EVERYWHERE
from domain.log.merkle import inclusion_proof
from domain.values import ids
from domain.values.errors import NotFound, NotResolved, NotUnderstood
from models.sagas import saga_steps
from services.kernel.unit_of_work import Database
from services.log.audit import visible_chains
from services.log.proofs import last_checkpoint
from services.log.tree import TreeReader
from services.pauses.receipt_keys import Signer, published_keys
from services.pauses.receipts import issue_receipt

# Entries of one saga. Its document must fit into one response.
MOST = 10_000


def collect_evidence(
    database: Database, signer: Signer, by: Principal, subject: str, namespace: str | None
) -> dict[str, Any]:
    """Return the evidence's document, and record in the log who took it.

    `subject`: the id of a pause, or the trace id of a saga. Raise `Forbidden`, `NotFound`, `ReceiptKeyUnavailable`.
    """
    (chain,) = visible_chains(database, by, namespace or by.own_namespace)
    with database.snapshot() as conn:
        trace = ids.parse(ids.TRACE, subject.lower())
        held = select(saga_steps.c.watch_id).where(saga_steps.c.saga_id == trace, saga_steps.c.watch_id.is_not(None))
        pauses = [ids.text(ids.WATCH, id_) for id_ in conn.execute(held).scalars()] if trace else []
        found = conn.execute(_ENTRIES, {"namespace": chain, "subjects": [subject, *pauses], "most": MOST}).all()
        checkpoint = last_checkpoint(conn, chain)
        if not found or checkpoint is None:
            raise NotFound(
                f"the audit log of {chain!r} has no signed entry of {subject[:64]!r}: check the id and the namespace,"
                " or try again in a few seconds"
            )
        nodes, size = TreeReader(conn, chain), checkpoint.size
        entries = [
            {
                "index": row.seq - 1,
                "proof": [each.hex() for each in inclusion_proof(nodes, row.seq - 1, size)],
                "entry": row.entry,
            }
            for row in found
            if row.seq <= size
        ]
    with database.transaction() as uow:
        uow.record(by, EVERYWHERE, "audit.exported", EVERYWHERE, namespaces=[chain], evidence_of=subject)
    receipts = _receipts(database, signer, by, [subject, *pauses])
    keys = {"keys": published_keys(database, signer)}
    signed = {"checkpoint": checkpoint.note, "entries": entries, "unsigned": len(found) - len(entries)}
    return {"namespace": chain, "subjects": [subject, *pauses], **signed, "receipts": receipts, "jwks": keys}


def _receipts(database: Database, signer: Signer, by: Principal, subjects: list[str]) -> list[str]:
    """Return the receipts of the pauses that are decided and still stored."""
    found = []
    for id_ in (ids.parse(ids.WATCH, subject) for subject in subjects):
        if id_ is not None:
            try:
                found.append(issue_receipt(database, signer, by, id_))
            except (NotFound, NotResolved, NotUnderstood):
                continue
    return found


_ENTRIES = text("""
SELECT seq, entry::text AS entry FROM audit_events
WHERE namespace = :namespace AND (entry ->> 'subject') = ANY (CAST(:subjects AS text[])) ORDER BY seq LIMIT :most
""")

"""Signed checkpoints of the audit log: each second for every chain that has grown, and one an hour as an event.

Nothing here is on the path of a change. Two processes take turns on a chain by an advisory lock.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import RowMapping, delete, insert, text, update

from domain.log.checkpoint import Checkpoint, NoteSignature, key_id, note, origin_of
from domain.log.merkle import tree_of
from domain.pauses.receipt_key import SigningKey
from domain.pauses.serialization import instant
from models.audit import audit_checkpoints
from services.kernel.unit_of_work import Database, UnitOfWork
from services.log.tree import TreeReader, grow
from services.pauses.receipt_keys import Signer, current_key
from services.webhooks.outbox import WebhookEvent, enqueue

# Seconds for one call. A log of an earlier release has millions of entries, and the next call goes on.
BUDGET = 5.0


class LogRewritten(Exception):
    """The entries no longer give the root that was signed before, so no further checkpoint is signed."""


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Signs the checkpoints of all chains.

    Attributes:
        keep_every: how often a checkpoint is kept for good and sent as `audit.checkpoint`.
    """

    database: Database
    signer: Signer
    keep_every: timedelta

    def sign(self) -> int:
        """Sign the chains that have grown. Return how many. Raise the first chain's error after the others' turns."""
        until, signed, failed = time.monotonic() + BUDGET, 0, None
        with self.database.reading() as conn:
            waiting = conn.execute(_WAITING, {"every": self.keep_every}).scalars().all()
        key = current_key(self.database, self.signer) if waiting else None
        for namespace in waiting:
            assert key is not None, "a chain waits, so the key was read"
            try:
                while self._grow_or_sign(namespace, key) and time.monotonic() < until:
                    pass
                signed += 1
            except Exception as error:
                failed = failed or error
            if time.monotonic() >= until:
                break
        if failed is not None:
            raise failed
        return signed

    def _grow_or_sign(self, namespace: str, key: SigningKey) -> bool:
        """Sign the chain once its tree has all of its entries. Return whether some are left."""
        with self.database.transaction() as uow:
            if not uow.conn.execute(_TRY_LOCK, {"what": f"audit checkpoint {namespace}"}).scalar_one():
                return False
            # The head is read before the entries, so all entries up to it are visible.
            row = uow.conn.execute(_STATE, {"namespace": namespace}).mappings().one()
            if grow(uow.conn, namespace, row["seq"]):
                return True
            due = row["kept_at"] is not None and uow.now - row["kept_at"] >= self.keep_every
            if row["seq"] > (row["size"] or 0):
                new = self._signed(uow, namespace, key, row) | {"kept": due or row["kept_at"] is None}
                uow.conn.execute(insert(audit_checkpoints).values(new))
                columns = audit_checkpoints.c
                old = (columns.namespace == namespace) & (columns.size < new["size"]) & ~columns.kept
                uow.conn.execute(delete(audit_checkpoints).where(old))
            elif due and not row["kept"]:
                new = dict(uow.conn.execute(_keep(namespace, row["size"])).mappings().one())
            else:
                return False
            if due:
                enqueue(uow, [WebhookEvent("audit.checkpoint", namespace, lambda: _event(new))])
        return False

    def _signed(self, uow: UnitOfWork, namespace: str, key: SigningKey, row: RowMapping) -> dict[str, Any]:
        nodes, size = TreeReader(uow.conn, namespace), row["seq"]
        if row["size"] is not None and tree_of(nodes, row["size"]).root() != bytes(row["root"]):
            raise LogRewritten(
                f"the audit log of {namespace!r} was changed below entry {row['size']}, which a checkpoint has signed:"
                " run `sagahold audit verify`"
            )
        root = tree_of(nodes, size).root()
        origin = origin_of(self.database.public_url, namespace)
        signed = Checkpoint(origin, size, root).text
        signature = self.signer.sign_note(key, signed.encode())
        line = NoteSignature(origin, key_id(origin, key.public_bytes), signature)
        fields = {"namespace": namespace, "size": size, "root": root}
        return {**fields, "note": note(signed, line), "signed_at": uow.now}


def _keep(namespace: str, size: int) -> Any:
    columns = audit_checkpoints.c
    chosen = update(audit_checkpoints).where(columns.namespace == namespace, columns.size == size)
    return chosen.values(kept=True).returning(*columns)


def _event(row: Mapping[str, Any]) -> dict[str, Any]:
    at = instant(row["signed_at"])
    data = {"namespace": row["namespace"], "size": row["size"], "root": bytes(row["root"]).hex()}
    return {"type": "audit.checkpoint", "timestamp": at, "data": {**data, "signed_at": at, "checkpoint": row["note"]}}


# By chain: its head, its last checkpoint, and when the last one was kept.
_STATES = """
SELECT head.namespace, head.seq, latest.size, latest.root, latest.signed_at, latest.kept, last_kept.signed_at AS kept_at
FROM audit_heads AS head
LEFT JOIN LATERAL (
    SELECT * FROM audit_checkpoints WHERE namespace = head.namespace ORDER BY size DESC LIMIT 1
) AS latest ON true
LEFT JOIN LATERAL (
    SELECT signed_at FROM audit_checkpoints WHERE namespace = head.namespace AND kept ORDER BY size DESC LIMIT 1
) AS last_kept ON true
"""
_STATE = text(f"{_STATES} WHERE head.namespace = :namespace")
_WAITING = text(f"""
SELECT namespace FROM ({_STATES}) AS state
WHERE seq > coalesce(size, 0) OR (NOT kept AND kept_at <= clock_timestamp() - CAST(:every AS interval))
ORDER BY signed_at NULLS FIRST
""")  # noqa: S608
_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:what, 0))")

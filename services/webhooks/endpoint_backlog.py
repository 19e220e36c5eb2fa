"""Long backlogs of endpoints that were disabled or deleted: a sweep ends them in batches, so that no request waits."""

from uuid import UUID

from sqlalchemy import delete, func, or_, select

from models.webhooks import webhook_deliveries, webhook_endpoints
from services.kernel.unit_of_work import Database, UnitOfWork
from services.webhooks.endpoints import DELETED, DISABLED, detach, exhaust_waiting

# Endpoints that one sweep processes.
LIMIT = 20


def sweep_endpoints(database: Database) -> int:
    """End one batch for each endpoint with a backlog; return how many have more."""
    with database.reading() as conn:
        found = conn.execute(_LEFT).scalars().all()
    more = 0
    for endpoint_id in found:
        with database.transaction() as uow:
            # The lock keeps the endpoint from being enabled in the meantime; new deliveries do not wait for it.
            query = select(webhook_endpoints).where(webhook_endpoints.c.id == endpoint_id, ~webhook_endpoints.c.enabled)
            row = uow.conn.execute(query.with_for_update(key_share=True, skip_locked=True)).mappings().one_or_none()
            if row is not None:
                why = row["disabled_reason"]
                reason = DISABLED if why is None else f"the endpoint was disabled: {why}"
                gone = row["deleted_at"] is not None
                more += not exhaust_waiting(uow, endpoint_id, DELETED if gone else reason)
                more += gone and not _finish(uow, endpoint_id)
    return more


def _finish(uow: UnitOfWork, endpoint_id: UUID) -> bool:
    """Delete the endpoint once no delivery refers to it. Return False if another batch is left to detach.

    Deliveries under way are left to a later sweep: they end, or their leases expire, within seconds.
    """
    this = webhook_deliveries.c
    pending = select(this.id).where(this.endpoint_id == endpoint_id, this.status == "pending").limit(1)
    if uow.conn.execute(pending).first() is not None:
        return True
    if not detach(uow, endpoint_id):
        return False
    uow.conn.execute(delete(webhook_endpoints).where(webhook_endpoints.c.id == endpoint_id))
    return True


_waiting = (
    select(webhook_deliveries.c.id)
    .where(webhook_deliveries.c.endpoint_id == webhook_endpoints.c.id, webhook_deliveries.c.status == "pending")
    .where(or_(webhook_deliveries.c.lease_token.is_(None), webhook_deliveries.c.leased_until < func.clock_timestamp()))
)
_LEFT = (
    select(webhook_endpoints.c.id)
    .where(~webhook_endpoints.c.enabled, or_(webhook_endpoints.c.deleted_at.is_not(None), _waiting.exists()))
    .limit(LIMIT)
)

"""indexes for lists of big tables"""

import sqlalchemy as sa

from migrations.online import build_index, drop_index

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

_PENDING, _RESOLVED, _ASKED = "status = 'pending'", "resolved_at IS NOT NULL", "external_id IS NOT NULL"
_UNSETTLED = "consumed_at IS NOT NULL AND (outcome_status IS NULL OR outcome_status = 'unknown')"
_UNFINISHED = "status IN ('PENDING', 'RUNNING', 'AWAITING_HUMAN', 'COMPENSATING', 'COMPENSATED', 'FAILED')"
_BY, _TYPE = sa.text("(entry ->> 'by')"), sa.text("(entry ->> 'type')")
_Indexes = tuple[tuple[str, str, list[str | sa.TextClause], str | None], ...]
# By table and name: the columns of each index, and its condition.
_NEW: _Indexes = (
    ("pauses", "ix_pauses_created_by", ["created_by", "id"], None),
    ("pauses", "ix_pauses_external_ids", ["external_id", "id"], _ASKED),
    ("pauses", "ix_pauses_waiting", [sa.text("priority DESC"), "id", "namespace"], _PENDING),
    ("pauses", "ix_pauses_unsettled", ["id", "namespace"], _UNSETTLED),
    ("pauses", "ix_pauses_decided", ["namespace", "resolved_at", "id"], _RESOLVED),
    ("sagas", "ix_sagas_for_operators", ["created_at", "id", "namespace"], "needs_operator"),
    ("sagas", "ix_sagas_unfinished", ["created_at", "id", "namespace", "status"], _UNFINISHED),
    ("webhook_deliveries", "ix_webhook_deliveries_namespace_id", ["namespace", "id"], None),
    (
        "webhook_deliveries",
        "ix_webhook_deliveries_undelivered",
        ["status", "id", "namespace"],
        "status IN ('pending', 'exhausted')",
    ),
    ("webhook_deliveries", "ix_webhook_deliveries_pause", ["pause_id", "lane", "seq"], "pause_id IS NOT NULL"),
    ("notifications", "ix_notifications_unsent", ["status", "id", "namespace"], "status IN ('pending', 'failed')"),
    ("audit_events", "ix_audit_events_by", ["namespace", _BY, "seq"], None),
    ("audit_events", "ix_audit_events_type", ["namespace", _TYPE, "seq"], None),
)
_OLD: _Indexes = (
    ("pauses", "ix_pauses_external_id", ["namespace", "external_id", "id"], _ASKED),
    ("pauses", "ix_pauses_door_external_id", ["door", "external_id", "id"], f"door IS NOT NULL AND {_ASKED}"),
    ("pauses", "ix_pauses_inbox", [sa.text("priority DESC"), "id"], _PENDING),
    ("pauses", "ix_pauses_needs_look", ["namespace", "id"], _UNSETTLED),
    ("sagas", "ix_sagas_needs_operator", ["id"], "needs_operator"),
    ("webhook_deliveries", "ix_webhook_deliveries_namespace_seq", ["namespace", "seq"], None),
    ("webhook_deliveries", "ix_webhook_deliveries_order", ["pause_id", "lane", "seq"], _PENDING),
)


def upgrade() -> None:
    _replace(_OLD, _NEW)


def downgrade() -> None:
    _replace(_NEW, _OLD)


def _replace(old: _Indexes, new: _Indexes) -> None:
    for index in new:
        build_index(*index)
    for table, name, _, _ in old:
        drop_index(table, name)

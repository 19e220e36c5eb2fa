"""deletion of endpoints in batches, and indexes for long backlogs"""

import sqlalchemy as sa
from alembic import op

from migrations.online import build_index, drop_index

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_PENDING, _DUE = "status = 'pending'", "due_at IS NOT NULL"
# By table and name: the columns of each index, and its condition.
_NEW: tuple[tuple[str, str, list[str], str | None], ...] = (
    ("webhook_deliveries", "ix_webhook_deliveries_endpoint_status", ["endpoint_id", "status", "seq"], None),
    ("webhook_messages", "ix_webhook_messages_created_at", ["created_at"], None),
    ("notifications", "ix_notifications_missed", ["namespace", "hint_at"], _PENDING),
    ("notifications", "ix_notifications_due_at_pending", ["due_at"], _PENDING),
    ("sagas", "ix_sagas_missed", ["namespace", "hint_at"], _DUE),
)
_OLD: tuple[tuple[str, str, list[str], str | None], ...] = (
    ("webhook_deliveries", "ix_webhook_deliveries_endpoint_id", ["endpoint_id"], None),
    ("notifications", "ix_notifications_hint_at_pending", ["hint_at"], _PENDING),
    ("sagas", "ix_sagas_hint_at_due", ["hint_at"], _DUE),
)


def upgrade() -> None:
    deleted_at = sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True)
    op.add_column("webhook_endpoints", deleted_at, if_not_exists=True)
    for index in _NEW:
        build_index(*index)
    for table, name, _, _ in _OLD:
        drop_index(table, name)


def downgrade() -> None:
    for table, name, columns, which in _OLD:
        op.create_index(name, table, columns, postgresql_where=None if which is None else sa.text(which))
    for table, name, _, _ in _NEW:
        op.drop_index(name, table)
    op.execute("DELETE FROM webhook_endpoints WHERE deleted_at IS NOT NULL")
    op.drop_column("webhook_endpoints", "deleted_at")

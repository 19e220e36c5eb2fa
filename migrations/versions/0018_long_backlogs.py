"""deletion of endpoints in batches, and indexes for long backlogs"""

import sqlalchemy as sa
from alembic import op

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
    op.add_column("webhook_endpoints", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    with op.get_context().autocommit_block():
        # A concurrent build waits for running transactions, including a backup's, and blocks none of them.
        op.execute("SET lock_timeout = 0")
        for table, name, columns, which in _NEW:
            # Removes what an interrupted run left.
            op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
            where = None if which is None else sa.text(which)
            op.create_index(name, table, columns, postgresql_where=where, postgresql_concurrently=True)
        for table, name, _, _ in _OLD:
            op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
        op.execute("SET lock_timeout = '5s'")


def downgrade() -> None:
    for table, name, columns, which in _OLD:
        op.create_index(name, table, columns, postgresql_where=None if which is None else sa.text(which))
    for table, name, _, _ in _NEW:
        op.drop_index(name, table)
    op.execute("DELETE FROM webhook_endpoints WHERE deleted_at IS NOT NULL")
    op.drop_column("webhook_endpoints", "deleted_at")

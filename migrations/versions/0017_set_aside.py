"""rows whose work raises errors, and sagas that no worker can continue"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.online import replace_constraint

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    reasons = "reason IN ('waiting', 'reminder', 'escalated', 'outcome_unknown', 'undo_failed', 'stuck')"
    replace_constraint("notifications", "ck_notifications_reason", f"CHECK ({reasons})")
    op.create_table(
        "set_aside",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tries", sa.SmallInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("kind", "id", name=op.f("pk_set_aside")),
    )
    op.create_index("ix_set_aside_failed_at", "set_aside", ["failed_at"])
    op.add_column("sagas", sa.Column("stuck", postgresql.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    op.execute("DELETE FROM notifications WHERE reason = 'stuck'")
    reasons = "reason IN ('waiting', 'reminder', 'escalated', 'outcome_unknown', 'undo_failed')"
    replace_constraint("notifications", "ck_notifications_reason", f"CHECK ({reasons})")
    op.drop_column("sagas", "stuck")
    op.drop_table("set_aside")

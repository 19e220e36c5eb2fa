"""notifications to operators that a saga waits for them"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_REASON = "ck_notifications_reason"
_ABOUT_ONE = "ck_notifications_about_one"


def upgrade() -> None:
    op.add_column("notifications", sa.Column("saga_id", sa.Uuid(), nullable=True))
    op.alter_column("notifications", "pause_id", existing_type=sa.Uuid(), nullable=True)
    # The column is NULL in every row, so no row is checked and the index is empty.
    op.create_foreign_key(
        op.f("fk_notifications_saga_id"), "notifications", "sagas", ["saga_id"], ["id"], ondelete="CASCADE"
    )
    op.create_unique_constraint(op.f("uq_notifications_saga_id_once"), "notifications", ["saga_id", "once"])
    op.create_check_constraint(op.f(_ABOUT_ONE), "notifications", "num_nonnulls(pause_id, saga_id) = 1")
    op.drop_constraint(op.f(_REASON), "notifications", type_="check")
    reasons = "reason IN ('waiting', 'reminder', 'escalated', 'outcome_unknown', 'undo_failed')"
    op.create_check_constraint(op.f(_REASON), "notifications", reasons)


def downgrade() -> None:
    op.execute("DELETE FROM notifications WHERE saga_id IS NOT NULL")
    op.drop_constraint(op.f(_REASON), "notifications", type_="check")
    op.create_check_constraint(op.f(_REASON), "notifications", "reason IN ('waiting', 'reminder', 'escalated')")
    op.drop_constraint(op.f(_ABOUT_ONE), "notifications", type_="check")
    op.drop_column("notifications", "saga_id")
    op.alter_column("notifications", "pause_id", existing_type=sa.Uuid(), nullable=False)

"""notifications to operators that a saga waits for them"""

import sqlalchemy as sa
from alembic import op

from migrations.online import build_index, replace_constraint

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_REASON = "ck_notifications_reason"
_ABOUT_ONE = "ck_notifications_about_one"
_ONCE = "uq_notifications_saga_id_once"


def upgrade() -> None:
    op.add_column("notifications", sa.Column("saga_id", sa.Uuid(), nullable=True), if_not_exists=True)
    op.alter_column("notifications", "pause_id", existing_type=sa.Uuid(), nullable=True)
    reference = "FOREIGN KEY (saga_id) REFERENCES sagas (id) ON DELETE CASCADE"
    replace_constraint("notifications", "fk_notifications_saga_id", reference)
    replace_constraint("notifications", _ABOUT_ONE, "CHECK (num_nonnulls(pause_id, saga_id) = 1)")
    reasons = "reason IN ('waiting', 'reminder', 'escalated', 'outcome_unknown', 'undo_failed')"
    replace_constraint("notifications", _REASON, f"CHECK ({reasons})")
    build_index("notifications", _ONCE, ["saga_id", "once"], unique=True)
    op.execute(f"ALTER TABLE notifications ADD CONSTRAINT {_ONCE} UNIQUE USING INDEX {_ONCE}")


def downgrade() -> None:
    op.execute("DELETE FROM notifications WHERE saga_id IS NOT NULL")
    replace_constraint("notifications", _REASON, "CHECK (reason IN ('waiting', 'reminder', 'escalated'))")
    op.drop_constraint(op.f(_ABOUT_ONE), "notifications", type_="check")
    op.drop_column("notifications", "saga_id")
    op.alter_column("notifications", "pause_id", existing_type=sa.Uuid(), nullable=False)

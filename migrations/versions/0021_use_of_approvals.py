"""use and outcome of approvals"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.online import build_index, replace_constraint

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_COLUMNS = (
    sa.Column("approval_valid_for", sa.Integer(), nullable=True),
    sa.Column("outcome_within", sa.Integer(), nullable=True),
    sa.Column("consumed_at", sa.DateTime(timezone=True), nullable=True),
    sa.Column("consumed_with", sa.Text(), nullable=True),
    sa.Column("outcome_status", sa.Text(), nullable=True),
    sa.Column("outcome_at", sa.DateTime(timezone=True), nullable=True),
    sa.Column("outcome_note", sa.Text(), nullable=True),
    sa.Column("outcome_result", postgresql.JSON(), nullable=True),
    sa.Column("outcome_due_at", sa.DateTime(timezone=True), nullable=True),
)
_CHECKS = {
    "consumed": "(consumed_at IS NULL) = (consumed_with IS NULL) AND (consumed_at IS NULL OR status = 'approved')",
    "outcome": "(outcome_at IS NULL) = (outcome_status IS NULL) AND (outcome_at IS NULL OR consumed_at IS NOT NULL)",
    "outcome_status": "outcome_status IN ('succeeded', 'failed', 'unknown')",
    "outcome_due": "outcome_due_at IS NULL OR (consumed_at IS NOT NULL AND outcome_at IS NULL)",
}
_NEEDS_LOOK = "consumed_at IS NOT NULL AND (outcome_status IS NULL OR outcome_status = 'unknown')"
# By name: the columns of each index, and its condition.
_INDEXES = {
    "ix_pauses_outcome_due_at": (["outcome_due_at"], "outcome_due_at IS NOT NULL"),
    "ix_pauses_needs_look": (["namespace", "id"], _NEEDS_LOOK),
}


def upgrade() -> None:
    valid_for = sa.Column("approval_valid_for", sa.Integer(), nullable=True)
    op.add_column("namespace_settings", valid_for, if_not_exists=True)
    for column in _COLUMNS:
        op.add_column("pauses", column, if_not_exists=True)
    for name, check in _CHECKS.items():
        replace_constraint("pauses", f"ck_pauses_{name}", f"CHECK ({check})")
    for name, (columns, which) in _INDEXES.items():
        build_index("pauses", name, columns, which)


def downgrade() -> None:
    for name in _INDEXES:
        op.drop_index(name, "pauses")
    for name in _CHECKS:
        op.drop_constraint(op.f(f"ck_pauses_{name}"), "pauses", type_="check")
    for column in reversed(_COLUMNS):
        op.drop_column("pauses", column.name)
    op.drop_column("namespace_settings", "approval_valid_for")

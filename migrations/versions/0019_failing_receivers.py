"""failures in a row of each receiver"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "webhook_failures",
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("lane", name=op.f("pk_webhook_failures")),
    )
    op.create_index("ix_webhook_failures_endpoint_id", "webhook_failures", ["endpoint_id"])


def downgrade() -> None:
    op.drop_table("webhook_failures")

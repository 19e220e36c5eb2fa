"""tokens of callbacks"""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "callback_tokens",
        sa.Column("pause_id", sa.Uuid(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("progress_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivery_id", sa.Uuid(), nullable=True),
        sa.Column("failed", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(
            ["pause_id"], ["pauses.id"], name=op.f("fk_callback_tokens_pause_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("pause_id", name=op.f("pk_callback_tokens")),
    )
    op.create_index(
        "ix_callback_tokens_progress_at",
        "callback_tokens",
        ["progress_at"],
        postgresql_where=sa.text("progress_at IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_table("callback_tokens")

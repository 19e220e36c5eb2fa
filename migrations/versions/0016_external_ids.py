"""agents' own names for pauses, and the pause or saga of an idempotency key"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

INDEX = "ix_pauses_external_id"


def upgrade() -> None:
    op.add_column("idempotency_keys", sa.Column("pause_id", sa.Uuid(), nullable=True))
    op.add_column("idempotency_keys", sa.Column("saga_id", sa.Uuid(), nullable=True))
    op.add_column("pauses", sa.Column("external_id", sa.Text(), nullable=True))
    with op.get_context().autocommit_block():
        # An index that an interrupted migration left is invalid.
        op.drop_index(INDEX, "pauses", if_exists=True, postgresql_concurrently=True)
        op.create_index(
            INDEX,
            "pauses",
            ["namespace", "external_id", "id"],
            postgresql_where=sa.text("external_id IS NOT NULL"),
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    op.drop_index(INDEX, "pauses")
    op.drop_column("pauses", "external_id")
    op.drop_column("idempotency_keys", "saga_id")
    op.drop_column("idempotency_keys", "pause_id")

"""agents' own names for pauses, and the pause or saga of an idempotency key"""

import sqlalchemy as sa
from alembic import op

from migrations.online import build_index

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

INDEX = "ix_pauses_external_id"


def upgrade() -> None:
    for table, column in (
        ("idempotency_keys", sa.Column("pause_id", sa.Uuid(), nullable=True)),
        ("idempotency_keys", sa.Column("saga_id", sa.Uuid(), nullable=True)),
        ("pauses", sa.Column("external_id", sa.Text(), nullable=True)),
    ):
        op.add_column(table, column, if_not_exists=True)
    build_index("pauses", INDEX, ["namespace", "external_id", "id"], "external_id IS NOT NULL")


def downgrade() -> None:
    op.drop_index(INDEX, "pauses")
    op.drop_column("pauses", "external_id")
    op.drop_column("idempotency_keys", "saga_id")
    op.drop_column("idempotency_keys", "pause_id")

"""formats of callbacks"""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("pauses", sa.Column("callback_format", sa.Text(), nullable=True))
    op.add_column("webhook_deliveries", sa.Column("format", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("webhook_deliveries", "format")
    op.drop_column("pauses", "callback_format")

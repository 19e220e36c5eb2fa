"""mark of a definition that an admin of only some namespaces deployed"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("definitions", sa.Column("scoped", sa.Boolean(), nullable=True))


def downgrade() -> None:
    op.drop_column("definitions", "scoped")

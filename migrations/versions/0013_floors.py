"""policy floors of namespaces"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("namespace_settings", sa.Column("allowed_on_timeout", postgresql.ARRAY(sa.Text()), nullable=True))
    op.add_column("namespace_settings", sa.Column("min_expires_in", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("namespace_settings", "min_expires_in")
    op.drop_column("namespace_settings", "allowed_on_timeout")

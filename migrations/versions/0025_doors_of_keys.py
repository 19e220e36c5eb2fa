"""last use of each door by a key"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("doors", postgresql.JSONB(), nullable=True))


def downgrade() -> None:
    op.drop_column("api_keys", "doors")

"""original arguments of an edited pause"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("pauses", sa.Column("posted_arguments", postgresql.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("pauses", "posted_arguments")

"""progress of a call according to its tool"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sagas", sa.Column("progress", postgresql.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    op.drop_column("sagas", "progress")

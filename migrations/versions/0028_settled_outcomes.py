"""operator who settled an outcome"""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("pauses", sa.Column("outcome_by", sa.Text(), nullable=True))
    op.add_column("pauses", sa.Column("outcome_by_name", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("pauses", "outcome_by_name")
    op.drop_column("pauses", "outcome_by")

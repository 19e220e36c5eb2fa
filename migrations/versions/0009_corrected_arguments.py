"""arguments of an undo after an operator's correction"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("saga_steps", sa.Column("correction", postgresql.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("saga_steps", "correction")

"""how voters authenticated"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("pauses", sa.Column("decided_auth", sa.Text(), nullable=True))
    op.add_column("sessions", sa.Column("way", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("sessions", "way")
    op.drop_column("pauses", "decided_auth")

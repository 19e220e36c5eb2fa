"""keys with a previous secret after a rotation"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_TIMES = ("rotated_at", "previous_until", "taken_up_at")


def upgrade() -> None:
    for name in _TIMES:
        op.add_column("api_keys", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    op.add_column("api_keys", sa.Column("previous_hash", sa.LargeBinary(), nullable=True))
    op.create_unique_constraint(op.f("uq_api_keys_previous_hash"), "api_keys", ["previous_hash"])


def downgrade() -> None:
    op.drop_constraint(op.f("uq_api_keys_previous_hash"), "api_keys", type_="unique")
    for name in ("previous_hash", *_TIMES):
        op.drop_column("api_keys", name)

"""doors of pauses"""

import sqlalchemy as sa
from alembic import op

from migrations.online import build_index

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

# By name: the columns of each index, and its condition.
_INDEXES = {
    "ix_pauses_door": (["door", "id", "namespace"], "door IS NOT NULL"),
    "ix_pauses_door_external_id": (["door", "external_id", "id"], "door IS NOT NULL AND external_id IS NOT NULL"),
}


def upgrade() -> None:
    # Earlier pauses keep NULL: reading the metadata of all of them would take hours.
    op.add_column("pauses", sa.Column("door", sa.Text(), nullable=True), if_not_exists=True)
    for name, (columns, which) in _INDEXES.items():
        build_index("pauses", name, columns, which)


def downgrade() -> None:
    for name in _INDEXES:
        op.drop_index(name, "pauses")
    op.drop_column("pauses", "door")

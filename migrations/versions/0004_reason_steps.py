"""reason steps"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_JSON = postgresql.JSON(none_as_null=True, astext_type=sa.Text())


def upgrade() -> None:
    op.execute("ALTER TABLE sagas SET (fillfactor = 50)")
    op.execute("ALTER TABLE saga_steps SET (fillfactor = 70)")
    op.add_column("pauses", sa.Column("arguments_schema", _JSON, nullable=True))
    for name in ("proposal", "facts", "report"):
        op.add_column("saga_steps", sa.Column(name, _JSON, nullable=True))
    op.create_table(
        "saga_transcripts",
        sa.Column("saga_id", sa.Uuid(), nullable=False),
        sa.Column("place", sa.SmallInteger(), nullable=False),
        sa.Column("messages", postgresql.JSON(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["saga_id", "place"],
            ["saga_steps.saga_id", "saga_steps.place"],
            name=op.f("fk_saga_transcripts_saga_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("saga_id", "place", name=op.f("pk_saga_transcripts")),
    )


def downgrade() -> None:
    op.drop_table("saga_transcripts")
    for name in ("proposal", "facts", "report"):
        op.drop_column("saga_steps", name)
    op.drop_column("pauses", "arguments_schema")
    op.execute("ALTER TABLE saga_steps RESET (fillfactor)")
    op.execute("ALTER TABLE sagas RESET (fillfactor)")

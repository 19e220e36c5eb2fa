"""sagas"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.online import build_index, replace_constraint

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    replace_constraint("pauses", "ck_pauses_kind", "CHECK (kind IN ('agent', 'step'))")
    build_index("pauses", "ix_pauses_steps_pending", ["id", "namespace"], "kind = 'step' AND status = 'pending'")
    op.create_table(
        "sagas",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("definition_id", sa.Uuid(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("start_idempotency_key", sa.Text(), nullable=True),
        sa.Column("workers", postgresql.JSON(astext_type=sa.Text()), nullable=False),
        sa.Column("input", postgresql.JSON(astext_type=sa.Text()), nullable=False),
        sa.Column("error", postgresql.JSON(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("cancelled", sa.Text(), nullable=True),
        sa.Column("needs_operator", sa.Boolean(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("hint_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(status IN ('COMPLETED', 'COMPENSATED', 'FAILED')) = (ended_at IS NOT NULL)", name=op.f("ck_sagas_ended")
        ),
        sa.CheckConstraint(
            "status IN ('PENDING', 'RUNNING', 'AWAITING_HUMAN', 'COMPENSATING', 'COMPLETED', 'COMPENSATED', 'FAILED')",
            name=op.f("ck_sagas_status"),
        ),
        sa.CheckConstraint("(due_at IS NULL) = (hint_at IS NULL)", name=op.f("ck_sagas_hint")),
        sa.CheckConstraint("(lease_token IS NULL) = (leased_until IS NULL)", name=op.f("ck_sagas_lease")),
        sa.CheckConstraint("ended_at IS NULL OR due_at IS NULL", name=op.f("ck_sagas_nothing_due_after_the_end")),
        sa.ForeignKeyConstraint(["definition_id"], ["definitions.id"], name=op.f("fk_sagas_definition_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sagas")),
    )
    op.create_index(op.f("ix_sagas_definition_id"), "sagas", ["definition_id"], unique=False)
    op.create_index(
        "ix_sagas_hint_at_due", "sagas", ["hint_at"], unique=False, postgresql_where=sa.text("due_at IS NOT NULL")
    )
    op.create_index("ix_sagas_created_at", "sagas", ["created_at", "id"], unique=False)
    op.create_index("ix_sagas_namespace_created_at", "sagas", ["namespace", "created_at", "id"], unique=False)
    op.create_index(
        "ix_sagas_ended_at", "sagas", ["ended_at"], unique=False, postgresql_where=sa.text("ended_at IS NOT NULL")
    )
    op.create_index(
        "ix_sagas_needs_operator", "sagas", ["id"], unique=False, postgresql_where=sa.text("needs_operator")
    )
    op.create_index(
        "uq_sagas_start_idempotency_key",
        "sagas",
        ["namespace", "start_idempotency_key"],
        unique=True,
        postgresql_where=sa.text("start_idempotency_key IS NOT NULL"),
    )
    op.create_table(
        "saga_steps",
        sa.Column("saga_id", sa.Uuid(), nullable=False),
        sa.Column("place", sa.SmallInteger(), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("retries", sa.Integer(), nullable=False),
        sa.Column("span_id", sa.BigInteger(), nullable=False),
        sa.Column("compensates", sa.BigInteger(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("call_began", sa.Boolean(), nullable=False),
        sa.Column("unsure", sa.Boolean(), nullable=False),
        sa.Column("may_repeat", sa.Boolean(), nullable=False),
        sa.Column("watch_id", sa.Uuid(), nullable=True),
        sa.Column("step_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("arguments", postgresql.JSON(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("arguments_digest", sa.LargeBinary(), nullable=True),
        sa.Column("output", postgresql.JSON(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("error", postgresql.JSON(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("guidance", sa.Text(), nullable=True),
        sa.Column("retry_token", sa.Text(), nullable=True),
        sa.Column("evidence", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "compensates IS NULL OR status NOT IN ('COMPENSATING', 'COMPENSATED')",
            name=op.f("ck_saga_steps_no_undo_of_an_undo"),
        ),
        sa.CheckConstraint(
            "status <> 'AWAITING_HUMAN' OR watch_id IS NOT NULL", name=op.f("ck_saga_steps_held_by_a_pause")
        ),
        sa.CheckConstraint(
            "status IN ('PENDING', 'IN_PROGRESS', 'AWAITING_HUMAN', 'COMPLETED', 'FAILED', 'TIMED_OUT', 'SKIPPED',"
            " 'COMPENSATING', 'COMPENSATED')",
            name=op.f("ck_saga_steps_status"),
        ),
        sa.CheckConstraint(
            "status NOT IN ('PENDING', 'SKIPPED') OR NOT call_began", name=op.f("ck_saga_steps_no_call_before_its_turn")
        ),
        sa.CheckConstraint("(arguments IS NULL) = (arguments_digest IS NULL)", name=op.f("ck_saga_steps_digest")),
        sa.ForeignKeyConstraint(["saga_id"], ["sagas.id"], name=op.f("fk_saga_steps_saga_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["watch_id"], ["pauses.id"], name=op.f("fk_saga_steps_watch_id")),
        sa.PrimaryKeyConstraint("saga_id", "place", name=op.f("pk_saga_steps")),
        sa.UniqueConstraint("span_id", name=op.f("uq_saga_steps_span_id")),
    )
    op.create_index(
        "uq_saga_steps_compensates",
        "saga_steps",
        ["compensates"],
        unique=True,
        postgresql_where=sa.text("compensates IS NOT NULL"),
    )
    op.create_index(
        "uq_saga_steps_watch_id",
        "saga_steps",
        ["watch_id"],
        unique=True,
        postgresql_where=sa.text("watch_id IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_table("saga_steps")
    op.drop_table("sagas")
    op.drop_index("ix_pauses_steps_pending", table_name="pauses")
    op.execute("DELETE FROM pauses WHERE kind = 'step'")
    op.drop_constraint(op.f("ck_pauses_kind"), "pauses", type_="check")
    op.create_check_constraint(op.f("ck_pauses_kind"), "pauses", "kind IN ('agent')")

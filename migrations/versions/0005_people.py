"""people, review policies, notifications"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.online import build_index, replace_constraint

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


_COLUMNS = (
    sa.Column("votes", postgresql.JSON(none_as_null=True, astext_type=sa.Text()), nullable=True),
    sa.Column("stage", sa.SmallInteger(), nullable=False, server_default="0"),
    sa.Column("asked", postgresql.ARRAY(sa.Text()), nullable=True),
    sa.Column("claim", postgresql.JSON(none_as_null=True, astext_type=sa.Text()), nullable=True),
    sa.Column("attend_at", sa.DateTime(timezone=True), nullable=True),
    sa.Column("reminders", sa.SmallInteger(), nullable=False, server_default="0"),
    sa.Column("escalated_at", sa.DateTime(timezone=True), nullable=True),
)
_OWN = "decided_by <> created_by OR status = 'cancelled'"


def upgrade() -> None:
    for column in _COLUMNS:
        op.add_column("pauses", column, if_not_exists=True)
    replace_constraint(
        "pauses", "ck_pauses_on_timeout", "CHECK (on_timeout IN ('expire', 'reject', 'approve', 'escalate'))"
    )
    allowed = "coalesce((review ->> 'allow_self')::boolean, false)"
    replace_constraint("pauses", "ck_pauses_no_self_decision", f"CHECK ({_OWN} OR {allowed})")
    build_index("pauses", "ix_pauses_attend_at", ["attend_at"], "attend_at IS NOT NULL AND status = 'pending'")
    build_index("pauses", "ix_pauses_inbox", [sa.text("priority DESC"), "id"], "status = 'pending'")
    op.create_table(
        "groups",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("channels", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_groups")),
    )
    op.create_table(
        "namespace_settings",
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("review", postgresql.JSON(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", name=op.f("pk_namespace_settings")),
    )
    op.create_table(
        "sign_in_failures",
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_sign_in_failures")),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("away_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delegate_id", sa.Uuid(), nullable=True),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("namespaces", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("groups", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("channels", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("oidc_subject", sa.Text(), nullable=True),
        sa.CheckConstraint("role IN ('reviewer', 'operator', 'admin')", name=op.f("ck_users_role")),
        sa.CheckConstraint("cardinality(namespaces) > 0", name=op.f("ck_users_namespaces")),
        sa.CheckConstraint("delegate_id <> id", name=op.f("ck_users_no_delegate_to_oneself")),
        sa.CheckConstraint("email = lower(email)", name=op.f("ck_users_email")),
        sa.ForeignKeyConstraint(["delegate_id"], ["users.id"], name=op.f("fk_users_delegate_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email", name=op.f("uq_users_email")),
        sa.UniqueConstraint("oidc_subject", name=op.f("uq_users_oidc_subject")),
    )
    op.create_table(
        "notifications",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("pause_id", sa.Uuid(), nullable=False),
        sa.Column("once", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("hint_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(status = 'pending') = (completed_at IS NULL)", name=op.f("ck_notifications_completed")),
        sa.CheckConstraint("reason IN ('waiting', 'reminder', 'escalated')", name=op.f("ck_notifications_reason")),
        sa.CheckConstraint("status IN ('pending', 'sent', 'failed', 'obsolete')", name=op.f("ck_notifications_status")),
        sa.CheckConstraint("(lease_token IS NULL) = (leased_until IS NULL)", name=op.f("ck_notifications_lease")),
        sa.ForeignKeyConstraint(
            ["pause_id"], ["pauses.id"], name=op.f("fk_notifications_pause_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_notifications_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
        sa.UniqueConstraint("pause_id", "once", name=op.f("uq_notifications_pause_id_once")),
    )
    op.create_index(
        "ix_notifications_hint_at_pending",
        "notifications",
        ["hint_at"],
        unique=False,
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index("ix_notifications_namespace_id", "notifications", ["namespace", "id"], unique=False)
    op.create_index(op.f("ix_notifications_user_id"), "notifications", ["user_id"], unique=False)
    op.create_table(
        "sessions",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("browser", sa.Text(), nullable=True),
        sa.CheckConstraint("octet_length(hash) = 32", name=op.f("ck_sessions_hash")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_sessions_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_expires_at"), "sessions", ["expires_at"], unique=False)
    op.create_index(op.f("ix_sessions_user_id"), "sessions", ["user_id"], unique=False)
    op.create_table(
        "sign_in_links",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("pause_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("octet_length(hash) = 32", name=op.f("ck_sign_in_links_hash")),
        sa.ForeignKeyConstraint(
            ["pause_id"], ["pauses.id"], name=op.f("fk_sign_in_links_pause_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_sign_in_links_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_sign_in_links")),
    )
    op.create_index(op.f("ix_sign_in_links_expires_at"), "sign_in_links", ["expires_at"], unique=False)
    op.create_index(
        "ix_sign_in_links_pause_id",
        "sign_in_links",
        ["pause_id"],
        unique=False,
        postgresql_where=sa.text("pause_id IS NOT NULL"),
    )
    op.create_index(op.f("ix_sign_in_links_user_id"), "sign_in_links", ["user_id"], unique=False)


def downgrade() -> None:
    replace_constraint("pauses", "ck_pauses_no_self_decision", f"CHECK ({_OWN})")
    replace_constraint("pauses", "ck_pauses_on_timeout", "CHECK (on_timeout IN ('expire', 'reject', 'approve'))")
    op.drop_index("ix_pauses_inbox", table_name="pauses", postgresql_where=sa.text("status = 'pending'"))
    op.drop_index(
        "ix_pauses_attend_at",
        table_name="pauses",
        postgresql_where=sa.text("attend_at IS NOT NULL AND status = 'pending'"),
    )
    for column in reversed(_COLUMNS):
        op.drop_column("pauses", column.name, if_exists=True)
    op.drop_index(op.f("ix_sign_in_links_user_id"), table_name="sign_in_links")
    op.drop_index(
        "ix_sign_in_links_pause_id", table_name="sign_in_links", postgresql_where=sa.text("pause_id IS NOT NULL")
    )
    op.drop_index(op.f("ix_sign_in_links_expires_at"), table_name="sign_in_links")
    op.drop_table("sign_in_links")
    op.drop_index(op.f("ix_sessions_user_id"), table_name="sessions")
    op.drop_index(op.f("ix_sessions_expires_at"), table_name="sessions")
    op.drop_table("sessions")
    op.drop_index(op.f("ix_notifications_user_id"), table_name="notifications")
    op.drop_index("ix_notifications_namespace_id", table_name="notifications")
    op.drop_index(
        "ix_notifications_hint_at_pending", table_name="notifications", postgresql_where=sa.text("status = 'pending'")
    )
    op.drop_table("notifications")
    op.drop_table("users")
    op.drop_table("sign_in_failures")
    op.drop_table("namespace_settings")
    op.drop_table("groups")

"""the audit log"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# The lock on the head lasts until the commit, so a chain has the order of the commits.
_LINK = """
CREATE FUNCTION audit_link() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    LOOP
        UPDATE audit_heads SET
            seq = seq + 1,
            hash = sha256(hash || convert_to((seq + 1)::text || ':' || NEW.entry::text, 'UTF8'))
        WHERE namespace = NEW.namespace
        RETURNING seq, hash INTO NEW.seq, NEW.hash;
        EXIT WHEN FOUND;
        INSERT INTO audit_heads VALUES (NEW.namespace, 0, decode(repeat('00', 32), 'hex')) ON CONFLICT DO NOTHING;
    END LOOP;
    RETURN NEW;
END $$
"""
_REFUSE = """
CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only';
END $$
"""


def upgrade() -> None:
    op.create_table(
        "audit_events",
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("entry", postgresql.JSON(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "seq", name=op.f("pk_audit_events")),
    )
    op.create_index(
        "ix_audit_events_subject", "audit_events", [sa.literal_column("(entry ->> 'subject')"), "seq"], unique=False
    )
    op.create_table(
        "audit_heads",
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", name=op.f("pk_audit_heads")),
        postgresql_with={"fillfactor": 10},
    )
    op.execute(_LINK)
    op.execute(_REFUSE)
    op.execute("CREATE TRIGGER link BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION audit_link()")
    op.execute(
        "CREATE TRIGGER refuse BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events"
        " FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()"
    )


def downgrade() -> None:
    op.drop_table("audit_heads")
    op.drop_index("ix_audit_events_subject", table_name="audit_events")
    op.drop_table("audit_events")
    op.execute("DROP FUNCTION audit_refuse()")
    op.execute("DROP FUNCTION audit_link()")

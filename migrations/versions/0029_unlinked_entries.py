"""audit entries that are linked after their commit"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

# The hash of each row in a window: the first one follows the chain's head, the others the row before.
_HASH = """
CREATE FUNCTION audit_hash(previous bytea, head bytea, seq bigint, entry text) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN sha256(coalesce(previous, head) || convert_to(seq::text || ':' || entry, 'UTF8'));
END $$
"""
_CHAIN = "CREATE AGGREGATE audit_chain(head bytea, seq bigint, entry text) (SFUNC = audit_hash, STYPE = bytea)"
# The heads are locked before the entries are read: each statement sees what committed before it. So two calls never
# link an entry twice, and an entry never precedes another one that was committed before it was written.
_LINK_ENTRIES = """
CREATE FUNCTION audit_link_entries(chains text[], after bigint, batch integer)
RETURNS TABLE (linked bigint, last bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO audit_heads
        SELECT chain, 0, decode(repeat('00', 32), 'hex') FROM unnest(chains) AS chain ORDER BY chain COLLATE "C"
        ON CONFLICT DO NOTHING;
    PERFORM FROM audit_heads WHERE namespace = ANY (chains) ORDER BY namespace COLLATE "C" FOR UPDATE;
    PERFORM set_config('sagahold.linking', 'on', true);
    RETURN QUERY
    WITH waiting AS (
        SELECT id, namespace, entry FROM audit_unlinked
        WHERE id > after AND namespace = ANY (chains) ORDER BY id LIMIT batch
    ), placed AS (
        SELECT waiting.*, head.hash AS head, head.seq + row_number() OVER (PARTITION BY namespace ORDER BY id) AS seq
        FROM waiting JOIN audit_heads AS head USING (namespace)
    ), added AS (
        INSERT INTO audit_events (namespace, seq, hash, entry, entry_id)
        SELECT namespace, seq, audit_chain(head, seq, entry::text) OVER (PARTITION BY namespace ORDER BY id), entry, id
        FROM placed
        RETURNING namespace, seq, hash, entry_id
    ), removed AS (
        DELETE FROM audit_unlinked WHERE id IN (SELECT entry_id FROM added)
    ), ends AS (
        SELECT DISTINCT ON (namespace) namespace, seq, hash FROM added ORDER BY namespace, seq DESC
    ), moved AS (
        UPDATE audit_heads AS head SET seq = ends.seq, hash = ends.hash FROM ends WHERE head.namespace = ends.namespace
    )
    SELECT count(*), max(entry_id) FROM added;
    PERFORM set_config('sagahold.linking', '', true);
END $$
"""
# Processes of the release before insert here. Entries that were committed before are linked first.
_LINK = """
CREATE OR REPLACE FUNCTION audit_link() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('sagahold.linking', true) = 'on' THEN
        RETURN NEW;
    END IF;
    NEW.entry_id := NULL;
    PERFORM audit_link_entries(ARRAY[NEW.namespace], 0, NULL);
    UPDATE audit_heads SET
        seq = seq + 1,
        hash = sha256(hash || convert_to((seq + 1)::text || ':' || NEW.entry::text, 'UTF8'))
    WHERE namespace = NEW.namespace
    RETURNING seq, hash INTO NEW.seq, NEW.hash;
    RETURN NEW;
END $$
"""
_LINK_0006 = """
CREATE OR REPLACE FUNCTION audit_link() RETURNS trigger LANGUAGE plpgsql AS $$
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
CREATE FUNCTION audit_refuse_unless_linking() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'DELETE' OR current_setting('sagahold.linking', true) IS DISTINCT FROM 'on' THEN
        RAISE EXCEPTION 'the audit log is append-only';
    END IF;
    RETURN NULL;
END $$
"""


def upgrade() -> None:
    op.create_table(
        "audit_unlinked",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("entry", postgresql.JSON(astext_type=sa.Text()), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_unlinked")),
    )
    op.add_column("audit_events", sa.Column("entry_id", sa.BigInteger(), nullable=True))
    for statement in (_HASH, _CHAIN, _LINK_ENTRIES, _LINK, _REFUSE):
        op.execute(statement)
    op.execute(
        "CREATE TRIGGER refuse BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_unlinked"
        " FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_unless_linking()"
    )


def downgrade() -> None:
    op.execute("SELECT audit_link_entries(array_agg(DISTINCT namespace), 0, NULL) FROM audit_unlinked")
    op.execute(_LINK_0006)
    op.execute("DROP FUNCTION audit_link_entries(text[], bigint, integer)")
    op.execute("DROP AGGREGATE audit_chain(bytea, bigint, text)")
    op.execute("DROP FUNCTION audit_hash(bytea, bytea, bigint, text)")
    op.drop_column("audit_events", "entry_id")
    op.drop_table("audit_unlinked")
    op.execute("DROP FUNCTION audit_refuse_unless_linking()")

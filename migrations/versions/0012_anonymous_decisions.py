"""anonymous callers may decide anonymous pauses"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_OWN = "decided_by <> created_by OR status = 'cancelled' OR coalesce((review ->> 'allow_self')::boolean, false)"


def upgrade() -> None:
    _replace(f"{_OWN} OR decided_by = 'anonymous'")


def downgrade() -> None:
    _replace(_OWN)


def _replace(condition: str) -> None:
    """Replace the constraint. It checks rows only after its lock is released, because the lock blocks all readers."""
    op.execute("ALTER TABLE pauses DROP CONSTRAINT ck_pauses_no_self_decision")
    op.execute(f"ALTER TABLE pauses ADD CONSTRAINT ck_pauses_no_self_decision CHECK ({condition}) NOT VALID")
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE pauses VALIDATE CONSTRAINT ck_pauses_no_self_decision")

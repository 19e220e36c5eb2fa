"""sagas whose undo failed need an operator"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# No operator has recorded an outcome for any of them, because that was not possible before.
_MARK = """
UPDATE sagas SET needs_operator = true WHERE status = 'FAILED' AND EXISTS (
    SELECT FROM saga_steps WHERE saga_id = sagas.id AND compensates IS NOT NULL
    AND saga_steps.status IN ('FAILED', 'TIMED_OUT') AND evidence IS NULL
)
"""


def upgrade() -> None:
    op.execute(_MARK)


def downgrade() -> None:
    op.execute("UPDATE sagas SET needs_operator = false WHERE status = 'FAILED'")

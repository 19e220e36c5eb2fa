"""anonymous callers may decide anonymous pauses"""

from migrations.online import replace_constraint

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_OWN = "decided_by <> created_by OR status = 'cancelled' OR coalesce((review ->> 'allow_self')::boolean, false)"


def upgrade() -> None:
    replace_constraint("pauses", "ck_pauses_no_self_decision", f"CHECK ({_OWN} OR decided_by = 'anonymous')")


def downgrade() -> None:
    replace_constraint("pauses", "ck_pauses_no_self_decision", f"CHECK ({_OWN})")

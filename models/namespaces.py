"""The settings of a namespace. A namespace without a row has the defaults."""

from sqlalchemy import Column, DateTime, Integer, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSON

from models.tables import metadata

# `review` is the policy floor of each pause. NULL in `allowed_on_timeout` means all but approve. `min_expires_in` and
# `approval_valid_for` are in seconds.
namespace_settings = Table(
    "namespace_settings",
    metadata,
    Column("namespace", Text, primary_key=True),
    Column("review", JSON(none_as_null=True)),
    Column("allowed_on_timeout", ARRAY(Text)),
    Column("min_expires_in", Integer),
    Column("approval_valid_for", Integer),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column("changed_by", Text, nullable=False),
)

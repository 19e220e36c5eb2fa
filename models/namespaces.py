"""What holds for a whole namespace. A namespace without a row has the defaults."""

from sqlalchemy import Column, DateTime, Table, Text
from sqlalchemy.dialects.postgresql import JSON

from models.tables import metadata

# `review`: the policy of pauses that say none.
namespace_settings = Table(
    "namespace_settings",
    metadata,
    Column("namespace", Text, primary_key=True),
    Column("review", JSON(none_as_null=True)),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column("changed_by", Text, nullable=False),
)

"""People, groups, sessions and sign-in links. Only hashes of the sessions' and links' tokens are stored."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    RowMapping,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from domain.identity.access import Principal, Role
from domain.values import ids
from models.tables import metadata
from models.words import word

# `email` is stored in lower case. `channels` are URLs that notify the person; they contain secrets. If `password_hash`
# is NULL, the person signs in by a link or the identity provider. `oidc_subject` is the issuer and subject of the first
# sign-in, so that a reused address does not become the same person.
users = Table(
    "users",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("disabled_at", DateTime(timezone=True)),
    Column("away_until", DateTime(timezone=True)),
    Column("delegate_id", Uuid, ForeignKey("users.id", ondelete="SET NULL")),
    Column("email", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("namespaces", ARRAY(Text), nullable=False),
    Column("groups", ARRAY(Text), nullable=False),
    Column("channels", ARRAY(Text), nullable=False),
    Column("created_by", Text, nullable=False),
    Column("password_hash", Text),
    Column("oidc_subject", Text, unique=True),
    CheckConstraint("role IN ('reviewer', 'operator', 'admin')", name="role"),
    CheckConstraint("cardinality(namespaces) > 0", name="namespaces"),
    CheckConstraint("email = lower(email)", name="email"),
    CheckConstraint("delegate_id <> id", name="no_delegate_to_oneself"),
)

# A group spans all namespaces. The namespaces of its members decide who may see a review.
groups = Table(
    "groups",
    metadata,
    Column("name", Text, primary_key=True),
    Column("description", Text),
    Column("channels", ARRAY(Text), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("created_by", Text, nullable=False),
)

# `hash` is the SHA-256 of the token. `way` is how the person signed in; NULL in sessions of an earlier release. The
# session ends at `expires_at`, or earlier if it is idle for too long.
sessions = Table(
    "sessions",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("seen_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False, index=True),
    Column("address", Text),
    Column("browser", Text),
    Column("way", Text),
    CheckConstraint("octet_length(hash) = 32", name="hash"),
)

# A link with a pause opens that review for the person until it expires or is resolved. One without signs in once.
sign_in_links = Table(
    "sign_in_links",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("pause_id", Uuid, ForeignKey("pauses.id", ondelete="CASCADE")),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False, index=True),
    Column("used_at", DateTime(timezone=True)),
    CheckConstraint("octet_length(hash) = 32", name="hash"),
    Index("ix_sign_in_links_pause_id", "pause_id", postgresql_where=text("pause_id IS NOT NULL")),
)

# Failed sign-ins by e-mail or client address ("email:…", "address:…"). Too many of them delay the next ones.
sign_in_failures = Table(
    "sign_in_failures",
    metadata,
    Column("subject", Text, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("since", DateTime(timezone=True), nullable=False),
)


def person_of(row: RowMapping, where: str | None = None, auth: str | None = None) -> Principal:
    """Return the caller for a person's row."""
    return Principal(
        ids.text(ids.USER, row["id"]),
        row["name"],
        word(Role, row["role"], "role", []),
        tuple(row["namespaces"]),
        email=row["email"],
        groups=tuple(row["groups"]),
        where=where,
        auth=auth,
    )

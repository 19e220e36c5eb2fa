"""People, the groups that reviews ask, and how people get in: sessions and links, of which only hashes are stored."""

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

# `email` is stored in lower case. `channels`: URLs by which the person hears of reviews; they hold secrets.
# A `password_hash` of NULL: the person gets in by a link or by the identity provider. `oidc_subject`: issuer and
# subject, bound at the first sign-in, so that a reused address does not become the same person.
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

# A group is one for all namespaces: who of it may see a review is said by the namespaces of its people.
groups = Table(
    "groups",
    metadata,
    Column("name", Text, primary_key=True),
    Column("description", Text),
    Column("channels", ARRAY(Text), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("created_by", Text, nullable=False),
)

# Whoever has the token, of which `hash` is the SHA-256, is this person until `expires_at`, if not idle for too long.
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
    CheckConstraint("octet_length(hash) = 32", name="hash"),
)

# With a pause: opens that one review for that person, until it expires or is resolved. Without: signs in, once.
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

# Failed sign-ins, by what was tried ("email:…", "address:…"): too many, and the next ones wait.
sign_in_failures = Table(
    "sign_in_failures",
    metadata,
    Column("subject", Text, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("since", DateTime(timezone=True), nullable=False),
)


def person_of(row: RowMapping, where: str | None = None) -> Principal:
    """Who is signed in, as the rules see them."""
    return Principal(
        ids.text(ids.USER, row["id"]),
        row["name"],
        word(Role, row["role"], "role", []),
        tuple(row["namespaces"]),
        email=row["email"],
        groups=tuple(row["groups"]),
        where=where,
    )

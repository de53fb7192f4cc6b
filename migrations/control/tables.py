"""The tables of the control plane: which workspaces there are, API keys and passwords, and what operators did."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from migrations.columns import NAMING, flag, not_blank, one_of, string, timestamp

metadata = MetaData(schema="control", naming_convention=NAMING)


def _id() -> Column[int]:
    return Column("id", BigInteger, Identity(always=True), primary_key=True)


def _of_workspace(*, key: bool = False) -> Column[int]:
    parent = ForeignKey("control.workspaces.id", ondelete="CASCADE")
    return Column("workspace_id", BigInteger, parent, primary_key=key, nullable=False)


workspaces = Table(
    "workspaces",
    metadata,
    _id(),
    string("slug", 63),
    string("name", 100),
    string("schema_name", 45),
    string("cluster", 100, nullable=True),
    string("state", 10, default="active"),
    string("schema_version", 32),
    timestamp("created_at"),
    string("compatible_from", 32, default="0001"),
    string("migration_error", 500, nullable=True),
    UniqueConstraint("slug"),
    UniqueConstraint("schema_name"),
    not_blank("name"),
    one_of("state", ("active", "suspended", "deleting")),
    CheckConstraint("slug ~ '^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$'", name="slug"),
    CheckConstraint("schema_name ~ '^w_[a-z0-9]{4,40}$'", name="schema_name"),
    comment="A customer's workspace: its schema and role have the name schema_name. "
    "cluster is its placement, null for the default database; schema_version mirrors the schema's own, compatible_from "
    "is the oldest release (its newest revision) that serves it; migration_error is why the last try to migrate it "
    "failed.",
)

api_keys = Table(
    "api_keys",
    metadata,
    _id(),
    _of_workspace(),
    Column("user_id", BigInteger, nullable=False),
    string("label", 100),
    string("prefix", 4),
    Column("hash", LargeBinary, nullable=False, unique=True),
    flag("owner_active", default=True),
    timestamp("created_at"),
    timestamp("expires_at", nullable=True),
    timestamp("revoked_at", nullable=True),
    timestamp("last_used_at", nullable=True),
    not_blank("label"),
    CheckConstraint("octet_length(hash) = 32", name="hash"),
    CheckConstraint("expires_at > created_at", name="expires_at"),
    Index("api_keys_owner_idx", "workspace_id", "user_id"),
    comment="Personal API keys, as SHA-256 of the whole key. prefix: the first 4 characters after to_live_. "
    "owner_active mirrors the user's state in the workspace, so that one look-up decides.",
)

passwords = Table(
    "passwords",
    metadata,
    _of_workspace(key=True),
    Column("user_id", BigInteger, primary_key=True, autoincrement=False),
    string("hash", 255),
    string("stamp", 32),
    flag("owner_active", default=True),
    timestamp("changed_at"),
    CheckConstraint("stamp <> ''", name="stamp"),
    comment="Hashes of passwords, which no workspace's role can read. stamp is another one with every password: "
    "sessions and links hold it, so that they end with it. owner_active mirrors the user's state in the workspace.",
)

password_links = Table(
    "password_links",
    metadata,
    _of_workspace(key=True),
    Column("user_id", BigInteger, primary_key=True, autoincrement=False),
    Column("purpose", String(20), primary_key=True),
    Column("secret_hash", LargeBinary, nullable=False),
    timestamp("issued_at"),
    CheckConstraint("octet_length(secret_hash) = 32", name="secret_hash"),
    comment="Links by which somebody may set a password, by the SHA-256 of their secret: of each purpose the latest "
    "one alone. A password that is set ends them.",
)

sign_in_attempts = Table(
    "sign_in_attempts",
    metadata,
    _of_workspace(key=True),
    Column("email_digest", LargeBinary, primary_key=True),
    Column("attempts", SmallInteger, nullable=False, server_default=text("1")),
    timestamp("last_at"),
    CheckConstraint("octet_length(email_digest) = 32", name="email_digest"),
    Index("sign_in_attempts_last_at_idx", "last_at"),
    comment="Tries to sign in since the last that succeeded, by the SHA-256 of what was given as the e-mail, "
    "be there such a user or not.",
)

operations = Table(
    "operations",
    metadata,
    _id(),
    timestamp("created_at"),
    string("operation", 50),
    Column("workspace_id", BigInteger, nullable=True),
    Column("details", JSONB, nullable=False, server_default=text("'{}'")),
    comment="What operators did: workspaces created, suspended, migrated, and the like.",
)

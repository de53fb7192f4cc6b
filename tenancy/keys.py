"""Personal API keys: minted here, stored only as a hash, checked by the database on every request."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tenancy.catalog import check_line

if TYPE_CHECKING:
    import datetime as dt

    import asyncpg

PREFIX = "to_live_"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """What is known of a key. *prefix* is its first characters; *state* says whether it works, or why not."""

    id: int
    user_id: int
    label: str
    prefix: str
    state: str
    created_at: dt.datetime
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None
    last_used_at: dt.datetime | None


def hash_key(key: str) -> bytes:
    """Return the SHA-256 of *key*: with 256 random bits in it, a slow hash would buy nothing."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def mint_key() -> str:
    """Return a new key, which is stored nowhere yet."""
    return PREFIX + secrets.token_urlsafe(32)


def shown_characters(key: str) -> str:
    """Return the characters of *key* that lists show, so that one can tell one's keys apart."""
    return key[len(PREFIX) :][:4]


async def create_key(
    admin: asyncpg.Connection,
    *,
    workspace_id: int,
    user_id: int,
    label: str,
    expires_at: dt.datetime | None = None,
) -> str:
    """Store a new key of the user and return it: this is the only time that it can be seen."""
    key = mint_key()
    await admin.execute(
        """
        INSERT INTO control.api_keys (workspace_id, user_id, label, prefix, hash, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6)
        """,
        workspace_id,
        user_id,
        check_line(label, "label"),
        shown_characters(key),
        hash_key(key),
        expires_at,
    )
    return key


async def list_keys(admin: asyncpg.Connection, *, workspace_id: int, user_id: int | None = None) -> list[ApiKey]:
    """Return the workspace's keys, or those of one of its users, in the order of their making."""
    rows = await admin.fetch(
        """
        SELECT k.id, k.user_id, k.label, $3 || k.prefix AS prefix,
            CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked'
                WHEN k.expires_at <= now() THEN 'expired'
                WHEN NOT k.owner_active THEN 'owner deactivated'
                WHEN w.state <> 'active' THEN 'workspace ' || w.state
                ELSE 'active' END AS state,
            date_trunc('second', k.created_at) AS created_at, date_trunc('second', k.expires_at) AS expires_at,
            date_trunc('second', k.revoked_at) AS revoked_at, date_trunc('second', k.last_used_at) AS last_used_at
        FROM control.api_keys k JOIN control.workspaces w ON w.id = k.workspace_id
        WHERE k.workspace_id = $1 AND ($2::bigint IS NULL OR k.user_id = $2)
        ORDER BY k.id
        """,
        workspace_id,
        user_id,
        PREFIX,
    )
    return [ApiKey(**row) for row in rows]


async def is_valid(admin: asyncpg.Connection, key: str, *, workspace_id: int) -> bool:
    """Return whether *key* is a working key of the workspace."""
    found = await admin.fetchval("SELECT workspace_id FROM control.authenticate_key($1)", hash_key(key))
    return bool(found == workspace_id)


async def revoke_key(admin: asyncpg.Connection, key_id: int) -> None:
    """Revoke the key; the very next request with it is refused."""
    await admin.execute("UPDATE control.api_keys SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL", key_id)


async def set_owner_active(admin: asyncpg.Connection, *, workspace_id: int, user_id: int, active: bool) -> None:
    """Let the user's password and keys work, or not, as their owner is active or deactivated."""
    # First: a key that is just being made holds this row, and is there when the keys are updated.
    await admin.execute(
        "UPDATE control.passwords SET owner_active = $3 WHERE workspace_id = $1 AND user_id = $2",
        workspace_id,
        user_id,
        active,
    )
    await admin.execute(
        "UPDATE control.api_keys SET owner_active = $3 WHERE workspace_id = $1 AND user_id = $2",
        workspace_id,
        user_id,
        active,
    )

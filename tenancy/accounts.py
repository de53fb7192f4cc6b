"""What the service may do for people: tell who is signed in, check and replace passwords, keep one's own keys.

And for administrators: see and revoke the keys of others, and let their accounts follow their state. That somebody is
one the workspace knows, which must be asked first.

All of it is functions of the control schema, which no workspace's role can call. Passwords come here as hashes only.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tenancy.catalog import check_line
from tenancy.keys import PREFIX, ApiKey, hash_key, mint_key, shown_characters
from tenancy.roles import ISSUER

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    import asyncpg

    from tenancy.session import Gateway

_ISSUE_LINK = "SELECT control.issue_link($1, $2, $3, $4)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An active workspace, and whether the session that was shown holds there."""

    workspace_id: int
    slug: str
    name: str
    schema_name: str
    schema_version: str
    compatible_from: str
    signed_in: bool


class Account(NamedTuple):
    """What there is of a user's account: whether they ever set a password, and how many keys work."""

    has_password: bool
    working_keys: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Who is signed in where. *stamp* is the one of the password at sign-in: another password ends the session."""

    workspace_id: int
    user_id: int
    stamp: str


class Accounts:
    """The accounts of all workspaces, as far as the service may touch them."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def find_place(self, slug: str, session: Session | None) -> Place | None:
        """Return the active workspace of that slug, and whether the session holds there."""
        async with self._gateway.control() as connection:
            row = await connection.fetchrow(
                "SELECT workspace_id, slug, name, schema_name, schema_version, compatible_from, signed_in "
                "FROM control.find_workspace($1, $2, $3)",
                slug,
                session and session.user_id,
                session and session.stamp,
            )
        if row is None:
            return None
        is_here = session is not None and session.workspace_id == row["workspace_id"]
        return Place(**{**row, "signed_in": is_here and row["signed_in"]})

    async def admit_sign_in(self, workspace_id: int, email: str) -> bool:
        """Count a try with that e-mail and return whether its password may be looked at: not after too many."""
        async with self._gateway.control() as connection:
            return bool(await connection.fetchval("SELECT control.admit_sign_in($1, $2)", workspace_id, _digest(email)))

    async def forget_sign_ins(self, workspace_id: int, email: str) -> None:
        """Forget the tries with that e-mail, since one succeeded."""
        async with self._gateway.control() as connection:
            await connection.execute("SELECT control.forget_sign_ins($1, $2)", workspace_id, _digest(email))

    async def password_salt(self, workspace_id: int, user_id: int | None) -> str | None:
        """Return the stored hash of an active user's password up to its last `$`; None too where nobody is asked about.

        By it the hash can be computed again, which prove_password() wants.
        """
        async with self._gateway.control() as connection:
            salt: str | None = await connection.fetchval("SELECT control.password_salt($1, $2)", workspace_id, user_id)
        return salt

    async def prove_password(self, workspace_id: int, user_id: int | None, computed_hash: str) -> str | None:
        """Return the stamp of the password whose hash that is, None if it is not the active user's."""
        async with self._gateway.control() as connection:
            stamp: str | None = await connection.fetchval(
                "SELECT control.prove_password($1, $2, $3)", workspace_id, user_id, computed_hash
            )
        return stamp

    async def change_password(
        self, workspace_id: int, user_id: int, *, computed_hash: str, new_hash: str
    ) -> str | None:
        """Replace the password whose hash that is and return the new one's stamp; None if it is another one by now."""
        stamp = new_stamp()
        async with self._gateway.control() as connection:
            done = await connection.fetchval(
                "SELECT control.change_password($1, $2, $3, $4, $5)",
                workspace_id,
                user_id,
                computed_hash,
                new_hash,
                stamp,
            )
        return stamp if done else None

    async def issue_link(self, workspace_id: int, user_id: int, purpose: str) -> str:
        """Return the secret of a new link by which the user may set a password; it ends the last one of *purpose*."""
        secret = new_link_secret()
        async with self._gateway.control(ISSUER) as connection:
            await connection.execute(_ISSUE_LINK, workspace_id, user_id, purpose, _hash_secret(secret))
        return secret

    async def holds_link(self, workspace_id: int, user_id: int, purpose: str, secret: str) -> bool:
        """Return whether a password may be set by the link."""
        async with self._gateway.control() as connection:
            return bool(
                await connection.fetchval(
                    "SELECT control.holds_link($1, $2, $3, $4)", workspace_id, user_id, purpose, _hash_secret(secret)
                )
            )

    async def use_link(
        self, workspace_id: int, user_id: int, purpose: str, secret: str, *, new_hash: str
    ) -> str | None:
        """Set the password by the link, which then is at its end, and return the stamp; None if it does not hold."""
        stamp = new_stamp()
        async with self._gateway.control() as connection:
            done = await connection.fetchval(
                "SELECT control.use_link($1, $2, $3, $4, $5, $6)",
                workspace_id,
                user_id,
                purpose,
                _hash_secret(secret),
                new_hash,
                stamp,
            )
        return stamp if done else None

    async def list_own_keys(self, session: Session) -> list[ApiKey]:
        """Return the user's keys, the newest first."""
        async with self._gateway.control() as connection:
            rows = await connection.fetch(
                "SELECT id, label, prefix, state, created_at, expires_at, revoked_at, last_used_at "
                "FROM control.list_own_keys($1, $2, $3)",
                session.workspace_id,
                session.user_id,
                session.stamp,
            )
        return [ApiKey(**{**row, "prefix": PREFIX + row["prefix"]}, user_id=session.user_id) for row in rows]

    async def create_own_key(self, session: Session, *, label: str, expires_at: dt.datetime | None) -> str | None:
        """Store a new key and return it, which is the only time that it can be seen; None if the user has too many."""
        key = mint_key()
        async with self._gateway.control() as connection:
            made = await connection.fetchval(
                "SELECT control.create_own_key($1, $2, $3, $4, $5, $6, $7)",
                session.workspace_id,
                session.user_id,
                session.stamp,
                check_line(label, "label"),
                shown_characters(key),
                hash_key(key),
                expires_at,
            )
        return key if made else None

    async def revoke_own_key(self, session: Session, key_id: int) -> bool:
        """Revoke a key of the user's for good; return whether there was one to revoke."""
        async with self._gateway.control() as connection:
            return bool(
                await connection.fetchval(
                    "SELECT control.revoke_own_key($1, $2, $3, $4)",
                    session.workspace_id,
                    session.user_id,
                    session.stamp,
                    key_id,
                )
            )

    async def name_keys(self, session: Session, key_ids: Iterable[int]) -> dict[int, str]:
        """Return the label of each of these keys, whosoever they are."""
        async with self._gateway.control() as connection:
            rows = await connection.fetch(
                "SELECT id, label FROM control.name_keys($1, $2, $3, $4)",
                session.workspace_id,
                session.user_id,
                session.stamp,
                list(key_ids),
            )
        return {row["id"]: row["label"] for row in rows}

    async def look_at_users(self, session: Session, user_ids: Iterable[int]) -> dict[int, Account]:
        """Return what there is of the accounts of these users."""
        async with self._gateway.control() as connection:
            rows = await connection.fetch(
                "SELECT user_id, has_password, working_keys FROM control.look_at_users($1, $2, $3, $4)",
                session.workspace_id,
                session.user_id,
                session.stamp,
                list(user_ids),
            )
        return {row["user_id"]: Account(row["has_password"], row["working_keys"]) for row in rows}

    async def list_user_keys(self, session: Session, user_id: int) -> list[ApiKey]:
        """Return the keys of another user, the newest first."""
        async with self._gateway.control() as connection:
            rows = await connection.fetch(
                "SELECT id, label, prefix, state, created_at, expires_at, revoked_at, last_used_at "
                "FROM control.list_user_keys($1, $2, $3, $4)",
                session.workspace_id,
                session.user_id,
                session.stamp,
                user_id,
            )
        return [ApiKey(**{**row, "prefix": PREFIX + row["prefix"]}, user_id=user_id) for row in rows]

    async def revoke_user_key(self, session: Session, user_id: int, key_id: int) -> bool:
        """Revoke a key of another user for good; return whether there was one to revoke."""
        async with self._gateway.control() as connection:
            return bool(
                await connection.fetchval(
                    "SELECT control.revoke_user_key($1, $2, $3, $4, $5)",
                    session.workspace_id,
                    session.user_id,
                    session.stamp,
                    user_id,
                    key_id,
                )
            )

    async def set_user_active(self, session: Session, user_id: int, *, active: bool) -> bool:
        """Let another user's password and keys work, or not; return whether the session may."""
        async with self._gateway.control() as connection:
            return bool(
                await connection.fetchval(
                    "SELECT control.set_user_active($1, $2, $3, $4, $5)",
                    session.workspace_id,
                    session.user_id,
                    session.stamp,
                    user_id,
                    active,
                )
            )


def new_stamp() -> str:
    """Return the stamp of a new password."""
    return secrets.token_urlsafe(16)


def new_link_secret() -> str:
    """Return the secret of a new link."""
    return secrets.token_urlsafe(16)


async def issue_link(admin: asyncpg.Connection, *, workspace_id: int, user_id: int, purpose: str) -> str:
    """Issue a link as Accounts.issue_link() does, for an operator."""
    secret = new_link_secret()
    await admin.execute(_ISSUE_LINK, workspace_id, user_id, purpose, _hash_secret(secret))
    return secret


async def stored_hash(admin: asyncpg.Connection, *, workspace_id: int, user_id: int) -> str | None:
    """Return the hash of the user's password, as the operator sees it."""
    found: str | None = await admin.fetchval(
        "SELECT hash FROM control.passwords WHERE workspace_id = $1 AND user_id = $2", workspace_id, user_id
    )
    return found


async def set_password(admin: asyncpg.Connection, *, workspace_id: int, user_id: int, password_hash: str) -> None:
    """Give the user a password, whichever they had."""
    await admin.execute(
        """
        INSERT INTO control.passwords (workspace_id, user_id, hash, stamp) VALUES ($1, $2, $3, $4)
        ON CONFLICT (workspace_id, user_id) DO UPDATE SET hash = $3, stamp = $4, changed_at = now()
        """,
        workspace_id,
        user_id,
        password_hash,
        new_stamp(),
    )


def _hash_secret(secret: str) -> bytes:
    # As with keys, a slow hash buys nothing against so many random bits.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _digest(email: str) -> bytes:
    # As the users' e-mails are compared; the same length, and nothing to read, whatever was typed.
    return hashlib.sha256(email.strip().lower().encode("utf-8", "surrogatepass")).digest()

"""The database roles that stand apart from any workspace, and what everybody loses.

* `testorchestrator_app`: the service's login. Rightless: it may call control's functions, and enter workspaces.
* `testorchestrator_owner`: owns every workspace's schema and tables, and runs their DDL.
* `testorchestrator_control`: owns the control schema, and has no way into a workspace.

See ARCHITECTURE.md, "Isolation", for what each revoke closes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import stringprep
import unicodedata

import asyncpg

from tenancy.citus import Sharding, is_sharding
from tenancy.errors import TenancyError

APP = "testorchestrator_app"
OWNER = "testorchestrator_owner"
CONTROL = "testorchestrator_control"
#: In strict mode workspaces' roles are members of it: it may connect, and nothing else. Rights of its own on the
#: database for each of them would make a list that every connection has to read.
STRICT = "testorchestrator_strict"
#: Where an operator has made it, the login of the exporter: it may count workspaces, see docs/operations.md.
MONITOR = "testorchestrator_monitor"

_CREATE = {APP: "LOGIN", OWNER: "NOLOGIN", CONTROL: "NOLOGIN", STRICT: "NOLOGIN"}
_RIGHTLESS = "NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"

SET_CONFIG = "pg_catalog.set_config(text, text, boolean)"
# What else nobody may call: it would leave something outside of the caller's schema.
WITHHELD = (
    "pg_catalog.pg_notify(text, text)",
    "pg_catalog.lo_creat(integer)",
    "pg_catalog.lo_create(oid)",
    "pg_catalog.lo_from_bytea(oid, bytea)",
)
_LOCK_SECONDS = 30


async def prepare_database(
    admin: asyncpg.Connection, *, app_password: str | None = None, sharding: Sharding = Sharding.AUTO
) -> None:
    """Make the roles, the control schema and the revokes; run again, it puts right what was changed by hand.

    *admin* must be a superuser, since only one can take rights on pg_catalog's functions from PUBLIC.
    With *app_password*, it becomes the service login's password. Where Citus places workspaces, their owner can log in.
    """
    if not await admin.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
        raise TenancyError(
            "The administrator's login is no superuser, so set_config cannot be taken from PUBLIC: "
            "give DATABASE_URL a superuser's name."
        )
    async with admin.transaction():
        await take_lock(admin, "testorchestrator.prepare")
        existing = {row["rolname"] for row in await admin.fetch("SELECT rolname FROM pg_roles")}
        for role, options in _CREATE.items():
            if role not in existing:
                await admin.execute(f"CREATE ROLE {role} {options}")
        if await is_sharding(admin, sharding):
            await admin.execute(f"ALTER ROLE {OWNER} LOGIN")
        await admin.execute(f"ALTER ROLE {APP} {_RIGHTLESS}")
        # For what it does outside of workspaces, which have limits of their own: look keys up.
        await admin.execute(f"ALTER ROLE {APP} SET statement_timeout = '10s'")
        await admin.execute(f"ALTER ROLE {APP} SET lock_timeout = '3s'")
        if app_password is not None:
            await admin.execute(f"ALTER ROLE {APP} PASSWORD '{scram_verifier(app_password)}'")
        database = await admin.fetchval("SELECT quote_ident(current_database())")
        for statement in (
            f"REVOKE ALL ON DATABASE {database} FROM PUBLIC",
            f"GRANT CONNECT ON DATABASE {database} TO {APP}, {STRICT}",
            f"GRANT CREATE ON DATABASE {database} TO {OWNER}",
            f"REVOKE EXECUTE ON FUNCTION {SET_CONFIG} FROM PUBLIC",
            # asyncpg calls it when it meets a new type, which is made to happen before a workspace is entered.
            f"GRANT EXECUTE ON FUNCTION {SET_CONFIG} TO {APP}, {OWNER}",
            f"REVOKE EXECUTE ON FUNCTION {', '.join(WITHHELD)} FROM PUBLIC",
            "REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC",
            f"GRANT USAGE ON LANGUAGE plpgsql TO {OWNER}, {CONTROL}",
            f"CREATE SCHEMA IF NOT EXISTS control AUTHORIZATION {CONTROL}",
            f"GRANT USAGE ON SCHEMA control TO {APP}",
        ):
            await admin.execute(statement)
        if await admin.fetchval("SELECT to_regnamespace('public') IS NOT NULL"):
            await admin.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")


async def take_lock(admin: asyncpg.Connection, name: str) -> None:
    """Take the lock *name* until the end of the transaction; raise TenancyError if somebody keeps it.

    Every role may take advisory locks, a workspace's too, so it is never waited for without an end.
    """
    await admin.execute(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'")
    try:
        await admin.execute(f"SELECT pg_advisory_xact_lock(hashtext('{name}'))")
    except asyncpg.LockNotAvailableError as error:
        raise TenancyError(
            f"Another session has kept the lock {name} for {_LOCK_SECONDS} s: is a migration at work? Try again later."
        ) from error


def scram_verifier(password: str, *, salt: bytes | None = None, iterations: int = 4096) -> str:
    """Return what Postgres stores for *password* (RFC 5803), so that the password itself is in no statement or log."""
    salt = secrets.token_bytes(16) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", _prepared(password).encode(), salt, iterations)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    encoded = [base64.b64encode(part).decode() for part in (salt, stored_key, server_key)]
    return f"SCRAM-SHA-256${iterations}:{encoded[0]}${encoded[1]}:{encoded[2]}"


def _prepared(password: str) -> str:
    """Return *password* as a client hashes it (SASLprep, RFC 4013): equal looks are made equal characters."""
    mapped = (" " if stringprep.in_table_c12(c) else c for c in password if not stringprep.in_table_b1(c))
    return unicodedata.normalize("NFKC", "".join(mapped)) or password

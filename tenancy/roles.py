"""The database roles that stand apart from any workspace, and what everybody loses.

* `testorchestrator_app`: the service's login. Rightless: it may call control's functions, and enter workspaces.
* `testorchestrator_owner`: owns every workspace's schema and tables, and runs their DDL.
* `testorchestrator_gate`: looks keys up and serves pages. The login enters it for a transaction, to call functions of
  control; it is in no workspace.
* `testorchestrator_issuer`: issues the links by which somebody sets a password, and may not use them.
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
from typing import TYPE_CHECKING

import asyncpg

from tenancy.citus import Sharding, is_sharding
from tenancy.errors import TenancyError
from tenancy.withheld import PREPARED_STATEMENTS, WITHHELD

if TYPE_CHECKING:
    from collections.abc import Mapping

APP = "testorchestrator_app"
OWNER = "testorchestrator_owner"
CONTROL = "testorchestrator_control"
GATE = "testorchestrator_gate"
ISSUER = "testorchestrator_issuer"
#: What the login enters to call functions of the control schema.
CONTROL_ROLES = (GATE, ISSUER)
#: In strict mode workspaces' roles are members of it: it may connect, and nothing else. Rights of its own on the
#: database for each of them would make a list that every connection has to read.
STRICT = "testorchestrator_strict"
#: Where an operator has made it, the login of the exporter: it may count workspaces, see docs/operations.md.
MONITOR = "testorchestrator_monitor"

_CREATE = {APP: "LOGIN"} | dict.fromkeys((OWNER, CONTROL, *CONTROL_ROLES, STRICT), "NOLOGIN")
_RIGHTLESS = "NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"

SET_CONFIG = "pg_catalog.set_config(text, text, boolean)"
#: Where the driver's own set_config is found while it learns types: see connection.py.
DRIVER = "testorchestrator_driver"
_DRIVER_SCHEMA = (
    f"CREATE SCHEMA IF NOT EXISTS {DRIVER}",
    f"REVOKE ALL ON SCHEMA {DRIVER} FROM PUBLIC",
    f"GRANT USAGE ON SCHEMA {DRIVER} TO PUBLIC",
    f"""
    CREATE OR REPLACE FUNCTION {DRIVER}.set_config(name text, value text, is_local boolean) RETURNS text
    LANGUAGE sql IMMUTABLE BEGIN ATOMIC SELECT value; END
    """,
)
#: What every role that logs in for workspaces rests in: a query that is in no transaction of ours finds no table, and
#: writes nothing.
RESTING = {"default_transaction_read_only": "on", "search_path": ""}
#: The login's own: also the limits of what it does outside of workspaces, which have theirs.
APP_SETTINGS = {"statement_timeout": "10s", "lock_timeout": "3s"} | RESTING
# How PostgreSQL stores an empty list.
_EMPTY = '""'
_LOCK_SECONDS = 30
_BATCH = 200


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
        for role in CONTROL_ROLES:
            await admin.execute(f"ALTER ROLE {role} {_RIGHTLESS} NOLOGIN")
        if app_password is not None:
            await admin.execute(f"ALTER ROLE {APP} PASSWORD '{scram_verifier(app_password)}'")
        database = await admin.fetchval("SELECT quote_ident(current_database())")
        withheld = await admin.fetchval(
            "SELECT array_agg(name) FROM unnest($1::text[]) AS name WHERE to_regprocedure(name) IS NOT NULL", WITHHELD
        )
        for statement in (
            f"REVOKE ALL ON DATABASE {database} FROM PUBLIC",
            f"GRANT CONNECT ON DATABASE {database} TO {APP}, {STRICT}",
            f"GRANT CREATE ON DATABASE {database} TO {OWNER}",
            f"REVOKE EXECUTE ON FUNCTION {SET_CONFIG} FROM PUBLIC",
            # asyncpg calls it when it meets a new type, a workspace's owner may do so while it makes one.
            f"GRANT EXECUTE ON FUNCTION {SET_CONFIG} TO {OWNER}",
            f"REVOKE EXECUTE ON FUNCTION {', '.join(withheld)} FROM PUBLIC",
            f"GRANT EXECUTE ON FUNCTION {PREPARED_STATEMENTS} TO {APP}",
            "REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC",
            f"GRANT USAGE ON LANGUAGE plpgsql TO {OWNER}, {CONTROL}",
            f"CREATE SCHEMA IF NOT EXISTS control AUTHORIZATION {CONTROL}",
            # To name the one function that it may call.
            f"GRANT USAGE ON SCHEMA control TO {', '.join((APP, *CONTROL_ROLES))}",
            f"GRANT {', '.join(CONTROL_ROLES)} TO {APP} WITH INHERIT FALSE, SET TRUE",
        ):
            await admin.execute(statement)
        for statement in _DRIVER_SCHEMA:
            await admin.execute(statement)
        if await admin.fetchval("SELECT to_regnamespace('public') IS NOT NULL"):
            await admin.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")


async def rest_login(admin: asyncpg.Connection) -> None:
    """Take from the service's login what it does not need at rest; the release before needs it."""
    async with admin.transaction():
        await admin.execute(f"REVOKE EXECUTE ON FUNCTION {SET_CONFIG} FROM {APP}")
        await _set(admin, APP, APP_SETTINGS)


async def rest_workspaces(admin: asyncpg.Connection) -> int:
    """Let the roles of all workspaces rest as a new one does, and return how many did not.

    In strict mode, where such a role logs in, it may change its own settings, which PostgreSQL does not let us forbid.
    """
    rows = await admin.fetch(
        """
        SELECT w.schema_name FROM control.workspaces w JOIN pg_authid r ON r.rolname = w.schema_name
        LEFT JOIN pg_db_role_setting s ON s.setrole = r.oid
        GROUP BY w.schema_name
        HAVING count(*) <> 1 OR bool_or(s.setdatabase IS DISTINCT FROM 0)
            OR bool_or(ARRAY(SELECT unnest(s.setconfig) ORDER BY 1) IS DISTINCT FROM $1::text[])
        ORDER BY 1
        """,
        stored_settings(RESTING),
    )
    for start in range(0, len(rows), _BATCH):
        async with admin.transaction():
            for row in rows[start : start + _BATCH]:
                await _set(admin, row["schema_name"], RESTING)
    return len(rows)


def resting(role: str) -> list[str]:
    """Return the statements that let a workspace's new role rest as all do."""
    return _setting(role, RESTING)


def stored_settings(settings: Mapping[str, str]) -> list[str]:
    """Return what PostgreSQL stores of a role's *settings*, in order."""
    return sorted(f"{name}={value or _EMPTY}" for name, value in settings.items())


async def _set(admin: asyncpg.Connection, role: str, settings: Mapping[str, str]) -> None:
    """Give *role* these settings and no others."""
    databases = await admin.fetch(
        "SELECT quote_ident(d.datname) AS name FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase "
        "WHERE s.setrole = $1::regrole",
        role,
    )
    for row in databases:
        await admin.execute(f"ALTER ROLE {role} IN DATABASE {row['name']} RESET ALL")
    await admin.execute(f"ALTER ROLE {role} RESET ALL")
    for statement in _setting(role, settings):
        await admin.execute(statement)


def _setting(role: str, settings: Mapping[str, str]) -> list[str]:
    return [f"ALTER ROLE {role} SET {name} = '{value}'" for name, value in settings.items()]


async def take_lock(admin: asyncpg.Connection, name: str) -> None:
    """Take the lock *name* until the end of the transaction; raise TenancyError if somebody keeps it.

    Somebody else's session may keep it for ever, so it is never waited for without an end.
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

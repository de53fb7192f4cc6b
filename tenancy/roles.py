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
from typing import TYPE_CHECKING

from tenancy.errors import TenancyError

if TYPE_CHECKING:
    import asyncpg

APP = "testorchestrator_app"
OWNER = "testorchestrator_owner"
CONTROL = "testorchestrator_control"

_CREATE = {APP: "LOGIN NOINHERIT", OWNER: "NOLOGIN", CONTROL: "NOLOGIN"}

SET_CONFIG = "pg_catalog.set_config(text, text, boolean)"
PG_NOTIFY = "pg_catalog.pg_notify(text, text)"


async def prepare_database(admin: asyncpg.Connection, *, app_password: str | None = None) -> None:
    """Make the roles, the control schema and the revokes; run again, it changes nothing.

    *admin* must be a superuser, since only one can take rights on pg_catalog's functions from PUBLIC.
    With *app_password*, it becomes the service login's password.
    """
    if not await admin.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
        raise TenancyError(
            "The administrator's login is no superuser, so set_config cannot be taken from PUBLIC: "
            "give DATABASE_URL a superuser's name."
        )
    async with admin.transaction():
        await admin.execute("SELECT pg_advisory_xact_lock(hashtext('testorchestrator.prepare'))")
        existing = {row["rolname"] for row in await admin.fetch("SELECT rolname FROM pg_roles")}
        for role, options in _CREATE.items():
            if role not in existing:
                await admin.execute(f"CREATE ROLE {role} {options}")
        if app_password is not None:
            await admin.execute(f"ALTER ROLE {APP} PASSWORD '{_scram_verifier(app_password)}'")
        database = await admin.fetchval("SELECT quote_ident(current_database())")
        for statement in (
            f"REVOKE ALL ON DATABASE {database} FROM PUBLIC",
            f"GRANT CONNECT ON DATABASE {database} TO {APP}",
            f"GRANT CREATE ON DATABASE {database} TO {OWNER}",
            "REVOKE ALL ON SCHEMA public FROM PUBLIC",
            f"REVOKE EXECUTE ON FUNCTION {SET_CONFIG} FROM PUBLIC",
            # asyncpg calls it when it meets a new type, which is made to happen before a workspace is entered.
            f"GRANT EXECUTE ON FUNCTION {SET_CONFIG} TO {APP}, {OWNER}",
            f"REVOKE EXECUTE ON FUNCTION {PG_NOTIFY} FROM PUBLIC",
            "REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC",
            f"GRANT USAGE ON LANGUAGE plpgsql TO {OWNER}",
            f"CREATE SCHEMA IF NOT EXISTS control AUTHORIZATION {CONTROL}",
            f"GRANT USAGE ON SCHEMA control TO {APP}",
        ):
            await admin.execute(statement)


def _scram_verifier(password: str) -> str:
    """Return what Postgres stores for *password* (RFC 5803), so that the password itself is in no statement or log."""
    salt, iterations = secrets.token_bytes(16), 4096
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    encoded = [base64.b64encode(part).decode() for part in (salt, stored_key, server_key)]
    return f"SCRAM-SHA-256${iterations}:{encoded[0]}${encoded[1]}:{encoded[2]}"

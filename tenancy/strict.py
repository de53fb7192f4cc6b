"""Strict mode: every workspace's role logs in by itself, so that no statement at all can leave the workspace.

The passwords are not stored anywhere: they are derived from one secret that the operator gives to the service and to
the commands that make logins. Who has the secret can enter every workspace; who has one password, one workspace.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tenancy.connection import Login
from tenancy.roles import STRICT, scram_verifier

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

_BATCH = 200


@dataclass(frozen=True, slots=True)
class StrictLogins:
    """The workspaces' logins, all derived from *secret*."""

    secret: str = field(repr=False)

    def password(self, schema_name: str) -> str:
        """Return the password of the workspace's role: 256 bits, which nobody need ever see."""
        return base64.urlsafe_b64encode(self._derive("password", schema_name)).decode()

    def login(self, schema_name: str) -> Login:
        """Return how to log in as the workspace's role."""
        return Login(schema_name, self.password(schema_name))

    def verifier(self, schema_name: str) -> str:
        """Return what Postgres stores for it: always the same, so that a migration sees whether it must change."""
        # One iteration: more of them slow down guessing, which is hopeless anyway with 256 random bits.
        salt = self._derive("salt", schema_name)[:16]
        return scram_verifier(self.password(schema_name), salt=salt, iterations=1)

    def _derive(self, purpose: str, schema_name: str) -> bytes:
        return hmac.digest(self.secret.encode(), f"{purpose} {schema_name}".encode(), hashlib.sha256)


async def open_logins(admin: asyncpg.Connection, logins: StrictLogins, schema_names: Sequence[str]) -> int:
    """Let the roles of these workspaces log in with the derived passwords, and return how many could not before."""
    wanted = {name: logins.verifier(name) for name in schema_names}
    rows = await admin.fetch(
        """
        SELECT a.rolname, a.rolcanlogin, a.rolpassword, EXISTS (
            SELECT FROM pg_auth_members m WHERE m.member = a.oid AND m.roleid = $2::regrole
        ) AS may_connect
        FROM pg_authid a
        WHERE a.rolname = ANY ($1::text[])
        """,
        list(wanted),
        STRICT,
    )
    behind = [
        row["rolname"]
        for row in rows
        if not (row["rolcanlogin"] and row["may_connect"] and row["rolpassword"] == wanted[row["rolname"]])
    ]
    for start in range(0, len(behind), _BATCH):
        async with admin.transaction():
            for name in behind[start : start + _BATCH]:
                await admin.execute(f"ALTER ROLE {name} LOGIN PASSWORD '{wanted[name]}'")
                await admin.execute(f"GRANT {STRICT} TO {name} WITH INHERIT TRUE, SET FALSE")
    return len(behind)

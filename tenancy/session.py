"""The way into a workspace: who a key belongs to, and one transaction as that workspace's role.

What handlers get is a facade, never the connection: every query goes through the extended protocol, which takes
one statement at a time, and must begin as a query does. Together with the revokes of `tenancy.roles` this leaves
injected SQL no way out of the workspace; either alone would not.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg

from tenancy.errors import DatabaseUnavailable, StatementRefused, TenancyError
from tenancy.keys import hash_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from tenancy.pool import Pool

_QUERY = re.compile(r"\s*(?:select|insert|update|delete|merge|with)\b", re.IGNORECASE)
_SCHEMA_NAME = re.compile(r"w_[a-z0-9]{4,40}")
_ROLLBACK_SECONDS = 5
# What the driver raises when the server is away or goes away; after a while everything recovers by itself.
_CONNECTION_LOST = (
    OSError,
    TenancyError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whom a valid key stands for. *schema_name* is the workspace's schema and role."""

    workspace_id: int
    schema_name: str
    schema_version: str
    user_id: int
    api_key_id: int


class WorkspaceConnection:
    """Queries in one workspace, within one transaction. Raises StatementRefused for anything but a query."""

    __slots__ = ("_connection", "_savepoints", "rollback_only")

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._savepoints = 0
        #: Set it to have the transaction rolled back at its end although nothing failed: a dry run.
        self.rollback_only = False

    async def fetch(self, query: str, *arguments: Any) -> Sequence[asyncpg.Record]:
        """Return all rows."""
        return await self._connection.fetch(_checked(query), *arguments)  # type: ignore[no-any-return]

    async def fetchrow(self, query: str, *arguments: Any) -> asyncpg.Record | None:
        """Return the first row, if there is one."""
        return await self._connection.fetchrow(_checked(query), *arguments)

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        """Return the first column of the first row, or None."""
        return await self._connection.fetchval(_checked(query), *arguments)

    async def execute(self, query: str, *arguments: Any) -> int:
        """Run a query for its effect and return how many rows it concerned."""
        # Not the driver's execute: without arguments that one takes several statements at once.
        statement = await self._connection.prepare(_checked(query))
        await statement.fetch(*arguments)
        return int(statement.get_statusmsg().split()[-1])

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo what is done inside if it raises, and let the transaction go on."""
        self._savepoints += 1
        name = f"s{self._savepoints}"
        await self._connection.execute(f"SAVEPOINT {name}")
        try:
            yield
        except BaseException:
            await self._connection.execute(f"ROLLBACK TO {name}")
            raise
        else:
            await self._connection.execute(f"RELEASE {name}")


class Gateway:
    """What the service knows of the database: keys to check, and workspaces to enter."""

    def __init__(self, pool: Pool, *, statement_timeout_ms: int = 10_000, lock_timeout_ms: int = 3_000) -> None:
        self._pool = pool
        self._limits = (
            f"SET LOCAL statement_timeout = {statement_timeout_ms:d}; SET LOCAL lock_timeout = {lock_timeout_ms:d}; "
            f"SET LOCAL timezone = 'UTC'; SET LOCAL idle_in_transaction_session_timeout = {2 * statement_timeout_ms:d}"
        )

    async def authenticate(self, key: str) -> Identity | None:
        """Return whom *key* stands for, or None: unknown, revoked, expired, its owner or workspace not active."""
        with _telling_loss():
            return await self._authenticate(key)

    async def _authenticate(self, key: str) -> Identity | None:
        async with self._pool.connection() as connection:
            row = await connection.fetchrow(
                "SELECT workspace_id, schema_name, schema_version, user_id, api_key_id, touch_due "
                "FROM control.authenticate($1)",
                hash_key(key),
            )
            if row is None:
                return None
            *identity, touch_due = row.values()
            if touch_due:
                await connection.execute("SELECT control.touch_key($1)", row["api_key_id"])
        return Identity(**dict(zip(Identity.__slots__, identity, strict=True)))

    @asynccontextmanager
    async def workspace(
        self, schema_name: str, *, read_only: bool, gate: str = ""
    ) -> AsyncIterator[WorkspaceConnection]:
        """Enter the workspace for one transaction: committed at the end, rolled back if anything raises.

        *gate* is a statement of ours that lets the transaction go on or raises; it costs no round trip of its own.
        """
        if not _SCHEMA_NAME.fullmatch(schema_name):
            raise ValueError("not a workspace's schema name")
        mode = "READ ONLY" if read_only else "READ WRITE"
        with _telling_loss():
            async with self._pool.connection(schema_name) as connection:
                try:
                    await connection.execute(
                        f"BEGIN {mode}; SET LOCAL ROLE {schema_name}; SET LOCAL search_path = {schema_name}, pg_temp; "
                        f"{self._limits}; {gate}"
                    )
                    facade = WorkspaceConnection(connection)
                    yield facade
                    if facade.rollback_only:
                        # A dry run makes the checks that a commit would make.
                        await connection.execute("SET CONSTRAINTS ALL IMMEDIATE; ROLLBACK")
                    else:
                        await connection.execute("COMMIT")
                except BaseException:
                    await _roll_back(connection)
                    raise


@contextmanager
def _telling_loss() -> Iterator[None]:
    """Raise DatabaseUnavailable for all the ways in which a connection can be lost, or not be had."""
    try:
        yield
    except asyncpg.QueryCanceledError:
        raise
    except _CONNECTION_LOST as error:
        raise DatabaseUnavailable(type(error).__name__) from error


@asynccontextmanager
async def as_workspace(admin: asyncpg.Connection, schema_name: str) -> AsyncIterator[WorkspaceConnection]:
    """Act as the workspace's role on an administrator's connection, within the transaction that is open there."""
    if not _SCHEMA_NAME.fullmatch(schema_name):
        raise ValueError("not a workspace's schema name")
    await admin.execute(f"SET LOCAL ROLE {schema_name}; SET LOCAL search_path = {schema_name}, pg_temp")
    yield WorkspaceConnection(admin)
    await admin.execute("SET LOCAL ROLE NONE; SET LOCAL search_path = DEFAULT")


async def _roll_back(connection: asyncpg.Connection) -> None:
    """End the transaction even if the request was cancelled; a connection that cannot is given up."""
    try:
        async with asyncio.timeout(_ROLLBACK_SECONDS):
            await connection.execute("ROLLBACK")
    except (OSError, TimeoutError, asyncio.CancelledError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()


def _checked(query: str) -> str:
    if not _QUERY.match(query):
        raise StatementRefused
    return query

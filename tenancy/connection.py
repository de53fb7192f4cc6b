"""Connecting to Postgres: what can be wrong is told in one line, and what asyncpg must know it learns at once."""

from __future__ import annotations

import asyncio
import secrets
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson

from tenancy.errors import TenancyError, first_line
from tenancy.roles import DRIVER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OLDEST_SERVER = 16
_CONNECT_SECONDS = 10


@asynccontextmanager
async def admin_connection(url: str, *, name: str = "DATABASE_URL") -> AsyncIterator[asyncpg.Connection]:
    """Connect as the administrator: for operators and the command line, never for a request, nor through a pooler.

    What can be wrong with *url* raises a TenancyError that speaks of *name*, never of a password.
    """
    connection = await connect(url, name=name, direct=True)
    try:
        yield connection
    finally:
        await connection.close()


@dataclass(frozen=True, slots=True)
class Login:
    """A role to connect as, in place of the one in a URL."""

    role: str
    password: str = field(repr=False)


async def connect(
    url: str,
    *,
    name: str,
    statement_cache_size: int = 100,
    login: Login | None = None,
    command_timeout: float | None = None,
    application: str = "",
    direct: bool = False,
) -> asyncpg.Connection:
    """Return a new connection to *url*, whose server is recent enough; raise TenancyError within 10 seconds.

    With *command_timeout*, in seconds, a query raises TimeoutError where the server does not answer at all. The server
    shows *application* to administrators. With *direct*, a pooler in between is refused.
    """
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            return await _connect(
                url,
                name=name,
                login=login,
                statement_cache_size=statement_cache_size,
                command_timeout=command_timeout,
                application=application,
                direct=direct,
            )
    except asyncpg.InvalidCatalogNameError as error:
        raise TenancyError(f"{name}: {first_line(error)}. Create it, or correct the name.") from error
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InsufficientPrivilegeError) as error:
        reason = first_line(error)
        raise TenancyError(f"{name}: the server refuses the login ({reason}). Check user and password.") from error
    except (
        OSError,
        asyncpg.CannotConnectNowError,
        asyncpg.PostgresConnectionError,
        asyncpg.TooManyConnectionsError,
    ) as error:
        said = first_line(error) or f"no answer in {_CONNECT_SECONDS} s"
        reason = "the host name is unknown" if isinstance(error, socket.gaierror) else said
        raise TenancyError(
            f"{name}: no connection to the server ({reason}). Is it running, and the address right?"
        ) from error
    except (ValueError, OverflowError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        # Without the cause, whose text repeats parts of the URL: one that is cut in the wrong place shows the password.
        raise TenancyError(
            f"{name} is not usable ({type(error).__name__}). It looks like postgresql://user:password@host:5432/database."
        ) from None
    except asyncpg.PostgresError as error:
        raise TenancyError(f"{name}: the server refuses the connection ({first_line(error)}).") from error


async def is_pooled(connection: asyncpg.Connection) -> bool:
    """Tell whether a pooler is in between: the process id that it gives to a client is not that of the server."""
    # Unnamed, since a name may be taken already by another client of the pooler's.
    query = await connection.prepare("SELECT pg_backend_pid()", name="")
    return connection.get_server_pid() != await query.fetchval()  # type: ignore[no-any-return]


async def require_statement_cache(connection: asyncpg.Connection) -> None:
    """Raise TenancyError where prepared statements get lost on the way: in a pooler that does not know of them."""
    name = f"testorchestrator_{secrets.token_hex(8)}"
    async with connection.transaction():
        probe = await connection.prepare("SELECT count(*) FROM pg_prepared_statements WHERE name = $1", name=name)
        # A pooler that knows them gives them names of its own.
        is_passed_on = await probe.fetchval(name)
    if is_passed_on and await is_pooled(connection):
        raise TenancyError(
            "The pooler before the database does not keep prepared statements apart: set "
            "TESTORCHESTRATOR_STATEMENT_CACHE_SIZE=0 (or use PgBouncer 1.21 with max_prepared_statements)."
        )


async def _connect(
    url: str, *, name: str, login: Login | None, application: str, direct: bool, **options: Any
) -> asyncpg.Connection:
    as_role = {} if login is None else {"user": login.role, "password": login.password}
    # Age alone ends no statement: a workspace that comes every ten minutes finds its plans, too.
    connection = await asyncpg.connect(
        url,
        max_cached_statement_lifetime=0,
        server_settings={"application_name": application} if application else None,
        **options,
        **as_role,
    )
    try:
        _check_version(connection, name=name)
        if direct:
            await _require_direct(connection, name=name)
        await _learn_types(connection, name=name)
    except BaseException:
        connection.terminate()
        raise
    return connection


def _check_version(connection: asyncpg.Connection, *, name: str) -> None:
    version = connection.get_server_version().major
    if version < OLDEST_SERVER:
        raise TenancyError(
            f"{name}: the server is PostgreSQL {version}; TestOrchestrator needs {OLDEST_SERVER} or later."
        )


async def _require_direct(connection: asyncpg.Connection, *, name: str) -> None:
    if await is_pooled(connection):
        raise TenancyError(
            f"{name} leads to a connection pooler, which administrators' commands cannot go through: "
            "give the server's own address, or set DATABASE_DIRECT_URL to it."
        )


async def _learn_types(connection: asyncpg.Connection, *, name: str) -> None:
    """Make asyncpg look up the types that the queries use, while it finds what it needs for that.

    It switches jit off meanwhile, by set_config, which no role of ours may call. For the time of this transaction the
    name is that of a function of our own, which does nothing.
    """
    try:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL search_path = {DRIVER}, pg_catalog")
            for kind in ("json", "jsonb"):
                await connection.set_type_codec(
                    kind, schema="pg_catalog", encoder=lambda value: orjson.dumps(value).decode(), decoder=orjson.loads
                )
            await connection.prepare(
                "SELECT $1::bigint[], $2::integer[], $3::smallint[], $4::text[], $5::boolean[], $6::date[], "
                "$7::timestamptz[], $8::jsonb[], $9::varchar[], $10::numeric[]"
            )
    except asyncpg.InsufficientPrivilegeError as error:
        raise TenancyError(
            f"{name}: {first_line(error)}. The login must be a superuser, or the service's own after a migrate."
        ) from error

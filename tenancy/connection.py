"""Connecting to Postgres: what can be wrong is told in one line, and what asyncpg must know it learns at once."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
import orjson

from tenancy.errors import TenancyError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OLDEST_SERVER = 16


@asynccontextmanager
async def admin_connection(url: str, *, name: str = "DATABASE_URL") -> AsyncIterator[asyncpg.Connection]:
    """Connect as the administrator: for operators and the command line, never for a request.

    What can be wrong with *url* raises a TenancyError that speaks of *name*, never of a password.
    """
    connection = await connect(url, name=name)
    try:
        yield connection
    finally:
        await connection.close()


async def connect(url: str, *, name: str, statement_cache_size: int = 100) -> asyncpg.Connection:
    """Return a new connection to *url*, whose server is recent enough."""
    try:
        connection = await asyncpg.connect(url, timeout=10, statement_cache_size=statement_cache_size)
    except asyncpg.InvalidCatalogNameError as error:
        raise TenancyError(f"{name}: {error}. Create it, or correct the name.") from error
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InsufficientPrivilegeError) as error:
        raise TenancyError(f"{name}: the server refuses the login ({error}). Check user and password.") from error
    except (OSError, TimeoutError, asyncpg.CannotConnectNowError, asyncpg.TooManyConnectionsError) as error:
        reason = "the host name is unknown" if isinstance(error, socket.gaierror) else str(error) or "no answer in 10 s"
        raise TenancyError(
            f"{name}: no connection to the server ({reason}). Is it running, and the address right?"
        ) from error
    except (ValueError, asyncpg.InterfaceError, asyncpg.PostgresError) as error:
        raise TenancyError(
            f"{name} is not usable ({type(error).__name__}). It looks like postgresql://user:password@host:5432/database."
        ) from error
    version: int = connection.get_server_version().major
    if version < OLDEST_SERVER:
        await connection.close()
        raise TenancyError(
            f"{name}: the server is PostgreSQL {version}; TestOrchestrator needs {OLDEST_SERVER} or later."
        )
    try:
        await _learn_types(connection)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def _learn_types(connection: asyncpg.Connection) -> None:
    """Make asyncpg look up the types that the queries use while it still may: in a workspace, set_config is refused."""
    for name in ("json", "jsonb"):
        await connection.set_type_codec(
            name, schema="pg_catalog", encoder=lambda value: orjson.dumps(value).decode(), decoder=orjson.loads
        )
    await connection.prepare(
        "SELECT $1::bigint[], $2::integer[], $3::smallint[], $4::text[], $5::boolean[], $6::date[], "
        "$7::timestamptz[], $8::jsonb[], $9::varchar[], $10::numeric[]"
    )

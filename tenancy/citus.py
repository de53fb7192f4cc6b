"""Citus, where the database has it: whether it is to place new workspaces on its servers, and what roles it needs.

A database without it is the usual case, and nothing here changes anything then. With it, the coordinator asks the other
servers as the role whose query it is, so these roles must be able to log in: without a password, which only the
coordinator is let in by. See ARCHITECTURE.md, "Beyond one machine".
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from tenancy.errors import TenancyError

if TYPE_CHECKING:
    import asyncpg

ABSENT = "This database has no Citus: make the extension citus on each of its servers, and add these as nodes, first."


class Sharding(StrEnum):
    """Whether Citus places new workspaces. AUTO: where the database has it."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


async def has_citus(connection: asyncpg.Connection) -> bool:
    """Return whether the database has the extension."""
    return await connection.fetchval(  # type: ignore[no-any-return]
        "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')"
    )


async def is_sharding(admin: asyncpg.Connection, sharding: Sharding) -> bool:
    """Return whether Citus is to place new workspaces; raise TenancyError where it must and cannot."""
    if sharding is Sharding.OFF:
        return False
    found = await has_citus(admin)
    if sharding is Sharding.ON and not found:
        raise TenancyError(ABSENT)
    return found

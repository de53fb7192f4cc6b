"""The list of workspaces in the control schema."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tenancy.errors import TenancyError

if TYPE_CHECKING:
    import asyncpg

_COLUMNS = "id, slug, name, schema_name, state, schema_version"
_LINE = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,100}")
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
RESERVED_SLUGS = frozenset({"admin", "api", "app", "demo", "mail", "mcp", "status", "staging", "support", "www"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """A customer's workspace. *schema_name* is the name of its schema and of its role."""

    id: int
    slug: str
    name: str
    schema_name: str
    state: str
    schema_version: str


def check_slug(slug: str) -> str:
    """Return *slug* if a workspace may be called so."""
    if not _SLUG.fullmatch(slug):
        raise TenancyError(
            f"{slug!r} is no workspace name: use 3 to 63 lower-case letters, digits and hyphens, no hyphen at an end."
        )
    if slug in RESERVED_SLUGS:
        raise TenancyError(f"{slug!r} is a reserved name: choose another.")
    return slug


def check_line(text: str, what: str) -> str:
    """Return *text* if it can be *what*: a name or label for people, of one line."""
    if not _LINE.fullmatch(text) or not text.strip():
        raise TenancyError(f"{text[:100]!r} is no {what}: use 1 to 100 characters on one line, not all of them spaces.")
    return text


async def find_workspace(admin: asyncpg.Connection, slug: str) -> Workspace | None:
    """Return the workspace of that slug, whatever its state."""
    row = await admin.fetchrow(f"SELECT {_COLUMNS} FROM control.workspaces WHERE slug = $1", slug)
    return Workspace(**row) if row else None


async def require_workspace(admin: asyncpg.Connection, slug: str) -> Workspace:
    """Return the workspace of that slug, which stays as it is until the transaction ends; raise TenancyError."""
    row = await admin.fetchrow(f"SELECT {_COLUMNS} FROM control.workspaces WHERE slug = $1 FOR NO KEY UPDATE", slug)
    if row is None:
        raise TenancyError(f"There is no workspace {slug!r}: see testorchestrator workspace list.")
    return Workspace(**row)


async def list_workspaces(admin: asyncpg.Connection) -> list[Workspace]:
    """Return all workspaces by slug."""
    return [Workspace(**row) for row in await admin.fetch(f"SELECT {_COLUMNS} FROM control.workspaces ORDER BY slug")]


async def count_workspaces(connection: asyncpg.Connection) -> list[tuple[str, str, int]]:
    """Return how many workspaces there are of each state and schema version; it needs to read those columns only."""
    rows = await connection.fetch(
        "SELECT state, schema_version, count(*) FROM control.workspaces GROUP BY state, schema_version"
    )
    return [tuple(row) for row in rows]


async def slugs_that_begin(admin: asyncpg.Connection, beginning: str, *, most: int = 100) -> list[str]:
    """Return the first slugs that begin so."""
    rows = await admin.fetch(
        "SELECT slug FROM control.workspaces WHERE starts_with(slug, $1) ORDER BY slug LIMIT $2", beginning, most
    )
    return [row["slug"] for row in rows]


async def set_state(admin: asyncpg.Connection, slug: str, state: str) -> None:
    """Make the workspace `active` or `suspended`; it holds from the next request on."""
    done = await admin.execute("UPDATE control.workspaces SET state = $2 WHERE slug = $1", slug, state)
    if done == "UPDATE 0":
        raise TenancyError(f"There is no workspace {slug!r}.")


async def note_operation(admin: asyncpg.Connection, operation: str, *, workspace_id: int, **details: Any) -> None:
    """Write down what an operator did, in the transaction of what was done."""
    await admin.execute(
        "INSERT INTO control.operations (operation, workspace_id, details) VALUES ($1, $2, $3)",
        operation,
        workspace_id,
        details,
    )

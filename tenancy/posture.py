"""The isolation of a live database, looked at from outside: what the roles may do, and where that is not as we make it.

The guard asks what the service relies on and stops at that; this compares everything with what `roles` and
`provision` set up, for all workspaces in a few queries, and says what mends each difference.
"""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import migrations.control.tables
import migrations.workspace.tables
from migrations.trees import Tree, head
from tenancy.errors import TenancyError
from tenancy.guard import weaknesses
from tenancy.posture_queries import (
    CASCADES,
    COMPARISONS,
    DRIFT,
    EVERYBODY,
    EXTENSIONS,
    FIXED,
    MEMBERSHIPS,
    MIGRATE,
    PASSWORDS,
    ROLES,
    SUPERUSERS,
    WITHHELD_FUNCTIONS,
)
from tenancy.provision import privileges
from tenancy.roles import APP, GATE, ISSUER
from tenancy.search import describe_search

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    import asyncpg

    from tenancy.strict import StrictLogins

_GRANT = re.compile(r"GRANT (?P<what>[A-Z].*?) ON (?:(?P<kind>[A-Z]+) )?(?P<names>\S.*) TO \S+")
_PRIVILEGE = re.compile(r"([A-Z]+)(?: \(([^)]*)\))?")
_NAME = re.compile(r"\w+(?:\([^)]*\))?")
#: The only functions that run with another's rights, by the role that may call them.
CONTROL_FUNCTIONS = {
    APP: ("confirm_key(bigint, bigint, text, text, text)",),
    GATE: (
        *("authenticate_key(bytea)", "touch_key(bigint)", "find_workspace(text, bigint, text)"),
        *("admit_sign_in(bigint, bytea)", "forget_sign_ins(bigint, bytea)"),
        *("password_salt(bigint, bigint)", "prove_password(bigint, bigint, text)"),
        *("change_password(bigint, bigint, text, text, text)", "holds_link(bigint, bigint, text, bytea)"),
        *("use_link(bigint, bigint, text, bytea, text, text)", "list_own_keys(bigint, bigint, text)"),
        "create_own_key(bigint, bigint, text, text, text, bytea, timestamp with time zone)",
        *("revoke_own_key(bigint, bigint, text, bigint)", "name_keys(bigint, bigint, text, bigint[])"),
        *("look_at_users(bigint, bigint, text, bigint[])", "list_user_keys(bigint, bigint, text, bigint)"),
        "revoke_user_key(bigint, bigint, text, bigint, bigint)",
        "set_user_active(bigint, bigint, text, bigint, boolean)",
    ),
    ISSUER: ("issue_link(bigint, bigint, text, bytea)",),
}
_SETTINGS = (
    *("server_version", "ssl", "password_encryption", "log_statement", "log_parameter_max_length"),
    *("max_connections", "max_locks_per_transaction", "recovery_init_sync_method", "jit", "random_page_cost"),
    "shared_preload_libraries",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is not as we make it. *mend* has one line for each of *workspaces*, or one if it is in none."""

    what: str
    mend: tuple[str, ...]
    workspaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Posture:
    """What was seen. *refusals* are the guard's: with one of them, the service does not start."""

    database: str
    settings: dict[str, str]
    roles: list[dict[str, Any]]
    memberships: list[dict[str, Any]]
    everybody: list[dict[str, Any]]
    functions: list[dict[str, Any]]
    superusers: list[dict[str, Any]]
    workspaces: int
    refusals: list[str]
    findings: list[Finding]

    @property
    def is_sound(self) -> bool:
        """Whether nothing was found."""
        return not self.refusals and not self.findings

    @property
    def sound_workspaces(self) -> int:
        """How many workspaces nothing was found in."""
        return self.workspaces - len({slug for finding in self.findings for slug in finding.workspaces})


async def look(
    admin: asyncpg.Connection, *, service: asyncpg.Connection | None = None, strict: StrictLogins | None = None
) -> Posture:
    """Return the posture of *admin*'s database, in which nothing is changed; raise TenancyError if it cannot be seen.

    With *service*, a connection of the service's own, the guard looks through that one. With *strict*, passwords of
    workspaces' roles that are not derived from its secret are found too.
    """
    if not await admin.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
        raise TenancyError("Only a superuser sees all of it: give DATABASE_URL a superuser's name.")
    made = await admin.fetchval(
        "SELECT to_regclass('control.workspaces') IS NOT NULL AND count(*) = cardinality($1::text[]) "
        "FROM pg_roles WHERE rolname = ANY ($1::text[])",
        list(FIXED),
    )
    if made:
        findings = await _behind(admin) or [*await _findings(admin), *await _foreign_passwords(admin, strict)]
        if service is None:
            async with _as_login(admin) as login:
                refusals = await weaknesses(login)
        else:
            refusals = await weaknesses(service)
    else:
        findings = [Finding(what="the control schema or a role of ours is missing", mend=(MIGRATE,))]
        refusals = []
    if service is not None and (name := await service.fetchval("SELECT session_user::text")) != APP:
        findings.insert(0, Finding(what=f"the service logs in as {name}", mend=(f"log in as {APP}",)))
    if refusals and not findings:
        # The guard knows something that the comparison does not.
        findings = [Finding(what="the guard refuses", mend=(MIGRATE,))]
    return Posture(
        database=await admin.fetchval("SELECT current_database()::text"),
        settings={
            row["name"]: row["setting"]
            for row in await admin.fetch(
                "SELECT name, setting FROM pg_settings WHERE name = ANY ($1::text[]) "
                "ORDER BY array_position($1::text[], name)",
                list(_SETTINGS),
            )
        }
        | {f"extension {row['extname']}": row["extversion"] for row in await admin.fetch(EXTENSIONS)}
        | ({"search": await describe_search(admin)} if made else {}),
        roles=await _rows(admin, ROLES),
        memberships=await _rows(admin, MEMBERSHIPS),
        everybody=await _rows(admin, EVERYBODY),
        functions=await _rows(admin, WITHHELD_FUNCTIONS),
        superusers=await _rows(admin, SUPERUSERS),
        workspaces=await admin.fetchval("SELECT count(*) FROM control.workspaces") if made else 0,
        refusals=refusals,
        findings=findings,
    )


@asynccontextmanager
async def _as_login(admin: asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    """See with the eyes of the service's login for a while."""
    transaction = admin.transaction()
    await transaction.start()
    try:
        await admin.execute(f"SET LOCAL SESSION AUTHORIZATION {APP}")
        yield admin
    finally:
        await transaction.rollback()


async def _rows(admin: asyncpg.Connection, query: str) -> list[dict[str, Any]]:
    return [dict(row) for row in await admin.fetch(query)]


async def _behind(admin: asyncpg.Connection) -> list[Finding]:
    """Return that control is at another revision: what is right there is not what this release would make."""
    revision = await admin.fetchval("SELECT version_num FROM control.alembic_version")
    if revision == head(Tree.CONTROL):
        return []
    what = f"the control schema is at revision {revision}, this release at {head(Tree.CONTROL)}"
    return [Finding(what=what, mend=(MIGRATE,))]


async def _foreign_passwords(admin: asyncpg.Connection, strict: StrictLogins | None) -> list[Finding]:
    """Return which roles somebody without the secret could log in as: a role may change its own password."""
    if strict is None:
        return []
    rows = await admin.fetch(PASSWORDS)
    found = [row for row in rows if row["rolpassword"] != strict.verifier(row["rolname"])]
    if not found:
        return []
    what = "its role has a password that is not derived from the strict secret"
    return [Finding(what=what, mend=(MIGRATE,), workspaces=tuple(row["slug"] for row in found))]


async def _findings(admin: asyncpg.Connection) -> list[Finding]:
    expected = [*_expected_control(), *_expected_workspace()]
    columns: list[list[Any]] = [list(column) for column in zip(*expected, strict=True)]
    rows = [row for query in COMPARISONS for row in await admin.fetch(query)]
    rows += await admin.fetch(CASCADES, head(Tree.WORKSPACE))
    rows += await admin.fetch(DRIFT, head(Tree.WORKSPACE), *columns)
    return _grouped((row["what"], row["mend"], row["slug"]) for row in rows)


def _grouped(rows: Iterable[tuple[str, str, str | None]]) -> list[Finding]:
    """Return what was found once, with all the workspaces in which it was found."""
    found: dict[tuple[str, bool], list[tuple[str, str | None]]] = {}
    for what, mend, slug in rows:
        found.setdefault((what, slug is None), []).append((mend, slug))
    return [
        Finding(
            what=what,
            mend=tuple(dict.fromkeys(mend for mend, _ in where)),
            workspaces=tuple(dict.fromkeys(slug for _, slug in where if slug is not None)),
        )
        for (what, _), where in found.items()
    ]


#: tree, kind, name, what a role may do with it, and the role: none is the workspace's
_Object = tuple[str, str, str, str, str]


def _expected_workspace() -> list[_Object]:
    """Return a workspace's objects and the grants on them, as provisioning writes them."""
    found: dict[tuple[str, str], list[str]] = {("TABLE", "alembic_version"): []}
    found |= {("TABLE", table.name): [] for table in migrations.workspace.tables.metadata.sorted_tables}
    for statement in privileges("w"):
        grant = _GRANT.fullmatch(statement)
        if grant is None:
            raise RuntimeError(f"provision says what posture does not understand: {statement}")
        kind = grant["kind"] or "TABLE"
        for name in _NAME.findall(grant["names"]):
            for privilege, columns in _PRIVILEGE.findall(grant["what"]):
                granted = [("COLUMN", f"{name}.{column}") for column in _NAME.findall(columns)]
                for one in granted or [(kind, "" if kind == "SCHEMA" else name)]:
                    found.setdefault(one, []).append(privilege)
    return [("workspace", kind, name, ", ".join(what), "") for (kind, name), what in found.items()]


def _expected_control() -> list[_Object]:
    tables = migrations.control.tables.metadata.sorted_tables
    numbered = [f"{table.name}_{column.name}_seq" for table in tables for column in table.c if column.identity]
    return [
        *(("control", "SCHEMA", "", "USAGE", role) for role in CONTROL_FUNCTIONS),
        *(("control", "TABLE", name, "", "") for name in ("alembic_version", *(table.name for table in tables))),
        *(("control", "SEQUENCE", name, "", "") for name in numbered),
        *(
            ("control", "FUNCTION", name, "EXECUTE", role)
            for role, names in CONTROL_FUNCTIONS.items()
            for name in names
        ),
    ]

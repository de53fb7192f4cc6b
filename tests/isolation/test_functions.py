"""Every function that a workspace's role may call is known, with the reason why it may; what does more is withheld.

The list is the server's own, so that a function which comes with a new release of PostgreSQL is judged before it is
used. Reasons that can be tried are tried.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import asyncpg
import pytest

from tenancy.provision import create_workspace
from tenancy.roles import APP, SET_CONFIG
from tenancy.withheld import WITHHELD
from tests.conftest import new_database
from tests.isolation.functions import CLASSES, HARMLESS, READING, REFUSING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# Of what class each function is that the role may call: the first that applies, or none.
CALLABLE = f"""
    SELECT p.oid::regprocedure::text AS signature, p.proname::text AS name, p.provolatile = 'v' AS volatile,
        (p.oid::regproc::text || '(%s)') AS call, p.provariadic <> 0 AS variadic,
        ARRAY(SELECT format_type(given, NULL) FROM unnest(p.proargtypes) AS given) AS arguments,
        CASE {" ".join(f"WHEN {condition} THEN {number}" for number, condition in enumerate(CLASSES.values()))} END
            AS class
    FROM pg_proc p WHERE has_function_privilege($1, p.oid, 'EXECUTE')
"""
REFUSED = {signature.strip(): error for error, text in REFUSING.items() for signature in text.strip().splitlines()}
VOLATILE = [*REFUSED, *(line.strip() for text in HARMLESS.values() for line in text.strip().splitlines())]
STABLE = [name for text in READING.values() for name in text.split()]
# Something of each type that functions take, so that they are run and not passed over.
GIVEN = {
    '"char"': "r", "bigint": "1", "boolean": "true", "integer": "1", "name": "x", "oid": "1", "oid[]": "{}",
    "pg_lsn": "0/1", "regclass": "ids", "regnamespace": "pg_catalog", "text": "x", "text[]": "{}",
}  # fmt: skip
# What of a workspace functions can be asked about, and the type that says what it is.
OBJECTS = """
    WITH space AS (SELECT oid, nspname FROM pg_namespace WHERE nspname = $1)
    SELECT DISTINCT ON (c.relkind, c.relam) 'regclass' AS kind, c.oid FROM pg_class c, space
    WHERE c.relnamespace = space.oid
    UNION ALL SELECT 'oid', p.oid FROM pg_proc p, space WHERE p.pronamespace = space.oid
    UNION ALL SELECT 'oid', max(k.oid) FROM pg_constraint k, space WHERE k.connamespace = space.oid
    UNION ALL SELECT 'regrole', r.oid FROM pg_roles r, space WHERE r.rolname = nspname
    UNION ALL SELECT 'regnamespace', oid FROM space
"""
LOCKS = """
    SELECT count(*) FROM pg_locks
    WHERE pid = pg_backend_pid() AND (
        objid = ANY ($2::oid[])
        OR relation IN (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = $1))
"""
#: Functions that lock what they are asked about, for as long as the transaction lasts.
LOCKING = ("pg_get_function_sqlbody(oid)", "pg_get_functiondef(oid)", "pg_sequence_last_value(regclass)")


class Database(NamedTuple):
    admin: asyncpg.Connection
    own: str
    other: str

    async def unknown(self) -> set[str]:
        """Return what the workspace's role may call and nobody has judged."""
        rows = await self.admin.fetch(CALLABLE, self.own)
        return {
            row["signature"]
            for row in rows
            if row["class"] is None and row["signature" if row["volatile"] else "name"] not in {*VOLATILE, *STABLE}
        }

    @asynccontextmanager
    async def undone(self) -> AsyncIterator[None]:
        """Undo what is done inside."""
        transaction = self.admin.transaction()
        await transaction.start()
        try:
            yield
        finally:
            await transaction.rollback()

    @asynccontextmanager
    async def workspace(self) -> AsyncIterator[None]:
        """Be the workspace's role inside, and undo what is done."""
        async with self.undone():
            await self.admin.execute(f"SET LOCAL SESSION AUTHORIZATION {APP}; SET LOCAL ROLE {self.own}")
            await self.admin.execute(f"SET LOCAL search_path = {self.own}, pg_temp; SET LOCAL statement_timeout = '5s'")
            yield


@pytest.fixture(scope="module")
async def database(postgres):
    async with new_database(postgres) as (_, admin):
        yield Database(admin, *[(await create_workspace(admin, slug=x, name=x)).schema_name for x in ("one", "two")])


async def test_every_function_that_a_workspace_may_call_is_known(database):
    assert await database.unknown() == set()


async def test_what_is_known_is_there_and_told_once(database):
    """Nothing is named that is not there, that a class has already, or that is withheld."""
    rows = [row for row in await database.admin.fetch(CALLABLE, database.own) if row["class"] is None]
    assert sorted(VOLATILE) == sorted(row["signature"] for row in rows if row["volatile"])
    assert sorted(STABLE) == sorted({row["name"] for row in rows if not row["volatile"]})


async def test_all_that_is_withheld_would_be_unknown(database):
    """No withheld function may be called; of those that might, the first test would find each."""
    admin, own, _ = database
    withheld = await admin.fetch(
        "SELECT to_regprocedure(name)::text AS name, has_function_privilege($2, to_regprocedure(name)::oid, 'EXECUTE') "
        "AS allowed FROM unnest($1::text[]) AS name WHERE to_regprocedure(name) IS NOT NULL",
        [SET_CONFIG, *WITHHELD],
        own,
    )
    names = {row["name"] for row in withheld}
    assert {row["name"] for row in withheld if row["allowed"]} == set()
    async with database.undone():
        await admin.execute(f"GRANT EXECUTE ON FUNCTION {', '.join(names)} TO PUBLIC")
        assert await database.unknown() == names


@pytest.mark.parametrize("kind", ["VOLATILE", "STABLE"])
async def test_function_of_a_coming_release_is_unknown(kind, database):
    async with database.undone():
        await database.admin.execute(
            f"CREATE FUNCTION pg_catalog.pg_coming() RETURNS integer LANGUAGE sql {kind} AS 'SELECT 1'"
        )
        assert await database.unknown() == {"pg_coming()"}


async def test_every_class_has_functions_that_it_alone_explains(database):
    rows = await database.admin.fetch(CALLABLE, database.own)
    assert {row["class"] for row in rows} == {None, *range(len(CLASSES))}


@pytest.mark.parametrize("signature", REFUSED)
async def test_function_refuses_by_itself(signature, database):
    [row] = [row for row in await database.admin.fetch(CALLABLE, database.own) if row["signature"] == signature]
    values = [f"'{GIVEN[kind]}'::{kind}" for kind in row["arguments"]]
    if row["variadic"]:
        values[-1] = f"VARIADIC {values[-1]}"
    async with database.workspace():
        with pytest.raises(REFUSED[signature]):
            await database.admin.execute(f"SELECT {row['call'] % ', '.join(values)}")


async def left_locked(database: Database) -> set[str]:
    """Return the functions that leave a lock on another workspace's object when they are asked about that."""
    admin, own, other = database
    rows = [row for row in await admin.fetch(CALLABLE, own) if row["class"] is None]
    objects = await admin.fetch(OBJECTS, other)
    found = set()
    for kind, oid in objects:
        for row in rows:
            if not {kind, "oid"} & set(row["arguments"]):
                continue
            values = [
                f"{oid}::oid::{of}" if of in (kind, "oid") else f"'{GIVEN[of]}'::{of}" if of in GIVEN else f"NULL::{of}"
                for of in row["arguments"]
            ]
            async with database.workspace():
                try:
                    async with admin.transaction():
                        await admin.fetch(f"SELECT ({row['call'] % ', '.join(values)})::text")
                except asyncpg.PostgresError:
                    continue
                if await admin.fetchval(LOCKS, other, [each["oid"] for each in objects]):
                    found.add(row["signature"])
    return found


async def test_nothing_that_may_be_called_leaves_a_lock_on_what_is_of_others(database):
    assert await left_locked(database) == set()
    functions = ", ".join(LOCKING)
    await database.admin.execute(f"GRANT EXECUTE ON FUNCTION {functions} TO PUBLIC")
    try:
        assert await left_locked(database) == set(LOCKING)
    finally:
        await database.admin.execute(f"REVOKE EXECUTE ON FUNCTION {functions} FROM PUBLIC")

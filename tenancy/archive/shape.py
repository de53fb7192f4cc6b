"""What a workspace's schema holds, read from the catalog: tables, their columns and order, foreign keys, sequences.

All is found by the dependencies of the schema, which are indexed; a search of pg_class would read every workspace's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from migrations.workspace.tables import metadata
from tenancy.archive.container import Tally
from tenancy.archive.manifest import SequenceValue

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg

    from tenancy.archive.manifest import Content

#: How values are written as text must not depend on the server or the login.
CANONICAL = (
    "SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL intervalstyle = 'iso_8601'; "
    "SET LOCAL bytea_output = 'hex'; SET LOCAL extra_float_digits = 1; SET LOCAL statement_timeout = 0; "
    "SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL lock_timeout = '10s'"
)

_OF_THE_SCHEMA = """
    FROM pg_depend d JOIN pg_class c ON c.oid = d.objid
    WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = to_regnamespace($1)
        AND d.classid = 'pg_class'::regclass
"""
# Generated columns are left out: nobody can write them.
_TABLES = f"""
SELECT c.relname::text AS name,
    (
        SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    ) AS columns,
    (
        SELECT array_agg(a.attname::text ORDER BY k.place)
        FROM pg_index i CROSS JOIN unnest(i.indkey) WITH ORDINALITY k (attnum, place)
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
        WHERE i.indrelid = c.oid AND i.indisprimary
    ) AS key,
    (
        SELECT coalesce(array_agg(a.attname::text), '{{}}') FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND a.attcollation <> 0
    ) AS texts
{_OF_THE_SCHEMA} AND c.relkind = 'r' AND c.relname <> 'alembic_version'
ORDER BY c.relname COLLATE "C"
"""
_FOREIGN_KEYS = f"""
SELECT format('ALTER TABLE %I DROP CONSTRAINT %I', c.relname, k.conname) AS removal,
    format('ALTER TABLE %I ADD CONSTRAINT %I %s', c.relname, k.conname, pg_get_constraintdef(k.oid)) AS addition
FROM pg_constraint k JOIN (SELECT c.oid, c.relname {_OF_THE_SCHEMA} AND c.relkind = 'r') c ON c.oid = k.conrelid
WHERE k.contype = 'f'
ORDER BY k.oid
"""
# With each sequence the queries for the highest number that a column which it numbers has.
_SEQUENCES = f"""
SELECT c.relname::text AS name,
    (
        SELECT coalesce(array_agg(format('(SELECT max(%I) FROM %I)', a.attname, t.relname)), '{{NULL}}')
        FROM pg_depend u
        JOIN pg_attrdef e ON e.oid = u.objid
        JOIN pg_class t ON t.oid = e.adrelid
        JOIN pg_attribute a ON a.attrelid = e.adrelid AND a.attnum = e.adnum
        WHERE u.refclassid = 'pg_class'::regclass AND u.refobjid = c.oid AND u.classid = 'pg_attrdef'::regclass
    ) AS highest
{_OF_THE_SCHEMA} AND c.relkind = 'S'
ORDER BY c.relname COLLATE "C"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableShape:
    """A table with the columns that can be written, in an order of rows that is the same on every server."""

    name: str
    columns: tuple[str, ...]
    order: tuple[str, ...]

    def rows(self, columns: tuple[str, ...]) -> str:
        """Return the query for all rows."""
        listed = ", ".join(f'"{column}"' for column in columns)
        return f'SELECT {listed} FROM "{self.name}" ORDER BY {", ".join(self.order)}'


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceShape:
    """A sequence, and the query for the highest number in the columns that it numbers."""

    name: str
    highest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A workspace's schema. *removals* and *additions* are the statements for its foreign keys."""

    tables: dict[str, TableShape]
    sequences: dict[str, SequenceShape]
    removals: list[str]
    additions: list[str]


async def read_shape(admin: asyncpg.Connection, schema_name: str) -> Shape:
    """Return the shape of the schema, which must be the one of the search_path."""
    foreign_keys = await admin.fetch(_FOREIGN_KEYS, schema_name)
    return Shape(
        tables={row["name"]: _table(row) for row in await admin.fetch(_TABLES, schema_name)},
        sequences={
            row["name"]: SequenceShape(name=row["name"], highest=f"SELECT greatest({', '.join(row['highest'])})")
            for row in await admin.fetch(_SEQUENCES, schema_name)
        },
        removals=[row["removal"] for row in foreign_keys],
        additions=[row["addition"] for row in foreign_keys],
    )


def described() -> dict[str, set[str]]:
    """Return the tables of this release with the columns that can be written."""
    return {t.name: {c.name for c in t.columns if c.computed is None} for t in metadata.sorted_tables}


async def copy_out(
    admin: asyncpg.Connection, query: str, columns: tuple[str, ...], write: Callable[[bytes], object] = len
) -> Content:
    """Pass the rows of *query* on in their canonical form, and return what they were."""
    tally = Tally(columns, write)

    async def take(chunk: bytes) -> None:
        tally.add(chunk)

    await admin.copy_from_query(query, output=take)
    return tally.content()


async def sequence_value(admin: asyncpg.Connection, name: str) -> SequenceValue:
    """Return where the sequence stands."""
    row = await admin.fetchrow(f'SELECT last_value, is_called FROM "{name}"')
    return SequenceValue(name=name, **row)


def _table(row: asyncpg.Record) -> TableShape:
    # In the order of its key, or else of all columns: text by its bytes, since a server's collation is its own.
    order = [
        f'"{column}" COLLATE "C"' if column in row["texts"] else f'"{column}"'
        for column in row["key"] or row["columns"]
    ]
    return TableShape(name=row["name"], columns=tuple(row["columns"]), order=tuple(order))

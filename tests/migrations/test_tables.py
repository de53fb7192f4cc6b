"""The tables described are the tables that the revisions make, and every query of the service runs on them."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import (
    AddConstraint,
    CreateIndex,
    CreateSequence,
    CreateTable,
    SetTableComment,
    sort_tables_and_constraints,
)

from migrations.trees import Tree, statements
from migrations.workspace.tables import PERMISSIONS, metadata
from service.access import Permission
from service.domain import cases, coverage, runs
from service.sql import load
from tenancy.provision import create_workspace
from tenancy.session import as_workspace

ROOT = Path(__file__).parent.parent.parent

CATALOG = {
    "columns": """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated,
            replace(coalesce(pg_get_expr(d.adbin, d.adrelid), ''), $1, 'S')
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relkind = 'r'
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE c.relnamespace = $1::regnamespace AND a.attnum > 0 AND NOT a.attisdropped""",
    "constraints": """
        SELECT c.relname, k.conname, replace(pg_get_constraintdef(k.oid), $1, 'S')
        FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid WHERE k.connamespace = $1::regnamespace""",
    "indexes": """
        SELECT c.relname, replace(pg_get_indexdef(c.oid), $1, 'S')
        FROM pg_class c WHERE c.relkind = 'i' AND c.relnamespace = $1::regnamespace""",
    "comments": """
        SELECT c.relname, obj_description(c.oid, 'pg_class')
        FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = $1::regnamespace""",
}


def described() -> list[str]:
    """The DDL of the tables as they are described, foreign keys that are circular last."""
    dialect = postgresql.dialect(paramstyle="named")
    made = [CreateSequence(sequence) for sequence in metadata._sequences.values()]
    for table, keys in sort_tables_and_constraints(metadata.tables.values()):
        if table is None:
            made += [AddConstraint(key) for key in keys]
        else:
            made += [CreateTable(table, include_foreign_key_constraints=keys), SetTableComment(table)]
            made += [CreateIndex(index) for index in table.indexes]
    return [str(one.compile(dialect=dialect)) for one in made]


async def test_revisions_make_the_tables_that_are_described(admin):
    await admin.execute("CREATE SCHEMA w_described; CREATE SCHEMA w_revised")
    for schema, made in (("w_described", described()), ("w_revised", statements(Tree.WORKSPACE))):
        await admin.execute(f"SET search_path = {schema}")
        for statement in made:
            await admin.execute(statement)
        await admin.execute("DROP TABLE IF EXISTS alembic_version")
    await admin.execute("RESET search_path")
    for kind, query in CATALOG.items():
        found = [{tuple(row) for row in await admin.fetch(query, s)} for s in ("w_described", "w_revised")]
        assert found[0], kind
        assert found[0] == found[1], kind


async def test_workspace_has_no_type_of_its_own_and_every_table_a_comment(admin):
    workspace = await create_workspace(admin, slug="types", name="Types")
    types = await admin.fetch(
        "SELECT typname FROM pg_type WHERE typnamespace = $1::regnamespace AND typtype IN ('e', 'd') OR "
        "typnamespace = $1::regnamespace AND typtype = 'c' AND typrelid NOT IN "
        "(SELECT oid FROM pg_class WHERE relkind IN ('r', 'S', 'i'))",
        workspace.schema_name,
    )
    assert types == []
    assert all(table.comment for table in metadata.tables.values())


def test_permissions_are_the_same_in_python_and_in_the_tables():
    assert tuple(Permission) == PERMISSIONS


def queries() -> dict[str, str]:
    found = {}
    for file in sorted((ROOT / "service").rglob("*.sql")):
        for name, query in load(str(file.with_suffix(".py"))).items():
            found[f"{file.stem}.{name}"] = query
    for name, sort in cases.SORTS.items():
        found[f"listing by {name}"] = cases.Matching(1).listing(sort, None, 1)[0]
        found[f"listing by {name} after a key"] = cases.Matching(1).listing(sort, [1, 1], 1)[0]
        found[f"listing of few by {name}"] = cases.Matching(1, [("root",)]).listing(sort, [1, 1], 1, total=1)[0]
    found |= {f"count by {name}": cases.Matching(1, [(name, 1, 1)]).count()[0] for name in cases.CONDITIONS}
    found |= {"gaps": coverage.GAPS, "issues": coverage.ISSUES, "runs": runs.LISTING, "count runs": runs.COUNT}
    found |= {"issue page": coverage.ISSUE_PAGE} | {f"page of {kind}": q for kind, q in coverage.CASE_PAGES.items()}
    found |= {"run cases": runs.RUN_CASES, "count run cases": runs.COUNT_RUN_CASES}
    return found | {"count": cases.Matching(1).count()[0]}


async def test_every_query_can_be_prepared_in_a_fresh_workspace(admin):
    workspace = await create_workspace(admin, slug="queries", name="Queries")
    found = queries()
    assert len(found) > 40
    async with admin.transaction(), as_workspace(admin, workspace.schema_name):
        for name, query in found.items():
            try:
                await admin.prepare(query)
            except Exception as error:  # noqa: BLE001 - the name is what one needs to know
                pytest.fail(f"{name}: {error}")

"""A workspace's role may do with each table and column what some statement of the product does, and nothing else."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pglast
import pytest
from pglast import ast, visitors

from migrations.columns import ALL, may
from migrations.workspace.tables import metadata
from service.domain.setup.apply import apply, stored_configuration
from service.domain.setup.document import Configuration
from service.domain.setup.reading import read_configuration
from service.domain.work import recorded
from service.sql import load
from tenancy.provision import create_workspace
from tenancy.session import Actor, as_workspace

ROOT = Path(__file__).parent.parent.parent
TABLES = {table.name: table for table in metadata.sorted_tables}
#: Columns of which one may be changed only so that rows can be locked, by table.
TO_LOCK = {"links": {"relation_id"}}
#: Tables that no release has used yet.
UNUSED = {"result_field_values"}


def granted(table) -> dict[str, set[str]]:
    """By statement, the columns that it may be about; of DELETE and of what is granted on the whole table, `*`."""
    found = re.findall(r"([A-Z]+)(?: \(([^)]*)\))?", table.info["privileges"])
    return {verb: set(columns.split(", ")) if columns else set(ALL) for verb, columns in found}


class Uses(visitors.Visitor):
    """What statements do, as granted() tells it; *locked* are the tables of which rows are locked."""

    def __init__(self, statements: list[str]) -> None:
        self.found = defaultdict(lambda: defaultdict(set))
        self.locked = set()
        for text in statements:
            for raw in pglast.parse_sql(text):
                self(raw.stmt)

    def visit_RangeVar(self, _ancestors, node):  # noqa: N802 - the parser's name
        self.found[node.relname]["SELECT"] |= set(ALL)

    def visit_InsertStmt(self, _ancestors, node):  # noqa: N802 - the parser's name
        assert node.cols, "an INSERT names its columns"
        self.found[node.relation.relname]["INSERT"] |= {column.name for column in node.cols}
        if node.onConflictClause and node.onConflictClause.targetList:
            self.found[node.relation.relname]["UPDATE"] |= {one.name for one in node.onConflictClause.targetList}

    def visit_UpdateStmt(self, _ancestors, node):  # noqa: N802 - the parser's name
        self.found[node.relation.relname]["UPDATE"] |= {column.name for column in node.targetList}

    def visit_DeleteStmt(self, _ancestors, node):  # noqa: N802 - the parser's name
        self.found[node.relation.relname]["DELETE"] |= set(ALL)

    def visit_MergeStmt(self, _ancestors, _node):  # noqa: N802 - the parser's name
        raise NotImplementedError

    def visit_SelectStmt(self, _ancestors, node):  # noqa: N802 - the parser's name
        if node.lockingClause:
            ranges = Ranges(node).found
            for clause in node.lockingClause:
                names = [one.relname for one in clause.lockedRels or ()] or ranges
                self.locked |= {ranges[name] for name in names}


class Ranges(visitors.Visitor):
    """The tables that a statement reads, by their names in it."""

    def __init__(self, node: ast.Node) -> None:
        self.found = {}
        self(node)

    def visit_RangeVar(self, _ancestors, node):  # noqa: N802 - the parser's name
        self.found[node.alias.aliasname if node.alias else node.relname] = node.relname


def renamed(configuration: Configuration) -> Configuration:
    """The same document with all capitals the other way round in names, which are found all the same."""
    document = configuration.model_dump(exclude_unset=True)
    for items in document.values():
        for item in items:
            if "system_name" in item and "type" in item:
                item["label"] = "Otherwise"
            elif "email" not in item:
                item["new_name"] = item["name"].swapcase()
            for platform in item.get("platforms", []):
                if isinstance(platform, dict):
                    platform["enabled"] = False
    return Configuration.model_validate(document)


async def setting_up(admin) -> list[str]:
    """The statements that bring in a workspace's configuration, and then another one."""
    workspace = await create_workspace(admin, slug="set-up", name="Set up")
    configuration = read_configuration((ROOT / "docs" / "example-workspace.yaml").read_text())
    procedure = read_configuration(
        "fields: [{systemName: procedure, type: STEPS, slots: [{slot: step, label: What to do}]}]"
    )
    seen = []
    actor = Actor(tool="test")
    async with as_workspace(admin, workspace.schema_name, actor=actor) as entered, recorded(entered) as work:
        with admin.query_logger(lambda query: seen.append(query.query)):
            await apply(work, configuration)
            await apply(work, renamed(configuration))
            await apply(work, procedure)
        assert await stored_configuration(work)
    return [text for text in seen if text.lstrip().startswith(("SELECT", "INSERT", "UPDATE", "DELETE", "WITH"))]


def differences(uses: Uses) -> set[str]:
    found = set()
    for name, table in TABLES.items():
        may_do, does = granted(table), uses.found[name]
        if name in UNUSED:
            does = does or {"SELECT": set(ALL)}
        for verb in ("SELECT", "INSERT", "UPDATE", "DELETE"):
            allowed, used = may_do.get(verb, set()), set(does.get(verb, ()))
            if verb == "UPDATE" and name in uses.locked:
                used |= TO_LOCK.get(name, set())
            if allowed == set(ALL) and used:
                continue
            found |= {f"may {verb} {column} of {name}, which nothing does" for column in allowed - used}
            found |= {f"does {verb} {column} of {name}, which it may not" for column in used - allowed}
    return found


@pytest.fixture(scope="module")
def named() -> list[str]:
    """The named queries but the demo's, which the owner of the tables runs."""
    files = [file for file in (ROOT / "service").rglob("*.sql") if file.parent.name != "demo"]
    return [query for file in files for query in load(str(file.with_suffix(".py"))).values()]


async def test_role_may_do_what_the_product_does_and_nothing_else(admin, named):
    statements = [*named, *await setting_up(admin)]
    assert differences(Uses(statements)) == set()
    assert set(TO_LOCK) <= Uses(statements).locked


async def test_what_is_more_or_less_is_found(admin, named, monkeypatch):
    uses = Uses([*named, *await setting_up(admin)])
    cases = TABLES["cases"]
    without_title = cases.info["privileges"].replace("title, ", "")
    for info, told in (
        (may(insert=ALL, update=ALL, delete=True), {"may DELETE * of cases, which nothing does"}),
        (
            {"privileges": without_title},
            {f"does {verb} title of cases, which it may not" for verb in ("INSERT", "UPDATE")},
        ),
        (
            {"privileges": cases.info["privileges"].replace("title, ", "title, id, ")},
            {f"may {verb} id of cases, which nothing does" for verb in ("INSERT", "UPDATE")},
        ),
    ):
        monkeypatch.setattr(cases, "info", info)
        assert differences(uses) == told


def reached(tables) -> set[tuple[str, str]]:
    """From which tables with DELETE a cascade reaches which tables without it, or changes rows that are never."""
    below = defaultdict(set)
    for table in tables.values():
        for key in table.foreign_key_constraints:
            assert key.onupdate is None
            if key.ondelete:
                assert key.ondelete == "CASCADE"
                below[key.referred_table.name].add(table.name)
    found = set()
    for start in (name for name, table in tables.items() if "DELETE" in granted(table)):
        seen, ahead = set(), [start]
        while ahead:
            now = ahead.pop()
            ahead += below[now] - seen
            seen |= below[now]
        found |= {(start, name) for name in seen if "DELETE" not in granted(tables[name])}
    return found


def test_no_cascade_reaches_what_the_role_may_not_delete(monkeypatch):
    assert reached(TABLES) == set()
    monkeypatch.setattr(TABLES["projects"], "info", may(delete=True))
    assert ("projects", "cases") in reached(TABLES)


def test_what_only_grows_is_below_no_cascade():
    growing = {name for name, table in TABLES.items() if not {"UPDATE", "DELETE"} & granted(table).keys()}
    assert {"audit_log", "case_versions", "results", "result_steps"} <= growing
    assert {key.name for name in growing for key in TABLES[name].foreign_key_constraints if key.ondelete} == set()

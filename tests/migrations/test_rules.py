"""What the tables and queries keep to so that a workspace can be moved to another server, whatever they are.

Citus wants it: a schema that stands alone, one statement a message, no value that two servers could compute apart. The
texts are read by PostgreSQL's own parser.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pglast
import pytest
from pglast import ast, visitors
from pglast.enums import ConstrType

from migrations.trees import Tree, head, known, statements
from tenancy import placement
from tenancy.provision import _seeds, create_workspace, privileges
from tests.conftest import new_database
from tests.migrations.test_tables import queries

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The schemas that a tree's statements may name. A workspace's find their own by the search_path.
OWN = {Tree.CONTROL: {"control", "pg_catalog"}, Tree.WORKSPACE: {"pg_catalog"}}
SERIAL = {"serial", "bigserial", "smallserial", "serial2", "serial4", "serial8"}
MADE_ANEW = (ast.UpdateStmt, ast.DeleteStmt, ast.OnConflictClause, ast.MergeStmt)


class Names(visitors.Visitor):
    """The schemas that a statement names, and the functions that it calls."""

    def __init__(self, node: ast.Node) -> None:
        self.schemas: set[str] = set()
        self.functions: set[str] = set()
        self(node)

    def visit_RangeVar(self, _ancestors, node):  # noqa: N802 - the parser's name
        self.schemas |= {node.schemaname} - {None}

    def visit_FuncCall(self, _ancestors, node):  # noqa: N802 - the parser's name
        *schema, name = (part.sval for part in node.funcname)
        self.schemas |= set(schema)
        self.functions.add(name)


class Found(visitors.Visitor):
    """All nodes of some kinds."""

    def __init__(self, node: ast.Node, *kinds: type[ast.Node]) -> None:
        self.kinds, self.nodes = kinds, []
        self(node)

    def visit(self, _ancestors, node):
        if isinstance(node, self.kinds):
            self.nodes.append(node)


def within(text: str) -> Iterator[ast.Node]:
    """The statement, and those of the function that it makes."""
    [statement] = (raw.stmt for raw in pglast.parse_sql(text))
    yield statement
    if isinstance(statement, ast.CreateFunctionStmt):
        options = {option.defname: option.arg for option in statement.options}
        if "as" not in options:
            # BEGIN ATOMIC: its statements are part of this one.
            return
        if options["language"].sval == "sql":
            yield from (raw.stmt for raw in pglast.parse_sql(options["as"][0].sval))
        else:
            for query in queries_in(json.loads(pglast.parser.parse_plpgsql_json(text))):
                yield from (raw.stmt for raw in pglast.parse_sql(query))


def queries_in(tree: object) -> Iterator[str]:
    """The queries and expressions of a plpgsql function."""
    if isinstance(tree, dict):
        if "query" in tree:
            # 0: a statement; 2: an expression
            yield tree["query"] if tree["parseMode"] == 0 else f"SELECT {tree['query']}"
        tree = list(tree.values())
    if isinstance(tree, list):
        for part in tree:
            yield from queries_in(part)


def broken_rules(text: str, tree: Tree, volatile: frozenset[str]) -> set[str]:
    """What the statement does that it must not."""
    if len(pglast.parse_sql(text)) != 1:
        return {"several statements in one message"}
    found = set()
    for statement in within(text):
        if isinstance(statement, ast.CreateSchemaStmt) and statement.schemaElts:
            found.add("a schema made with elements")
        for node in Found(statement, ast.Constraint, ast.ColumnDef).nodes:
            if isinstance(node, ast.Constraint) and node.contype == ConstrType.CONSTR_FOREIGN:
                if (node.pktable.schemaname or "") not in {"control"} & OWN[tree] | {""}:
                    found.add("a foreign key to another schema")
            elif tree is Tree.WORKSPACE and (
                node.contype == ConstrType.CONSTR_IDENTITY
                if isinstance(node, ast.Constraint)
                else node.typeName and node.typeName.names[-1].sval in SERIAL
            ):
                found.add("a number of the column's own")
        if Names(statement).schemas - OWN[tree]:
            found.add("another schema")
        if any(Names(node).functions & volatile for node in Found(statement, *MADE_ANEW).nodes):
            found.add("a volatile function in an update")
    return found


def all_statements() -> dict[str, tuple[Tree, str]]:
    found = {}
    for tree in Tree:
        for revision in (None, *sorted(known(tree) - {head(tree)})):
            for number, text in enumerate(statements(tree, revision)):
                found[f"{tree} after {revision}, statement {number}"] = tree, text
    for number, text in enumerate((*_seeds(), *privileges("w_xxxx"))):
        found[f"a new workspace's statement {number}"] = Tree.WORKSPACE, text
    return found | {f"query {name}": (Tree.WORKSPACE, text) for name, text in queries().items()}


@pytest.fixture(scope="module")
async def volatile(postgres):
    """The names of all functions that may return something else each time, ours among them."""
    async with new_database(postgres) as (_, admin):
        await create_workspace(admin, slug="volatile", name="Volatile")
        rows = await admin.fetch("SELECT DISTINCT proname FROM pg_proc WHERE provolatile = 'v' AND prokind <> 'p'")
        return frozenset(row["proname"] for row in rows)


async def test_statements_and_queries_keep_to_the_rules(volatile):
    everything = all_statements()
    assert len(everything) > 300
    assert {n: b for n, (tree, text) in everything.items() if (b := broken_rules(text, tree, volatile))} == {}


COUNTER_EXAMPLES = {
    "CREATE TABLE a (); CREATE INDEX ON a (x)": "several statements in one message",
    "CREATE SCHEMA s CREATE TABLE a ()": "a schema made with elements",
    "CREATE TABLE a (b bigint REFERENCES control.workspaces)": "a foreign key to another schema",
    "ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES w_other.b (id)": "a foreign key to another schema",
    "CREATE TABLE a (id bigint GENERATED ALWAYS AS IDENTITY)": "a number of the column's own",
    "CREATE TABLE a (id bigserial)": "a number of the column's own",
    "ALTER TABLE a ADD COLUMN b serial": "a number of the column's own",
    "SELECT 1 FROM cases c JOIN control.workspaces w ON w.id = c.id": "another schema",
    "UPDATE cases SET title = $1 FROM w_other.cases o WHERE o.id = cases.id": "another schema",
    "SELECT control.touch_key(1)": "another schema",
    "UPDATE cases SET updated_at = clock_timestamp()": "a volatile function in an update",
    "WITH x AS (UPDATE cases SET title = gen_random_uuid() RETURNING id) SELECT id FROM x": (
        "a volatile function in an update"
    ),
    "UPDATE cases SET id = nextval('ids')": "a volatile function in an update",
    "DELETE FROM cases WHERE random() < 0.5": "a volatile function in an update",
    "INSERT INTO tags (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = random()": (
        "a volatile function in an update"
    ),
    "MERGE INTO tags t USING cases c ON c.id = t.id WHEN MATCHED THEN UPDATE SET name = timeofday()": (
        "a volatile function in an update"
    ),
    "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'UPDATE cases SET rank = random()'": (
        "a volatile function in an update"
    ),
    "CREATE FUNCTION f() RETURNS void LANGUAGE sql BEGIN ATOMIC DELETE FROM w_other.cases; END": "another schema",
    "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM 1 FROM control.api_keys; END'": (
        "another schema"
    ),
}


@pytest.mark.parametrize("text", COUNTER_EXAMPLES)
async def test_a_broken_rule_is_found(text, volatile):
    assert COUNTER_EXAMPLES[text] in broken_rules(text, Tree.WORKSPACE, volatile)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("UPDATE cases SET updated_at = now()", Tree.WORKSPACE),
        ("INSERT INTO cases (id) VALUES (nextval('ids'))", Tree.WORKSPACE),
        ("CREATE TABLE control.a (id bigint GENERATED ALWAYS AS IDENTITY)", Tree.CONTROL),
        ("ALTER TABLE control.a ADD FOREIGN KEY (b) REFERENCES control.workspaces (id)", Tree.CONTROL),
    ],
)
async def test_what_keeps_to_the_rules_is_not_found(text, tree, volatile):
    assert broken_rules(text, tree, volatile) == set()


async def test_what_is_moved_while_in_use_has_a_key_or_is_known_to_have_none(admin):
    await admin.execute("CREATE SCHEMA w_keys")
    await admin.execute("SET search_path = w_keys")
    for statement in statements(Tree.WORKSPACE):
        await admin.execute(statement)
    without = await admin.fetch(
        "SELECT c.relname FROM pg_class c "
        "WHERE c.relnamespace = 'w_keys'::regnamespace AND c.relkind = 'r' AND c.relreplident <> 'f' "
        "AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)"
    )
    assert {row["relname"] for row in without} == set(placement.WITHOUT_KEY)

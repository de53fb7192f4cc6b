"""Workspaces on several servers: what we send is tried on any PostgreSQL, the whole where TEST_CITUS_DSN names a Citus.

TEST_CITUS_DSN is a superuser's URL of the coordinator, and of a database in which nothing has been done yet. The
workers must let the coordinator in as any role.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pglast
import pytest
from pglast import ast

from tenancy import archive, placement
from tenancy.citus import Sharding
from tenancy.connection import connect
from tenancy.errors import TenancyError
from tenancy.migrate import migrate
from tenancy.posture import look
from tenancy.provision import create_workspace
from tenancy.roles import APP, OWNER, prepare_database
from tests.conftest import make_tenant, serving

CITUS_DSN = os.environ.get("TEST_CITUS_DSN")
# What may share a message with others: Citus takes no DDL among several statements.
HARMLESS = (ast.VariableSetStmt, ast.TransactionStmt)


@asynccontextmanager
async def named_citus(admin):
    """Give another extension its name for one transaction, so that what looks for Citus finds it."""
    transaction = admin.transaction()
    await transaction.start()
    try:
        await admin.execute("SET LOCAL allow_system_table_mods = on")
        await admin.execute("UPDATE pg_extension SET extname = 'citus' WHERE extname = 'plpgsql'")
        yield
    finally:
        await transaction.rollback()


async def may_log_in(admin, role: str) -> bool:
    return await admin.fetchval("SELECT rolcanlogin FROM pg_roles WHERE rolname = $1", role)


async def test_without_citus_no_role_can_log_in_and_none_is_demanded(admin):
    made = await create_workspace(admin, slug="plain", name="Plain")
    assert not await may_log_in(admin, made.schema_name)
    assert not await may_log_in(admin, OWNER)
    for work in (
        create_workspace(admin, slug="demanded", name="Demanded", sharding=Sharding.ON),
        prepare_database(admin, sharding=Sharding.ON),
        placement.placements(admin),
    ):
        with pytest.raises(TenancyError, match="This database has no Citus"):
            await work


async def test_with_citus_roles_log_in_without_a_password_and_doctor_finds_nothing(admin):
    async with named_citus(admin):
        await prepare_database(admin)
        made = await create_workspace(admin, slug="placed", name="Placed")
        local = await create_workspace(admin, slug="local", name="Local", sharding=Sharding.OFF)
        roles = (OWNER, made.schema_name, local.schema_name)
        assert [await may_log_in(admin, role) for role in roles] == [True, True, False]
        assert await admin.fetchval("SHOW citus.enable_schema_based_sharding") == "on"
        posture = await look(admin)
        assert (posture.refusals, posture.findings) == ([], [])
        assert "extension citus" in posture.settings
        await admin.execute(f"ALTER ROLE {made.schema_name} PASSWORD 'a'")
        await admin.execute("UPDATE pg_extension SET extname = 'other' WHERE extname = 'citus'")
        assert {finding.what for finding in (await look(admin)).findings} == {
            f"the role {OWNER} may log in",
            "its role may log in",
        }
        await admin.execute("UPDATE pg_extension SET extname = 'citus' WHERE extname = 'other'")
        [finding] = (await look(admin)).findings
        assert (finding.what, finding.mend) == (
            "its role has a password",
            (f"ALTER ROLE {made.schema_name} PASSWORD NULL",),
        )


async def test_the_guard_refuses_logins_that_nothing_needs(admin):
    made = await create_workspace(admin, slug="login", name="Login")
    async with named_citus(admin):
        await admin.execute(f"ALTER ROLE {made.schema_name} LOGIN")
        assert (await look(admin)).refusals == []
        await admin.execute("UPDATE pg_extension SET extname = 'other' WHERE extname = 'citus'")
        assert (await look(admin)).refusals == [f"the workspace role {made.schema_name} may log in"]


async def test_a_workspace_is_made_with_one_statement_in_a_message_and_its_schema_and_tables_by_one_role(admin):
    sent: list[str] = []
    async with named_citus(admin):
        with admin.query_logger(lambda logged: sent.append(logged.query)):
            await prepare_database(admin)
            await create_workspace(admin, slug="sent", name="Sent")
    assert len(sent) > 150
    together = [
        query
        for query in sent
        if len(parsed := pglast.parse_sql(query)) > 1 and not all(isinstance(one.stmt, HARMLESS) for one in parsed)
    ]
    assert together == []
    made = [number for number, query in enumerate(sent) if query.startswith(("CREATE SCHEMA w_", "CREATE TABLE"))]
    roles = [query for query in sent[made[0] : made[-1]] if "ROLE" in query.partition("(")[0]]
    assert roles == []


async def test_what_depends_on_tables_is_made_again_when_they_are_new_ones(admin):
    made = await create_workspace(admin, slug="back", name="Back")
    functions = await placement.functions_of(admin, made.schema_name)
    assert len(functions) == 2
    async with admin.transaction():
        for name in functions:
            await admin.execute(f"DROP FUNCTION {name}")
        await admin.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA {made.schema_name} FROM {made.schema_name}")
        await placement.put_back(admin, made.schema_name, functions)
        assert await placement.functions_of(admin, made.schema_name) == functions
        assert (await look(admin)).findings == []


async def test_tables_without_a_key_are_told_apart_by_all_of_a_row(admin):
    made = await create_workspace(admin, slug="copied", name="Copied")
    await placement.let_copy(admin, made.schema_name)
    assert placement.WITHOUT_KEY
    for table in placement.WITHOUT_KEY:
        oid = f"{made.schema_name}.{table}"
        assert await admin.fetchval("SELECT relreplident FROM pg_class WHERE oid = $1::text::regclass", oid) == b"f"


@pytest.mark.parametrize(
    "arguments",
    [("where",), ("distribute", "--all"), ("move", "acme", "--to", "db-2")],
    ids=" ".join,
)
async def test_a_database_without_citus_is_told_in_one_line(arguments, world):
    done = subprocess.run(  # noqa: ASYNC221, S603 - our own program
        [sys.executable, "-P", "-m", "service.cli", "workspace", *arguments],
        cwd=Path(__file__).parent.parent.parent,
        env=os.environ | {"DATABASE_URL": world.admin_url},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: This database has no Citus")
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture
async def citus():
    """The coordinator's database, migrated; all of ours is taken from it afterwards."""
    if CITUS_DSN is None:
        pytest.skip("TEST_CITUS_DSN is not set: no registry of packages has a Citus server")
    admin = await connect(CITUS_DSN, name="TEST_CITUS_DSN")
    if await admin.fetchval("SELECT to_regnamespace('control') IS NOT NULL"):
        await admin.close()
        pytest.fail("TEST_CITUS_DSN has a schema control: give a database in which nothing has been done")
    try:
        await migrate(admin, sharding=Sharding.ON)
        yield admin
    finally:
        schemas = [row["schema_name"] for row in await admin.fetch("SELECT schema_name FROM control.workspaces")]
        for schema in schemas:
            await admin.execute(f"DROP SCHEMA {schema} CASCADE")
            await admin.execute(f"DROP ROLE {schema}")
        await admin.execute("DROP SCHEMA control CASCADE")
        await admin.close()


async def test_workspaces_live_on_other_servers_and_move_between_them(citus, tmp_path):
    address = urlsplit(CITUS_DSN)
    service_url = urlunsplit(address._replace(netloc=f"{APP}@{address.netloc.rpartition('@')[2]}"))
    nodes = [f"{row['host']}:{row['port']}" for row in await citus.fetch(placement._NODES)]
    assert len(nodes) > 1, "add at least two nodes"
    with serving(service_url) as (host, port):
        tenant = await make_tenant(citus, "citus-one", host=host, port=port)
        other = await make_tenant(citus, "citus-two", host=host, port=port)
        client, stranger = tenant.client(), other.client()

        def require_all_works(title: str) -> None:
            made = client.call("create_test_case", project=tenant.project, title=title, tags=["smoke"])
            changed = client.call("update_test_case", project=tenant.project, caseId=made["id"], title=f"{title}!")
            run = client.call("start_test_run", project=tenant.project, name=title, caseIds=[made["id"]])
            statuses = client.call("get_statuses", project=tenant.project)["items"]
            client.call(
                "record_test_result",
                project=tenant.project,
                runId=run["id"],
                caseId=made["id"],
                statusId=next(status["id"] for status in statuses if status["name"] == "Passed"),
            )
            client.call("close_test_run", project=tenant.project, runId=run["id"])
            found = client.call("search_test_cases", project=tenant.project, query=title)
            assert [case["title"] for case in found["items"]] == [changed["title"]]
            assert stranger.call("list_test_cases", project=other.project)["total"] == 0

        for one in await placement.placements(citus):
            assert str(one.node) in nodes
        require_all_works("placed at once")
        was = str((await placement.placement(citus, "citus-one")).node)
        for transfer in placement.Transfer:
            to = next(node for node in nodes if node != was)
            _, moved = await placement.move(citus, "citus-one", to, transfer=transfer)
            assert str(moved.node) == to
            require_all_works(f"moved {transfer}")
            was = to
        assert (await placement.undistribute(citus, "citus-one")).node is None
        require_all_works("taken back")
        assert (await placement.distribute(citus, "citus-one")).node is not None
        require_all_works("placed again")
        client.close()
        stranger.close()
    posture = await look(citus)
    assert (posture.refusals, posture.findings) == ([], [])
    path = tmp_path / "one.zip"
    await archive.back_up_to(citus, "citus-one", path)
    with archive.open_archive(path) as opened:
        await archive.restore(citus, opened, slug="citus-copy", sharding=Sharding.ON)
        assert await archive.differences(citus, "citus-copy", opened) == []
    assert (await placement.placement(citus, "citus-copy")).node is not None
    one, two = (tenant.workspace.schema_name, other.workspace.schema_name)
    async with citus.transaction():
        await citus.execute(f"SET LOCAL ROLE {one}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await citus.fetch(f"SELECT title FROM {two}.cases")

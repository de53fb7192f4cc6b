"""Which workspaces a release serves while some of them have moved to another revision."""

from __future__ import annotations

import asyncio
import json

import asyncpg
import pytest

from migrations.trees import Tree, declared, head, known, statements
from migrations.workspace.tables import metadata
from service.server import wait_for_database
from service.settings import read_settings
from tenancy.errors import TenancyError
from tenancy.keys import hash_key
from tenancy.migrate import migrate
from tenancy.posture import look
from tenancy.provision import create_workspace, make_schema
from tenancy.release import Release, serving_releases, this_release
from tenancy.roles import APP, SET_CONFIG
from tests.conftest import make_tenant, new_database, serving


@pytest.mark.unit
@pytest.mark.parametrize(
    ("schema_version", "compatible_from", "is_served"),
    [
        ("0003", "0003", True),
        ("0002", "0001", True),
        ("0001", "0001", False),
        ("0004", "0003", True),
        ("0004", "0001", True),
        ("0004", "0004", False),
        ("0009", "0005", False),
    ],
)
def test_a_release_serves_what_it_declares_and_what_declares_it(schema_version, compatible_from, is_served):
    release = Release(known=frozenset({"0001", "0002", "0003"}), served=frozenset({"0002", "0003"}))
    assert release.serves(schema_version, compatible_from) is is_served


@pytest.mark.unit
def test_every_revision_of_a_workspace_declares_its_range():
    release = this_release()
    assert release.serves(head(Tree.WORKSPACE), head(Tree.WORKSPACE))
    for revision in known(Tree.WORKSPACE):
        for name in ("compatible_from", "serves_from"):
            assert declared(revision, name) <= revision


@pytest.mark.unit
def test_a_revision_that_declares_nothing_is_told(monkeypatch):
    monkeypatch.setattr("migrations.trees.known", lambda _: frozenset())
    with pytest.raises(RuntimeError, match="declares no serves_to"):
        declared(head(Tree.WORKSPACE), "serves_to")


async def test_a_workspace_out_of_range_is_asked_to_wait_and_others_are_served(postgres):
    async with new_database(postgres) as (name, admin):
        with serving(postgres.dsn(user=APP, database=name)) as (host, port):
            ahead = await make_tenant(admin, "ahead", host=host, port=port)
            other = await make_tenant(admin, "other", host=host, port=port)
            clients = {tenant.workspace.slug: tenant.client() for tenant in (ahead, other)}
            call = json.dumps(
                {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "get_projects", "arguments": {}}}
            ).encode()
            answers = []
            for version, compatible in (("9000", head(Tree.WORKSPACE)), ("9001", "9000"), ("0000", "0000")):
                await admin.execute(
                    "UPDATE control.workspaces SET schema_version = $1, compatible_from = $2 WHERE slug = 'ahead'",
                    version,
                    compatible,
                )
                status, headers, body = clients["ahead"].post(call)
                answers.append((status, headers.get("retry-after")))
                if status != 200:
                    assert "is being upgraded" in json.loads(body)["error"]["message"]
                assert clients["other"].post(call)[0] == 200
            for client in clients.values():
                client.close()
    assert answers == [(200, None), (503, "30"), (503, "30")]


async def test_the_release_before_serves_until_it_has_gone(postgres):
    """It calls control's functions as the login, which a migration leaves to it while one of it is connected."""
    key = "SELECT user_id, touch_due FROM control.authenticate_key($1)"
    async with new_database(postgres) as (name, admin):
        tenant = await make_tenant(admin, "acme", host="", port=0)
        await as_the_release_before_left_it(admin)
        url = postgres.dsn(user=APP, database=name)
        before = await asyncpg.connect(url)
        report = await migrate(admin)
        assert report.is_held
        another = await asyncpg.connect(url)
        for login in (before, another):
            person = tenant.people["lead"]
            assert await login.fetchval(key, hash_key(person.key)) == person.id
            await login.execute("SELECT control.touch_key(1)")
            await login.fetchval("SELECT set_config('jit', 'off', false)")
            await login.close()
        # Of this release some serve already, and are let in beside it.
        with serving(url):
            assert not (await migrate(admin)).is_held
        login = await asyncpg.connect(url)
        for query in ("SELECT * FROM control.authenticate_key('x')", "SELECT set_config('jit', 'off', false)"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await login.fetch(query)
        await login.close()
        assert (await look(admin)).is_sound


async def test_who_waits_for_a_migration_does_not_hold_it_back(postgres):
    """`serve --wait` asks again and again as the service's login, while the job that it waits for is at work."""
    async with new_database(postgres) as (name, admin):
        await admin.execute("DROP FUNCTION control.use_link(bigint, bigint, text, bytea, text, text)")
        settings = read_settings(SERVICE_DATABASE_URL=postgres.dsn(user=APP, database=name), secret_key="x" * 32)
        waiting = asyncio.create_task(wait_for_database(settings, 4))
        seen = set()
        while not waiting.done():
            seen |= await serving_releases(admin)
        with pytest.raises(TenancyError, match="in vain"):
            await waiting
    assert seen == {head(Tree.WORKSPACE)}


async def as_the_release_before_left_it(admin) -> None:
    """Take the control schema back to where it was before the login was to do nothing at rest."""
    await admin.execute("SET ROLE testorchestrator_control")
    await admin.execute("UPDATE control.alembic_version SET version_num = '0006'")
    for statement in statements(Tree.CONTROL, until="0005"):
        if statement.startswith("CREATE FUNCTION"):
            await admin.execute(statement.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1))
        elif statement.startswith(("GRANT", "REVOKE")):
            await admin.execute(statement)
    await admin.execute("RESET ROLE")
    await admin.execute(f"ALTER ROLE {APP} RESET ALL; GRANT EXECUTE ON FUNCTION {SET_CONFIG} TO {APP}")


_CASCADING = "FOREIGN KEY (case_id) REFERENCES cases (id) ON DELETE CASCADE"


def privileges_before(schema: str) -> list[str]:
    """What releases up to 0004 granted to a workspace's role."""
    grown = {"audit_log", "case_versions", "results", "result_steps", "result_field_values"}
    changed = sorted(set(metadata.tables) - grown)
    return [
        f"GRANT USAGE ON SCHEMA {schema} TO {schema}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join(changed)} TO {schema}",
        f"GRANT SELECT, INSERT ON {', '.join(sorted(grown))} TO {schema}",
        f"GRANT USAGE ON SEQUENCE ids TO {schema}",
        f"GRANT EXECUTE ON FUNCTION project_access(bigint), require_access(bigint, bigint, text[]) TO {schema}",
    ]


async def rights_in(admin, schema: str) -> set[tuple[str, ...]]:
    """Every right of the workspace's role, on tables and on columns."""
    rows = await admin.fetch(
        """
        SELECT c.relname, '' AS column, acl.privilege_type
        FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) acl
        WHERE c.relnamespace = $1::text::regnamespace AND acl.grantee = $1::text::regrole
        UNION ALL
        SELECT c.relname, a.attname, acl.privilege_type
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid CROSS JOIN LATERAL aclexplode(a.attacl) acl
        WHERE c.relnamespace = $1::text::regnamespace AND acl.grantee = $1::text::regrole
        """,
        schema,
    )
    return {tuple(row) for row in rows}


@pytest.mark.parametrize("revision", ["0001", "0004"])
async def test_a_workspace_of_a_release_before_ends_with_the_rights_of_a_new_one(revision, admin):
    async with admin.transaction():
        old = await make_schema(admin, slug="old", name="Old", revision=revision)
        for statement in privileges_before(old.schema_name):
            await admin.execute(statement)
        await admin.execute("SET LOCAL ROLE NONE; SET LOCAL search_path = DEFAULT")
        await admin.execute(
            "UPDATE control.workspaces SET schema_version = $1, compatible_from = '0001' WHERE slug = 'old'", revision
        )
    new = await create_workspace(admin, slug="new", name="New")
    assert await rights_in(admin, old.schema_name) != await rights_in(admin, new.schema_name)
    assert (await migrate(admin)).done == 1
    assert await rights_in(admin, old.schema_name) == await rights_in(admin, new.schema_name)
    assert (await look(admin)).is_sound


async def test_the_release_before_writes_until_it_has_gone_and_this_one_beside_it(postgres):
    """It says itself who acts, which a migration leaves to it while one of it is connected."""
    assert not this_release().serves("0004", "0001")
    async with new_database(postgres) as (name, admin):
        url = postgres.dsn(user=APP, database=name)
        with serving(url) as (host, port):
            tenant = await make_tenant(admin, "acme", host=host, port=port)
            schema = tenant.workspace.schema_name
            await as_a_workspace_before(admin, schema)
            before = await asyncpg.connect(url, server_settings={"application_name": "testorchestrator 0004"})
            report = await migrate(admin)
            assert (report.done, report.is_held) == (1, True)
            assert await revision_of(admin, schema) == ("0005", "0005")
            client = tenant.client()
            made = client.call("create_test_case", project=tenant.project, title="Beside it")
            await before.execute(
                f"BEGIN READ WRITE; SET LOCAL ROLE {schema}; SET LOCAL search_path = {schema}, pg_temp"
            )
            await before.execute(
                "INSERT INTO case_versions (case_id, version, snapshot, created_by) VALUES ($1, 99, '{}', $2)",
                made["id"],
                tenant.people["lead"].id,
            )
            await before.execute(
                "INSERT INTO audit_log (user_id, tool, action, object_type, object_id) "
                "VALUES ($1, 'update_test_case', 'update', 'case', $2)",
                tenant.people["lead"].id,
                made["id"],
            )
            await before.execute("COMMIT")
            assert (await migrate(admin)).is_held
            await before.close()
            assert (await migrate(admin)).done == 1
            assert await revision_of(admin, schema) == ("0006", "0006")
            assert client.call("get_test_case", project=tenant.project, caseId=made["id"])["title"] == "Beside it"
            client.call("update_test_case", project=tenant.project, caseId=made["id"], title="After it")
            client.close()
        assert (await look(admin)).is_sound


async def as_a_workspace_before(admin, schema: str) -> None:
    """Take the workspace back to where it was before its role could write no history but its own."""
    async with admin.transaction():
        await admin.execute(f"SET LOCAL ROLE testorchestrator_owner; SET LOCAL search_path = {schema}, pg_temp")
        for table in metadata.tables.values():
            for column in table.columns:
                if "current_setting" in str(getattr(column.server_default, "arg", "")):
                    await admin.execute(f"ALTER TABLE {table.name} ALTER COLUMN {column.name} DROP DEFAULT")
        for statement in (
            *privileges_before(schema),
            "ALTER TABLE case_versions DROP CONSTRAINT case_versions_case_id_fkey",
            f"ALTER TABLE case_versions ADD CONSTRAINT case_versions_case_id_fkey {_CASCADING}",
            "UPDATE alembic_version SET version_num = '0004'",
            "SET LOCAL ROLE NONE",
            "UPDATE control.workspaces SET schema_version = '0004', compatible_from = '0001'",
        ):
            await admin.execute(statement)


async def revision_of(admin, schema: str) -> tuple[str, str]:
    """As the schema itself has it, and as the control schema does."""
    own = await admin.fetchval(f"SELECT version_num FROM {schema}.alembic_version")
    mirrored = "SELECT schema_version FROM control.workspaces WHERE schema_name = $1"
    return own, await admin.fetchval(mirrored, schema)


async def test_a_database_before_its_migration_is_not_served(postgres):
    async with new_database(postgres) as (name, admin):
        await admin.execute("DROP FUNCTION control.use_link(bigint, bigint, text, bytea, text, text)")
        with (
            pytest.raises(TenancyError, match=r"not at this release's schema .*Run: testorchestrator migrate"),
            serving(postgres.dsn(user=APP, database=name)),
        ):
            pass


async def test_control_moves_from_the_first_revision_while_the_first_release_works(postgres):
    make = (
        "INSERT INTO control.workspaces (slug, name, schema_name, schema_version) "
        "VALUES ($1::text, $1, 'w_' || $1, '0001')"
    )
    async with new_database(postgres) as (_, admin):
        await admin.execute("DROP SCHEMA control CASCADE; CREATE SCHEMA control AUTHORIZATION testorchestrator_control")
        for statement in statements(Tree.CONTROL, until="0001"):
            await admin.execute(statement)
        await admin.execute(make, "before")
        for statement in statements(Tree.CONTROL, "0001"):
            await admin.execute(statement)
        await admin.execute(make, "meanwhile")
        rows = await admin.fetch("SELECT slug, compatible_from FROM control.workspaces ORDER BY slug")
    assert [tuple(row) for row in rows] == [("before", "0001"), ("meanwhile", "0001")]

"""What `doctor` looks at: nothing is found in a database as it is made, and what is found names what mends it."""

from __future__ import annotations

import pytest

from tenancy.connection import connect
from tenancy.errors import TenancyError
from tenancy.guard import weaknesses
from tenancy.migrate import migrate
from tenancy.posture import look
from tenancy.posture_queries import MIGRATE
from tenancy.provision import create_workspace
from tenancy.roles import APP, DRIVER, GATE
from tenancy.strict import StrictLogins, open_logins
from tests.conftest import new_database
from tests.isolation.weaknesses import WEAKNESSES, versions_go_with_their_case

# What is done to a workspace {w} of slug one, and what is said of it. {v} is the role of another workspace.
DRIFT = {
    "history that can be rewritten": ("GRANT UPDATE ON {w}.audit_log TO {w}", "its role has UPDATE on audit_log"),
    "history that can be emptied": ("GRANT TRUNCATE ON {w}.results TO {w}", "its role has TRUNCATE on results"),
    "history that can be written for others": (
        "GRANT INSERT ON {w}.audit_log TO {w}",
        "its role has INSERT on audit_log",
    ),
    "cases that can be deleted for good": ("GRANT DELETE ON {w}.cases TO {w}", "its role has DELETE on cases"),
    "versions that go with their case": (
        versions_go_with_their_case("{w}"),
        "case_versions_case_id_fkey deletes or changes rows of case_versions",
    ),
    "column": ("GRANT UPDATE (tool) ON {w}.audit_log TO {w}", "its role has UPDATE on the column tool of audit_log"),
    "who, of a column": (
        "GRANT INSERT (user_id) ON {w}.audit_log TO {w}",
        "its role has INSERT on the column user_id of audit_log",
    ),
    "another's column": (
        "GRANT INSERT (action) ON {w}.audit_log TO {v}",
        "the role {v} has INSERT on the column action of audit_log",
    ),
    "column that can be passed on": (
        "GRANT UPDATE (title) ON {w}.cases TO {w} WITH GRANT OPTION",
        "its role may grant UPDATE on the column title of cases to others",
    ),
    "column that is missing": (
        "REVOKE UPDATE (title) ON {w}.cases FROM {w}",
        "its role lacks UPDATE on the column title of cases",
    ),
    "sequence that can be set back": ("GRANT UPDATE ON SEQUENCE {w}.ids TO {w}", "its role has UPDATE on ids"),
    "schema that it can add to": ("GRANT CREATE ON SCHEMA {w} TO {w}", "its role has CREATE on the schema"),
    "grant that can be passed on": (
        "GRANT SELECT ON {w}.users TO {w} WITH GRANT OPTION",
        "its role may grant SELECT on users to others",
    ),
    "grant that is missing": ("REVOKE DELETE ON {w}.links FROM {w}", "its role lacks DELETE on links"),
    "schema that it cannot use": ("REVOKE USAGE ON SCHEMA {w} FROM {w}", "its role lacks USAGE on the schema"),
    "function that it cannot call": (
        "REVOKE EXECUTE ON FUNCTION {w}.project_access(bigint) FROM {w}",
        "its role lacks EXECUTE on project_access(bigint)",
    ),
    "function that everybody may call": (
        "GRANT EXECUTE ON FUNCTION {w}.project_access(bigint) TO PUBLIC",
        "everybody has EXECUTE on project_access(bigint)",
    ),
    "another's table": ("GRANT SELECT ON {w}.users TO {v}", "the role {v} has SELECT on users"),
    "the owner's, given to the login": ("GRANT SELECT ON {w}.users TO " + APP, f"the role {APP} has SELECT on users"),
    "wrong owner of a table": ("ALTER TABLE {w}.cases OWNER TO postgres", "cases is owned by postgres"),
    "wrong owner of a function": (
        "ALTER FUNCTION {w}.project_access(bigint) OWNER TO postgres",
        "project_access(bigint) is owned by postgres",
    ),
    "wrong owner of the schema": ("ALTER SCHEMA {w} OWNER TO postgres", "the schema is owned by postgres"),
    "one function more": (
        "CREATE FUNCTION {w}.f(integer) RETURNS integer LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
        "there is a function that no release made: f(integer)",
    ),
    "one table more": ("CREATE TABLE {w}.t ()", "there is a table that no release made: t"),
    "one view more": ("CREATE VIEW {w}.v AS SELECT 1 AS x", "there is a view that no release made: v"),
    "one type more": ("CREATE TYPE {w}.e AS ENUM ('x')", "there is a type that no release made: e"),
    "login": ("ALTER ROLE {w} LOGIN", "its role may log in"),
    "no way in": ("REVOKE {w} FROM " + APP, "the login is no member of its role"),
    "way in that is shut": ("GRANT {w} TO " + APP + " WITH SET FALSE", "the login cannot become its role"),
    "another's way in": ("GRANT {w} TO {v}", "the role {v} is a member of its role"),
    "old revision": (
        "UPDATE control.workspaces SET schema_version = '0000' WHERE slug = 'one'",
        "it is at revision 0000, this release at {head}",
    ),
}
# The same for the database and what all workspaces share.
ELSEWHERE = {
    "connect": ("GRANT CONNECT ON DATABASE {d} TO PUBLIC", "everybody has CONNECT on the database"),
    "passwords": ("GRANT SELECT ON pg_authid TO PUBLIC", "everybody has SELECT on table pg_authid"),
    "passwords by column": (
        "GRANT SELECT (rolpassword) ON pg_authid TO PUBLIC",
        "everybody has SELECT on column rolpassword of table pg_authid",
    ),
    "files": (
        "GRANT EXECUTE ON FUNCTION pg_read_file(text) TO PUBLIC",
        "everybody has EXECUTE on function pg_read_file(text)",
    ),
    "function with another's rights": (
        "CREATE FUNCTION pg_catalog.f() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$SELECT 'x'$$",
        "everybody may call f() with the rights of postgres",
    ),
    "owner with powers": (
        "ALTER ROLE testorchestrator_owner CREATEROLE",
        "the role testorchestrator_owner may make roles",
    ),
    "control with a way in": (
        "GRANT {w} TO testorchestrator_control",
        "the role testorchestrator_control is a member of its role",
    ),
    "control's function": (
        "GRANT EXECUTE ON FUNCTION control.authenticate_key(bytea) TO PUBLIC",
        "everybody has EXECUTE on authenticate_key(bytea)",
    ),
    "control's function that is shut": (
        "REVOKE EXECUTE ON FUNCTION control.touch_key(bigint) FROM " + GATE,
        f"the role {GATE} lacks EXECUTE on touch_key(bigint)",
    ),
    "control's function that the login calls": (
        "GRANT EXECUTE ON FUNCTION control.prove_password(bigint, bigint, text) TO " + APP,
        "the login has EXECUTE on prove_password(bigint, bigint, text)",
    ),
    "control's owner": ("ALTER TABLE control.api_keys OWNER TO postgres", "api_keys is owned by postgres"),
}
CHANGES = {**WEAKNESSES, **DRIFT, **ELSEWHERE}
_ROUNDS = 3


@pytest.fixture(scope="module")
async def database(postgres):
    async with new_database(postgres) as (name, admin):
        made = [await create_workspace(admin, slug=slug, name=slug) for slug in ("one", "two")]
        yield name, admin, *(workspace.schema_name for workspace in made)


@pytest.fixture
async def changing(database):
    """The database, in a transaction that is rolled back: roles are the whole cluster's."""
    transaction = database[1].transaction()
    await transaction.start()
    yield database
    await transaction.rollback()


async def test_database_as_it_is_made_is_sound(database):
    _, admin, *_ = database
    posture = await look(admin)
    assert posture.findings == []
    assert posture.refusals == []
    assert posture.is_sound
    assert (posture.workspaces, posture.sound_workspaces) == (2, 2)
    assert {row["on_what"] for row in posture.everybody} == {
        "language sql", "schema information_schema", "schema pg_catalog", f"schema {DRIVER}",
    }  # fmt: skip


@pytest.mark.parametrize("change", [*DRIFT, *ELSEWHERE])
async def test_difference_is_found_and_named(change, changing):
    name, admin, one, two = changing
    version = await admin.fetchval("SELECT schema_version FROM control.workspaces WHERE slug = 'one'")
    make, told = (text.format(w=one, v=two, d=name, head=version) for text in CHANGES[change])
    await admin.execute(make)
    posture = await look(admin)
    found = {finding.what: finding.workspaces for finding in posture.findings}
    assert told in found
    assert change not in DRIFT or found[told] == ("one",)
    assert not posture.is_sound


@pytest.mark.parametrize("change", CHANGES)
async def test_what_is_advised_mends_it(change, changing):
    """Whatever the guard refuses is found here too, and following the advice leaves nothing to be found."""
    name, admin, one, two = changing
    await admin.execute(CHANGES[change][0].format(w=one, v=two, d=name))
    assert (await look(admin)).findings
    for _ in range(_ROUNDS):
        for finding in (await look(admin)).findings:
            for mend in finding.mend:
                await (migrate(admin) if mend == MIGRATE else admin.execute(mend))
    assert (await look(admin)).findings == []
    await admin.execute(f"SET LOCAL SESSION AUTHORIZATION {APP}")
    assert await weaknesses(admin) == []


async def test_same_difference_in_many_workspaces_is_told_once(changing):
    _, admin, one, two = changing
    for schema in (one, two):
        await admin.execute(f"GRANT UPDATE ON {schema}.audit_log TO {schema}")
    await admin.execute(f"GRANT DELETE ON {two}.audit_log TO {two}")
    posture = await look(admin)
    assert [(finding.what, finding.workspaces, finding.mend) for finding in posture.findings] == [
        (
            "its role has UPDATE on audit_log",
            ("one", "two"),
            tuple(f"REVOKE UPDATE ON TABLE {schema}.audit_log FROM {schema}" for schema in (one, two)),
        ),
        ("its role has DELETE on audit_log", ("two",), (f"REVOKE DELETE ON TABLE {two}.audit_log FROM {two}",)),
    ]
    assert posture.sound_workspaces == 0


async def test_workspaces_whose_roles_log_in_by_themselves_are_sound(changing):
    _, admin, one, two = changing
    await open_logins(admin, StrictLogins("thirty-two characters or even more"), [one, two])
    assert (await look(admin)).findings == []
    await admin.execute(f"GRANT testorchestrator_strict TO {one} WITH SET TRUE")
    assert [finding.what for finding in (await look(admin)).findings] == [
        f"the role {one} is a member of the role testorchestrator_strict"
    ]


async def test_looking_takes_as_many_queries_however_many_workspaces_there_are(changing):
    _, admin, *_ = changing

    async def queries() -> int:
        seen = []
        with admin.query_logger(seen.append):
            await look(admin)
        return len(seen)

    before = await queries()
    await create_workspace(admin, slug="three", name="Three")
    assert await queries() == before


async def test_looking_changes_nothing_and_leaves_the_administrator_as_they_were(database):
    _, admin, *_ = database
    before = await admin.fetchrow("SELECT current_user, session_user")
    async with admin.transaction(readonly=True):
        await look(admin)
        assert await admin.fetchrow("SELECT current_user, session_user") == before


async def test_only_a_superuser_is_let_look(database, postgres):
    name, *_ = database
    login = await connect(postgres.dsn(user=APP, database=name), name="the login")
    with pytest.raises(TenancyError, match="Only a superuser sees all of it"):
        await look(login)
    await login.close()


async def test_service_that_logs_in_as_somebody_else_is_found(database):
    _, admin, *_ = database
    posture = await look(admin, service=admin)
    assert [finding.what for finding in posture.findings] == ["the service logs in as postgres"]
    assert "the login postgres is a superuser" in posture.refusals

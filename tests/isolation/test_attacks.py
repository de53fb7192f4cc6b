"""Attacker SQL inside a workspace's session, through the facade and below it: no way out is left.

What Postgres leaves open to every role is asserted as it is at the end, with the reason why that is acceptable.
"""

from __future__ import annotations

import asyncpg
import pytest

from tenancy.connection import connect
from tenancy.errors import StatementRefused
from tenancy.pool import Pool
from tenancy.posture import CONTROL_FUNCTIONS
from tenancy.session import Gateway
from tests.isolation.attacks import (
    ATTACKS,
    DENIED,
    READS,
    Place,
    database_refuses,
    facade_refuses,
    login_calls_nothing,
    login_reads_nothing,
    login_rests,
    no_lock_is_left_of_a_request,
    nothing_is_left_of_a_request,
    only_a_workspace_is_entered,
    read_only_transaction_refuses,
)


@pytest.fixture
async def place(world):
    pool = Pool(world.service_url, size=1)
    tenants = (world.acme, world.globex)
    emails = {one.workspace.schema_name: {person.email for person in one.people.values()} for one in tenants}
    yield Place(*emails, emails, pool, Gateway(pool))
    await pool.close()


@pytest.fixture
def gateway(place):
    return place.gateway


@pytest.mark.parametrize("method", READS)
@pytest.mark.parametrize("name", ATTACKS)
async def test_facade_and_database_together_refuse(name, method, place, figure):
    await facade_refuses(place, name, method)
    figure("escapes tried and refused")


@pytest.mark.parametrize("name", [name for name in ATTACKS if ATTACKS[name].by_database])
async def test_database_alone_refuses(name, place, figure):
    await database_refuses(place, name)
    figure("escapes tried and refused")


@pytest.mark.parametrize("name", [name for name in ATTACKS if not ATTACKS[name].by_database])
async def test_gate_is_needed_where_the_database_lets_pass(name, place, world):
    """If the database came to refuse one of these, the table of attacks should say so."""
    connection = await connect(world.service_url, name="the service's login")
    await connection.execute(
        f"BEGIN READ WRITE; SET LOCAL ROLE {place.own}; SET LOCAL search_path = {place.own}, pg_temp"
    )
    await connection.fetch(place.query(name))
    await connection.close()


@pytest.mark.parametrize(
    "query",
    [
        "", " ", ";", "SELECTED", "-- SELECT 1", "--\nSELECT 1", "/**/ SELECT 1", "(SELECT 1)", "VALUES (1)",
        "TABLE users", "SHOW role", "CALL f()", "ANALYZE", "VACUUM", "CHECKPOINT", "BEGIN", "START TRANSACTION",
        "ABORT", "END", "SAVEPOINT s", "RELEASE s", "ROLLBACK TO s", "PREPARE TRANSACTION 'x'", "EXECUTE p",
        "DEALLOCATE ALL", "DECLARE c CURSOR FOR SELECT 1", "FETCH c", "MOVE c", "CLOSE ALL", "UNLISTEN *", "LOAD 'x'",
        "REINDEX TABLE users", "COMMENT ON TABLE users IS ''", "REASSIGN OWNED BY x TO y",
        "REVOKE ALL ON users FROM x", "IMPORT FOREIGN SCHEMA x", "SECURITY LABEL ON ROLE x IS ''",
        "SET TRANSACTION READ WRITE", "SET CONSTRAINTS ALL DEFERRED", "\ufeffSELECT 1",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", READS)
async def test_gate_takes_queries_only(query, method, gateway, world):
    async with gateway.workspace(world.acme.workspace.schema_name, read_only=True) as connection:
        with pytest.raises(StatementRefused):
            await getattr(connection, method)(query)
        assert await connection.fetchval(" \n\tsElEcT 1") == 1


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO groups (name) VALUES ('x')",
        "UPDATE users SET name = name",
        "DELETE FROM groups",
        "WITH w AS (UPDATE users SET name = name RETURNING id) SELECT * FROM w",
        "SELECT nextval('ids')",
        "SELECT id FROM users FOR UPDATE",
    ],
)
async def test_read_only_transaction_cannot_write(query, place):
    await read_only_transaction_refuses(place, query)


@pytest.mark.parametrize(
    "name", ["users", "w_; DROP", "public", "control", "W_ABCD", "w_abc", "w_abcd\n", "", "pg_temp"]
)
async def test_only_a_workspace_can_be_entered(name, place):
    await only_a_workspace_is_entered(place, name)


async def test_login_itself_reads_nothing(place):
    await login_reads_nothing(place)


async def test_login_itself_calls_nothing(place):
    await login_calls_nothing(place)


async def test_login_itself_rests(place):
    await login_rests(place)


async def test_nothing_is_left_of_a_request(place):
    await nothing_is_left_of_a_request(place)


async def test_no_lock_is_left_of_a_request(place):
    await no_lock_is_left_of_a_request(place)


async def test_functions_that_run_with_anothers_rights_are_known_and_bound_to_what_they_name(world):
    """A body that is text would look its names up on the caller's search_path, unless it has one of its own."""
    root = await connect(world.admin_url, name="root")
    rows = await root.fetch(
        "SELECT oid::regprocedure::text AS name, proowner::regrole::text AS owner, prosqlbody IS NOT NULL "
        "OR coalesce(proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], false) AS bound, "
        "has_function_privilege('public', oid, 'EXECUTE') AS public FROM pg_proc WHERE prosecdef"
    )
    await root.close()
    assert {tuple(row) for row in rows} == {
        (f"control.{name.replace(', ', ',')}", "testorchestrator_control", True, False)
        for names in CONTROL_FUNCTIONS.values()
        for name in names
    }


# What Postgres leaves open


async def test_names_of_schemas_and_roles_are_open(gateway, world):
    """pg_namespace and pg_roles are readable by all: hence names that say nothing of the customer."""
    other = world.globex.workspace
    async with gateway.workspace(world.acme.workspace.schema_name, read_only=True) as connection:
        schemas = {row[0] for row in await connection.fetch("SELECT nspname FROM pg_namespace")}
        roles = {row[0] for row in await connection.fetch("SELECT rolname FROM pg_roles")}
    assert other.schema_name in schemas
    assert other.schema_name in roles
    assert not {name for name in schemas | roles if other.slug in name.lower() or other.name.lower() in name.lower()}


async def test_row_counts_and_sizes_are_open_but_no_value_is(gateway, world):
    """pg_stat_user_tables and pg_class tell every role how many rows a table has; pg_stats tells no value."""
    other = world.globex.workspace.schema_name
    async with gateway.workspace(world.acme.workspace.schema_name, read_only=True) as connection:
        counts = await connection.fetch(
            "SELECT relname, n_live_tup FROM pg_stat_user_tables WHERE schemaname = $1", other
        )
        assert "users" in {row["relname"] for row in counts}
        assert await connection.fetchval(
            "SELECT pg_relation_size(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = $1 AND c.relname = 'users'",
            other,
        )
        assert await connection.fetch("SELECT attname FROM pg_stats WHERE schemaname = $1", other) == []


async def test_other_sessions_are_seen_but_not_what_they_do(gateway, world):
    """pg_stat_activity shows that there are sessions; their queries only to those who have their login's rights."""
    root = await connect(world.admin_url, name="root")
    await root.fetchval("SELECT 'a secret in a query'")
    async with gateway.workspace(world.acme.workspace.schema_name, read_only=True) as connection:
        seen = await connection.fetch("SELECT query FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    await root.close()
    assert {row["query"] for row in seen} <= {"<insufficient privilege>", None}
    assert len(seen) > 1


async def test_definitions_are_open_and_the_same_in_every_workspace(gateway, world):
    """pg_proc, pg_attribute and pg_constraint are readable by all: they hold our tables, and nothing of a customer."""
    told = []
    async with gateway.workspace(world.acme.workspace.schema_name, read_only=True) as connection:
        for tenant in (world.acme, world.globex):
            rows = await connection.fetch(
                "SELECT c.relname || '.' || a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
                "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 "
                "UNION ALL SELECT k.conname || k.contype::text FROM pg_constraint k JOIN pg_namespace n "
                "ON n.oid = k.connamespace WHERE n.nspname = $1 "
                "UNION ALL SELECT p.proname || p.prosrc FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
                "WHERE n.nspname = $1",
                tenant.workspace.schema_name,
            )
            told.append(sorted(row[0] for row in rows))
    assert len(told[0]) > 100
    assert told[0] == told[1]


async def test_errors_tell_a_schema_that_is_shut_from_one_that_is_not_there(gateway, world):
    """No more than pg_namespace does; of what is in it they tell nothing, be it there or not."""
    other = world.globex.workspace.schema_name
    told = {}
    for table in (f"{other}.users", f"{other}.no_such_table", "w_aaaaaaaaaaaaaaaa.users"):
        with pytest.raises(asyncpg.PostgresError) as raised:
            async with gateway.workspace(world.acme.workspace.schema_name, read_only=True) as connection:
                await connection.fetch(f"SELECT 1 FROM {table}")
        told[table] = str(raised.value)
    assert told[f"{other}.users"] == told[f"{other}.no_such_table"] == f"permission denied for schema {other}"
    assert told["w_aaaaaaaaaaaaaaaa.users"] == 'relation "w_aaaaaaaaaaaaaaaa.users" does not exist'


async def test_locks_of_others_are_seen(gateway, world):
    """pg_locks shows that somebody works on another workspace's table, not on what in it."""
    other = world.globex.workspace.schema_name
    root = await connect(world.admin_url, name="root")
    async with root.transaction():
        await root.execute(f"LOCK TABLE {other}.users IN SHARE MODE")
        async with gateway.workspace(world.acme.workspace.schema_name, read_only=True) as connection:
            modes = await connection.fetch(
                "SELECT l.mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation "
                "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = 'users'",
                other,
            )
    await root.close()
    assert "ShareLock" in {row["mode"] for row in modes}


async def test_time_is_open_up_to_the_limit_and_the_limit_cannot_be_lifted(place):
    """A statement may keep a processor and a connection busy until then; other workspaces wait for neither's data."""
    gateway = Gateway(place.pool, statement_timeout_ms=100)
    with pytest.raises(asyncpg.QueryCanceledError):
        async with gateway.workspace(place.own, read_only=True) as connection:
            await connection.fetchval("SELECT count(*) FROM generate_series(1, 1e12)")
    for query in (
        "SELECT set_config('statement_timeout', '0', true)",
        "UPDATE pg_settings SET setting = '0' WHERE name = 'statement_timeout'",
    ):
        with pytest.raises(DENIED):
            async with gateway.workspace(place.own, read_only=False) as connection:
                await connection.fetchval(query)


async def test_settings_of_the_server_are_open_but_not_those_about_its_files(gateway, world):
    """pg_settings shows versions and limits; paths of the data and of keys only to pg_read_all_settings."""
    async with gateway.workspace(world.acme.workspace.schema_name, read_only=True) as connection:
        names = {row[0] for row in await connection.fetch("SELECT name FROM pg_settings")}
        assert await connection.fetchval("SELECT current_setting('max_connections')")
    assert "server_version" in names
    assert not names & {"data_directory", "config_file", "hba_file"}
    with pytest.raises(DENIED):
        async with gateway.workspace(world.acme.workspace.schema_name, read_only=True) as connection:
            await connection.fetchval("SELECT current_setting('data_directory')")

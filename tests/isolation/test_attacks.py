"""Attacker SQL inside a workspace's session, through the facade and below it: no way out is left.

What Postgres leaves open to every role is asserted as it is at the end, with the reason why that is acceptable.
"""

from __future__ import annotations

from typing import NamedTuple

import asyncpg
import pytest

from tenancy.connection import connect
from tenancy.errors import StatementRefused
from tenancy.pool import Pool
from tenancy.roles import WITHHELD
from tenancy.session import Gateway

DENIED = asyncpg.InsufficientPrivilegeError
STACKED = asyncpg.PostgresSyntaxError  # "cannot insert multiple commands into a prepared statement"
UNKNOWN = asyncpg.UndefinedFunctionError
READS = ("fetch", "fetchrow", "fetchval", "execute")


class Attack(NamedTuple):
    """*by_database* is what the database alone answers, None where only the facade's gate stands in the way."""

    query: str
    by_database: type[Exception] | None = DENIED


ATTACKS = {
    # Reading and writing elsewhere
    "qualified name": Attack("SELECT * FROM {other}.users"),
    "qualified name, quoted": Attack('SELECT * FROM "{other}"."users"'),
    "qualified write": Attack("UPDATE {other}.users SET name = 'x'"),
    "qualified insert": Attack("INSERT INTO {other}.groups (name) VALUES ('x')"),
    "qualified delete in WITH": Attack("WITH gone AS (DELETE FROM {other}.users RETURNING id) SELECT * FROM gone"),
    "qualified merge": Attack(
        "MERGE INTO {other}.groups g USING (SELECT 1) s ON false WHEN NOT MATCHED THEN INSERT (name) VALUES ('x')"
    ),
    "qualified sequence": Attack("SELECT nextval('{other}.ids')"),
    "qualified function": Attack("SELECT * FROM {other}.project_access(1)"),
    "by regclass": Attack("SELECT '{other}.users'::regclass"),
    "control's table of keys": Attack("SELECT * FROM control.api_keys"),
    "control's table of workspaces": Attack("SELECT * FROM control.workspaces"),
    "control's function": Attack("SELECT * FROM control.authenticate('x')"),
    "control's other function": Attack("SELECT control.touch_key(1)"),
    "passwords": Attack("SELECT rolpassword FROM pg_authid"),
    "statistics of columns": Attack("SELECT * FROM pg_statistic"),
    # Becoming somebody else
    "SET ROLE": Attack("SET ROLE {other}", None),
    "SET LOCAL ROLE": Attack("SET LOCAL ROLE {other}", None),
    "SET SESSION ROLE": Attack("SET SESSION ROLE {other}", None),
    "RESET ROLE": Attack("RESET ROLE", None),
    "SET search_path": Attack("SET search_path = {other}", None),
    "commented SET": Attack("/* SELECT */ SET ROLE {other}", None),
    "line comment SET": Attack("-- SELECT\nSET ROLE {other}", None),
    "SET SESSION AUTHORIZATION": Attack("SET SESSION AUTHORIZATION {other}"),
    "SET SESSION AUTHORIZATION to the administrator": Attack("SET SESSION AUTHORIZATION postgres"),
    "SET ROLE to the owner": Attack("SET ROLE testorchestrator_owner"),
    "SET ROLE to control": Attack("SET ROLE testorchestrator_control"),
    "DISCARD ALL": Attack("DISCARD ALL", asyncpg.ActiveSQLTransactionError),
    "GRANT itself away": Attack("GRANT {own} TO {other}"),
    "GRANT itself the other": Attack("GRANT {other} TO {own}"),
    "ALTER ROLE": Attack("ALTER ROLE {own} SUPERUSER"),
    "stacked SET": Attack("SELECT 1; SET ROLE {other}", STACKED),
    "stacked COMMIT": Attack("SELECT 1; COMMIT; SELECT 1", STACKED),
    "stacked after a comment": Attack("SELECT 1 /* ; */; SET ROLE {other}", STACKED),
    "COMMIT": Attack("COMMIT", None),
    "ROLLBACK": Attack("ROLLBACK", None),
    "COMMIT AND CHAIN": Attack("COMMIT AND CHAIN", None),
    # Changing a setting in the middle of a query
    "set_config role": Attack("SELECT set_config('role', '{other}', true)"),
    "set_config role for the session": Attack("SELECT set_config('role', '{other}', false)"),
    "set_config no role": Attack("SELECT set_config('role', 'none', true)"),
    "set_config path": Attack("SELECT set_config('search_path', '{other}', true)"),
    "set_config session_authorization": Attack("SELECT set_config('session_authorization', '{other}', true)"),
    "set_config transaction_read_only": Attack("SELECT set_config('transaction_read_only', 'off', true)"),
    "set_config in WITH": Attack("WITH s AS (SELECT set_config('role', '{other}', true)) SELECT * FROM s"),
    "set_config in UPDATE": Attack("UPDATE users SET name = set_config('role', '{other}', true)"),
    "set_config in MERGE": Attack(
        "MERGE INTO groups g USING (SELECT set_config('role', '{other}', true) AS n) s ON false "
        "WHEN NOT MATCHED THEN INSERT (name) VALUES (s.n)"
    ),
    "set_config and ts_stat": Attack(
        "SELECT set_config('role', '{other}', true), "
        "(SELECT word FROM ts_stat('SELECT to_tsvector(name) FROM {other}.users') LIMIT 1)"
    ),
    "set_config and query_to_xml": Attack(
        "SELECT set_config('role', '{other}', true), query_to_xml('SELECT * FROM {other}.users', true, true, '')"
    ),
    "ts_stat alone": Attack("SELECT * FROM ts_stat('SELECT to_tsvector(name) FROM {other}.users')"),
    "ts_stat runs SET": Attack("SELECT * FROM ts_stat('SET ROLE {other}')", asyncpg.PostgresError),
    "query_to_xml alone": Attack("SELECT query_to_xml('SELECT * FROM {other}.users', true, true, '')"),
    "query_to_xml runs SET": Attack(
        "SELECT query_to_xml('SET ROLE {other}', true, true, '')", asyncpg.FeatureNotSupportedError
    ),
    "pg_settings": Attack("UPDATE pg_settings SET setting = '{other}' WHERE name = 'search_path'"),
    "pg_settings by MERGE": Attack(
        "MERGE INTO pg_settings p USING (SELECT 1) s ON p.name = 'search_path' "
        "WHEN MATCHED THEN UPDATE SET setting = '{other}'",
        asyncpg.PostgresError,  # MERGE is not supported for relations with rules
    ),
    "DO": Attack("DO $$ BEGIN EXECUTE 'SET ROLE {other}'; END $$"),
    "EXPLAIN ANALYZE": Attack("EXPLAIN ANALYZE SELECT set_config('role', '{other}', true)"),
    "PREPARE": Attack("PREPARE p AS SELECT set_config('role', '{other}', true)", None),
    # Making objects, or doing away with them
    "temporary table": Attack("CREATE TEMP TABLE cases (id bigint)"),
    "temporary table by SELECT INTO": Attack("SELECT 1 AS id INTO TEMP TABLE cases"),
    "table by SELECT INTO": Attack("SELECT 1 AS id INTO stolen"),
    "CREATE FUNCTION": Attack("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'"),
    "CREATE SCHEMA": Attack("CREATE SCHEMA s"),
    "CREATE EXTENSION": Attack("CREATE EXTENSION dblink"),
    "DROP TABLE": Attack("DROP TABLE cases"),
    "ALTER TABLE": Attack("ALTER TABLE cases ADD COLUMN x int"),
    "TRUNCATE": Attack("TRUNCATE audit_log"),
    "disable triggers": Attack("ALTER TABLE cases DISABLE TRIGGER ALL"),
    "reset the sequence": Attack("SELECT setval('ids', 1)"),
    "large object": Attack("SELECT lo_create(0)"),
    "large object with content": Attack("SELECT lo_from_bytea(0, 'x')"),
    "large object of old": Attack("SELECT lo_creat(-1)"),
    # Reaching the machine, other databases and other sessions
    "COPY PROGRAM": Attack("COPY (SELECT 1) TO PROGRAM 'true'"),
    "COPY to a file": Attack("COPY users TO '/tmp/users'"),
    "COPY from a file": Attack("COPY users FROM '/etc/passwd'"),
    "lo_import": Attack("SELECT lo_import('/etc/passwd')"),
    "pg_read_file": Attack("SELECT pg_read_file('/etc/passwd')"),
    "pg_ls_dir": Attack("SELECT pg_ls_dir('/')"),
    "dblink": Attack("SELECT * FROM dblink('dbname=postgres', 'SELECT 1') AS t (x int)", UNKNOWN),
    "pg_notify": Attack("SELECT pg_notify('x', 'y')"),
    "NOTIFY": Attack("NOTIFY x", None),
    "LISTEN": Attack("LISTEN x", None),
    "LOCK": Attack("LOCK TABLE users IN ACCESS EXCLUSIVE MODE", None),
    "terminate others": Attack("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"),
    "terminate itself": Attack("SELECT pg_terminate_backend(pg_backend_pid())"),
    "cancel others": Attack("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"),
    "reload the settings": Attack("SELECT pg_reload_conf()"),
    # Rewriting history
    "rewrite the audit log": Attack("UPDATE audit_log SET tool = 'x'"),
    "delete from the audit log": Attack("DELETE FROM audit_log"),
    "rewrite a version": Attack("UPDATE case_versions SET snapshot = '{{}}'"),
    "delete a version": Attack("DELETE FROM case_versions"),
    "rewrite a result": Attack("UPDATE results SET comment = 'x'"),
    "delete a result": Attack("DELETE FROM results"),
    "rewrite a result's step": Attack("UPDATE result_steps SET outcome = 'pass'"),
    "rewrite a result's value": Attack("UPDATE result_field_values SET value = '1'"),
}
# What begins as a query does, and so passes the gate.
QUERY_WORDS = ("SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH")


def names(world) -> dict[str, str]:
    return {"own": world.acme.workspace.schema_name, "other": world.globex.workspace.schema_name}


@pytest.fixture
async def pool(world):
    """One connection, so that what an attack leaves behind would meet the next workspace."""
    made = Pool(world.service_url, size=1)
    yield made
    await made.close()


@pytest.fixture
def gateway(pool):
    return Gateway(pool)


async def assert_each_reads_its_own(gateway, world) -> set[int]:
    """Return the backends that served."""
    backends = set()
    for tenant in (world.globex, world.acme):
        async with gateway.workspace(tenant.workspace.schema_name, read_only=True) as connection:
            emails = {row["email"] for row in await connection.fetch("SELECT email FROM users")}
            assert emails == {person.email for person in tenant.people.values()}
            assert await connection.fetchval("SELECT current_user::text") == tenant.workspace.schema_name
            assert await connection.fetchval("SELECT session_user::text") == "testorchestrator_app"
            backends.add(await connection.fetchval("SELECT pg_backend_pid()"))
    return backends


@pytest.mark.parametrize("method", READS)
@pytest.mark.parametrize("name", ATTACKS)
async def test_facade_and_database_together_refuse(name, method, gateway, world):
    query = ATTACKS[name].query.format(**names(world))
    passes_gate = query.startswith(QUERY_WORDS)
    expected = ATTACKS[name].by_database if passes_gate else StatementRefused
    assert expected is not None
    before = await assert_each_reads_its_own(gateway, world)
    with pytest.raises(expected):
        async with gateway.workspace(names(world)["own"], read_only=False) as connection:
            await getattr(connection, method)(query)
    assert await assert_each_reads_its_own(gateway, world) == before
    assert len(before) == 1


@pytest.mark.parametrize("name", [name for name in ATTACKS if ATTACKS[name].by_database])
async def test_database_alone_refuses(name, pool, gateway, world):
    """The facade is passed by: a raw query of one statement, under the workspace's role."""
    attack = ATTACKS[name]
    own = names(world)["own"]
    async with pool.connection() as connection:
        await connection.execute(f"BEGIN; SET LOCAL ROLE {own}; SET LOCAL search_path = {own}, pg_temp")
        with pytest.raises(attack.by_database):
            await connection.fetch(attack.query.format(**names(world)))
        await connection.execute("ROLLBACK")
    await assert_each_reads_its_own(gateway, world)


@pytest.mark.parametrize("name", [name for name in ATTACKS if not ATTACKS[name].by_database])
async def test_gate_is_needed_where_the_database_lets_pass(name, world):
    """If the database came to refuse one of these, the table above should say so."""
    own = names(world)["own"]
    connection = await connect(world.service_url, name="the service's login")
    await connection.execute(f"BEGIN; SET LOCAL ROLE {own}; SET LOCAL search_path = {own}, pg_temp")
    await connection.fetch(ATTACKS[name].query.format(**names(world)))
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
async def test_read_only_transaction_cannot_write(query, gateway, world):
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError) as raised:
        async with gateway.workspace(world.acme.workspace.schema_name, read_only=True) as connection:
            await connection.fetch(query)
    assert raised.value.sqlstate == "25006"


@pytest.mark.parametrize(
    "query", ["users", "w_; DROP", "public", "control", "W_ABCD", "w_abc", "w_abcd\n", "", "pg_temp"]
)
async def test_only_a_workspace_can_be_entered(query, gateway):
    with pytest.raises(ValueError, match="schema name"):
        async with gateway.workspace(query, read_only=True):
            pass


async def test_login_itself_reads_nothing(pool, world):
    """Where a handler forgot to enter a workspace, or an attack climbed out of its role."""
    tables = ["control.api_keys", "control.workspaces", "control.operations", "control.alembic_version"]
    tables += [f"{tenant.workspace.schema_name}.users" for tenant in (world.acme, world.globex)]
    async with pool.connection() as connection:
        for table in tables:
            for query in (f"SELECT * FROM {table}", f"DELETE FROM {table}"):
                with pytest.raises(DENIED):
                    await connection.fetch(query)
        with pytest.raises(asyncpg.UndefinedTableError):
            await connection.fetch("SELECT * FROM users")
        for query in ("CREATE TABLE t ()", "CREATE TEMP TABLE t ()", "CREATE SCHEMA s", "CREATE TABLE control.t ()"):
            with pytest.raises((DENIED, asyncpg.InvalidSchemaNameError)):
                await connection.fetch(query)


async def test_functions_that_run_with_anothers_rights_are_two_and_bound_to_what_they_name(world):
    """A body that is text would look its names up on the caller's search_path."""
    root = await connect(world.admin_url, name="root")
    rows = await root.fetch(
        "SELECT oid::regprocedure::text AS name, prosqlbody IS NOT NULL AS bound, proowner::regrole::text AS owner, "
        "has_function_privilege('public', oid, 'EXECUTE') AS public FROM pg_proc WHERE prosecdef"
    )
    await root.close()
    assert {tuple(row) for row in rows} == {
        (f"control.{name}", True, "testorchestrator_control", False)
        for name in ("authenticate(bytea)", "touch_key(bigint)")
    }


async def test_last_number_drawn_is_not_told_across_workspaces(gateway, world):
    """lastval() is the session's memory, and the next workspace has the same session."""
    async with gateway.workspace(world.globex.workspace.schema_name, read_only=False) as connection:
        await connection.fetchval("SELECT nextval('ids')")
    with pytest.raises(DENIED):
        async with gateway.workspace(world.acme.workspace.schema_name, read_only=True) as connection:
            await connection.fetchval("SELECT lastval()")


async def test_withheld_functions_are_all_that_make_large_objects(world):
    """A large object is in no schema and stays for good, and the guard would refuse the next start over it."""
    root = await connect(world.admin_url, name="root")
    makers = await root.fetch(
        "SELECT oid::regprocedure::text FROM pg_proc WHERE proname ~ '^lo_(creat|create|from_bytea|import)$' "
        "AND has_function_privilege('public', oid, 'EXECUTE')"
    )
    await root.close()
    assert makers == []
    assert len(WITHHELD) == 4


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
        values = await connection.fetch("SELECT last_value FROM pg_sequences WHERE schemaname = $1", other)
        assert {row["last_value"] for row in values} == {None}


async def test_other_sessions_are_seen_but_not_what_they_do(gateway, world):
    """pg_stat_activity shows that there are sessions; their queries only to those who have their login's rights."""
    root = await connect(world.admin_url, name="root")
    await root.fetchval("SELECT 'a secret in a query'")
    async with gateway.workspace(world.acme.workspace.schema_name, read_only=True) as connection:
        seen = await connection.fetch("SELECT query FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    await root.close()
    assert {row["query"] for row in seen} <= {"<insufficient privilege>", None}
    assert len(seen) > 1


async def test_advisory_locks_are_open(gateway, world):
    """Any role may take any advisory lock, for the session even, so an administrator's wait for one has an end."""
    key = 4_711_471_147
    async with gateway.workspace(world.acme.workspace.schema_name, read_only=True) as connection:
        assert await connection.fetchval("SELECT pg_try_advisory_lock($1)", key)
    root = await connect(world.admin_url, name="root")
    assert not await root.fetchval("SELECT pg_try_advisory_lock($1)", key)
    async with gateway.workspace(world.globex.workspace.schema_name, read_only=True) as connection:
        assert await connection.fetchval("SELECT pg_advisory_unlock($1)", key)
    await root.close()


async def test_texts_of_prepared_queries_are_open_but_no_argument_is(gateway, world):
    """pg_prepared_statements shows what the session has prepared for anybody: our own texts, with $1 for values."""
    async with gateway.workspace(world.globex.workspace.schema_name, read_only=True) as connection:
        await connection.fetch("SELECT id FROM users WHERE email = $1", "lead@globex.example")
    async with gateway.workspace(world.acme.workspace.schema_name, read_only=True) as connection:
        texts = {row[0] for row in await connection.fetch("SELECT statement FROM pg_prepared_statements")}
    assert "SELECT id FROM users WHERE email = $1" in texts
    assert not {text for text in texts if "globex" in text}

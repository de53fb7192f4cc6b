"""Attacker SQL inside a workspace's session, through the facade and below it: no way out is left."""

from __future__ import annotations

import asyncpg
import pytest

from tenancy.errors import StatementRefused
from tenancy.pool import Pool
from tenancy.session import Gateway

REFUSED = (StatementRefused, asyncpg.PostgresError, asyncpg.InterfaceError)

ATTACKS = {
    "qualified name": "SELECT * FROM {other}.users",
    "qualified write": "UPDATE {other}.users SET name = 'x'",
    "control table": "SELECT * FROM control.api_keys",
    "control function": "SELECT * FROM control.authenticate('x')",
    "pg_authid": "SELECT rolpassword FROM pg_authid",
    "SET ROLE": "SET ROLE {other}",
    "SET LOCAL ROLE": "SET LOCAL ROLE {other}",
    "RESET ROLE": "RESET ROLE",
    "commented SET": "/* select */ SET ROLE {other}",
    "SET SESSION AUTHORIZATION": "SET SESSION AUTHORIZATION {other}",
    "stacked": "SELECT 1; SET ROLE {other}",
    "stacked commit": "SELECT 1; COMMIT; SELECT 1",
    "COMMIT": "COMMIT",
    "set_config role": "SELECT set_config('role', '{other}', true)",
    "set_config path": "SELECT set_config('search_path', '{other}', true)",
    "set_config none": "SELECT set_config('role', 'none', true)",
    "WITH set_config": "WITH s AS (SELECT set_config('role', '{other}', true)) SELECT * FROM s",
    "set_config and ts_stat": "SELECT set_config('role', '{other}', true), (SELECT word FROM "
    "ts_stat('SELECT to_tsvector(name) FROM {other}.users') LIMIT 1)",
    "set_config and query_to_xml": "SELECT set_config('role', '{other}', true), "
    "query_to_xml('SELECT * FROM {other}.users', true, true, '')",
    "pg_settings": "UPDATE pg_settings SET setting = '{other}' WHERE name = 'search_path'",
    "MERGE pg_settings": "MERGE INTO pg_settings p USING (SELECT 1) s ON p.name = 'search_path' "
    "WHEN MATCHED THEN UPDATE SET setting = '{other}'",
    "DO": "DO $$ BEGIN EXECUTE 'SET ROLE {other}'; END $$",
    "EXPLAIN ANALYZE": "EXPLAIN ANALYZE SELECT set_config('role', '{other}', true)",
    "temporary table": "CREATE TEMP TABLE cases (id bigint)",
    "temporary by SELECT": "SELECT 1 AS id INTO TEMP TABLE cases",
    "CREATE FUNCTION": "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "DROP TABLE": "DROP TABLE cases",
    "ALTER TABLE": "ALTER TABLE cases ADD COLUMN x int",
    "TRUNCATE": "TRUNCATE audit_log",
    "GRANT": "GRANT {own} TO {other}",
    "COPY PROGRAM": "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY file": "COPY users TO '/tmp/users'",
    "lo_import": "SELECT lo_import('/etc/passwd')",
    "pg_read_file": "SELECT pg_read_file('/etc/passwd')",
    "dblink": "SELECT * FROM dblink('dbname=postgres', 'SELECT 1') AS t (x int)",
    "pg_notify": "SELECT pg_notify('x', 'y')",
    "LISTEN": "LISTEN x",
    "rewrite audit": "UPDATE audit_log SET tool = 'x'",
    "delete audit": "DELETE FROM audit_log",
    "rewrite a result": "UPDATE results SET comment = 'x'",
    "delete a version": "DELETE FROM case_versions",
    "terminate others": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()",
}
# Harmless in effect, so that no error is needed: what they return or do is looked at instead.
WITHOUT_ERROR = {"terminate others"}


@pytest.fixture
async def gateway(world):
    """A pool of one connection, so that what an attack leaves behind would meet the next workspace."""
    pool = Pool(world.service_url, size=1)
    yield Gateway(pool), pool
    await pool.close()


@pytest.mark.parametrize("method", ["fetch", "fetchrow", "fetchval", "execute"])
@pytest.mark.parametrize("attack", ATTACKS, ids=ATTACKS)
async def test_facade_and_database_refuse(attack, method, gateway, world):
    entrance, _ = gateway
    own, other = world.acme.workspace.schema_name, world.globex.workspace.schema_name
    query = ATTACKS[attack].format(own=own, other=other)
    if attack not in WITHOUT_ERROR:
        with pytest.raises(REFUSED):
            async with entrance.workspace(own, read_only=False) as connection:
                await getattr(connection, method)(query)
    for tenant in (world.globex, world.acme):
        async with entrance.workspace(tenant.workspace.schema_name, read_only=True) as connection:
            emails = {row["email"] for row in await connection.fetch("SELECT email FROM users")}
            assert emails == {person.email for person in tenant.people.values()}
            assert await connection.fetchval("SELECT current_user::text") == tenant.workspace.schema_name


FIRST_KEYWORD_ONLY = {
    "SET ROLE", "SET LOCAL ROLE", "RESET ROLE", "commented SET", "COMMIT", "LISTEN", "stacked", "stacked commit",
}  # fmt: skip


@pytest.mark.parametrize("attack", sorted(set(ATTACKS) - FIRST_KEYWORD_ONLY - WITHOUT_ERROR))
async def test_database_alone_refuses(attack, gateway, world):
    _, pool = gateway
    own, other = world.acme.workspace.schema_name, world.globex.workspace.schema_name
    async with pool.connection() as connection:
        await connection.execute(f"BEGIN; SET LOCAL ROLE {own}; SET LOCAL search_path = {own}, pg_temp")
        with pytest.raises(asyncpg.PostgresError):
            await connection.fetch(ATTACKS[attack].format(own=own, other=other))
        await connection.execute("ROLLBACK")


async def test_read_only_transaction_cannot_write(gateway, world):
    entrance, _ = gateway
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        async with entrance.workspace(world.acme.workspace.schema_name, read_only=True) as connection:
            await connection.execute("UPDATE users SET name = name")


async def test_login_itself_reads_nothing(gateway):
    _, pool = gateway
    async with pool.connection() as connection:
        for query in ("SELECT * FROM control.api_keys", "SELECT * FROM control.workspaces"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch(query)

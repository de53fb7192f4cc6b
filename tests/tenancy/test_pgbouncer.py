"""Behind PgBouncer in transaction mode: nobody gets another's rows, nothing sticks to a connection, all faults pass."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tenancy.connection import connect
from tenancy.embedded import embedded_server
from tenancy.errors import DatabaseUnavailable, TenancyError
from tenancy.pool import Pool
from tenancy.posture import look
from tenancy.provision import create_workspace
from tenancy.roles import APP
from tenancy.session import Gateway
from tenancy.strict import StrictLogins, open_logins
from tests.conftest import Tenant, make_tenant, new_database, serving
from tests.pgbouncer import WITHOUT_PREPARED, PgBouncer, pgbouncer

if TYPE_CHECKING:
    from tenancy.embedded import EmbeddedServer

CLIENTS = 12
SERVERS = 2
ROUNDS = 23
PATIENCE = 60
FIRST_CASES = 20
LOGINS = StrictLogins("a secret of the operator, which has 32 characters or more")
# What an administrator sets up for PgBouncer in a database, so that it can ask for the logins of ours and no others.
AUTH_QUERY = "SELECT name, verifier FROM pgbouncer.login($1)"
PGBOUNCER_LOGIN = """
    CREATE ROLE pgbouncer LOGIN;
    CREATE SCHEMA pgbouncer;
    CREATE FUNCTION pgbouncer.login(asked text) RETURNS TABLE (name text, verifier text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
        SELECT rolname, rolpassword FROM pg_authid
        WHERE rolname = asked AND rolcanlogin
            AND (rolname = 'testorchestrator_app' OR rolname ~ '^w_[a-z0-9]+$')
    $$;
    REVOKE ALL ON FUNCTION pgbouncer.login(text) FROM PUBLIC;
    GRANT USAGE ON SCHEMA pgbouncer TO pgbouncer;
    GRANT EXECUTE ON FUNCTION pgbouncer.login(text) TO pgbouncer;
"""

LEFT_OVER = """
    SELECT pg_backend_pid() AS pid, current_user::text AS role, current_setting('search_path') AS path,
        current_setting('statement_timeout') AS timeout, (SELECT count(*) FROM pg_prepared_statements) AS prepared
"""


@dataclass(frozen=True)
class Pooled:
    """A database behind PgBouncer: two connections for the service's login, and four workspaces that are served."""

    server: EmbeddedServer
    bouncer: PgBouncer
    database: str
    admin: asyncpg.Connection
    tenants: list[Tenant]

    @property
    def url(self) -> str:
        return self.bouncer.dsn(database=self.database)

    @property
    def schemas(self) -> list[str]:
        return [tenant.workspace.schema_name for tenant in self.tenants]

    async def backends(self, where: str = "true") -> list[int]:
        rows = await self.admin.fetch(
            f"SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND usename = $1 AND {where}", APP
        )
        return [row["pid"] for row in rows]

    async def until(self, number: int, where: str = "true") -> None:
        async with asyncio.timeout(PATIENCE):
            while len(await self.backends(where)) != number:
                # Within a transaction, the first look would be kept.
                await self.admin.execute("SELECT pg_stat_clear_snapshot()")


@pytest.fixture(scope="module")
async def pooled(postgres):
    async with new_database(postgres) as (name, admin):
        with (
            pgbouncer(postgres, default_pool_size=SERVERS) as bouncer,
            serving(bouncer.dsn(database=name), pool_size=CLIENTS, **WITHOUT_PREPARED) as (host, port),
        ):
            tenants = [await make_tenant(admin, f"pooled-{n}", host=host, port=port) for n in range(4)]
            yield Pooled(postgres, bouncer, name, admin, tenants)


@pytest.fixture
async def gateway(pooled):
    pool = Pool(pooled.url, size=CLIENTS, **WITHOUT_PREPARED)
    yield Gateway(pool, statement_timeout_ms=PATIENCE * 1000, lock_timeout_ms=PATIENCE * 1000)
    await pool.close()


async def value(gateway: Gateway, schema: str, query: str):
    async with gateway.workspace(schema, read_only=False) as connection:
        return await connection.fetchval(query)


async def require_all_served(gateway: Gateway, pooled: Pooled) -> None:
    """Let every client in at once, each into its own workspace."""
    asked = pooled.schemas * (CLIENTS // len(pooled.schemas))
    assert asked == await asyncio.gather(*(value(gateway, schema, "SELECT current_user::text") for schema in asked))


def work(tenant: Tenant, number: int) -> list[str]:
    """Write and read for a while as one client, and return all that was wrong."""
    client, slug = tenant.client(), tenant.workspace.slug
    wrong = []
    for round_ in range(ROUNDS):
        title = f"{slug} client {number} round {round_}"
        made = client.call("create_test_case", project=tenant.project, title=title)
        where = {"project": tenant.project, "caseId": made["id"]}
        read = client.call("get_test_case", **where)
        changed = client.call("update_test_case", **where, title=f"{title} changed")
        listed = client.call("list_test_cases", project=tenant.project, limit=FIRST_CASES)
        titles = [made["title"], read["title"], changed["title"].removesuffix(" changed")]
        wrong += [found for found in titles if found != title]
        wrong += [case["title"] for case in listed["items"] if not case["title"].startswith(f"{slug} ")]
    client.close()
    return wrong


async def test_twelve_clients_on_two_connections_get_their_own_rows_and_no_failure(pooled, figure):
    tenants = pooled.tenants * (CLIENTS // len(pooled.tenants))
    with ThreadPoolExecutor(CLIENTS) as threads:
        jobs = [threads.submit(work, tenant, number) for number, tenant in enumerate(tenants)]
        wrong = [title for job in jobs for title in await asyncio.wrap_future(job)]
    assert wrong == []
    for tenant in pooled.tenants:
        stored = await pooled.admin.fetch(f"SELECT title FROM {tenant.workspace.schema_name}.cases")
        assert {row["title"] for row in stored} == {
            f"{tenant.workspace.slug} client {number} round {round_} changed"
            for number, one in enumerate(tenants)
            for round_ in range(ROUNDS)
            if one is tenant
        }
    assert len(await pooled.backends()) == SERVERS
    calls = CLIENTS * ROUNDS * 4
    assert calls >= 1000
    figure("calls of 12 clients through PgBouncer's 2 connections", calls)


async def test_nothing_sticks_to_the_connections(pooled, gateway):
    await require_all_served(gateway, pooled)
    first, second = [await connect(pooled.url, name="pooled", **WITHOUT_PREPARED) for _ in range(SERVERS)]
    async with first.transaction(), second.transaction():
        rows = [await connection.fetchrow(LEFT_OVER) for connection in (first, second)]
    await first.close()
    await second.close()
    assert {row["pid"] for row in rows} == set(await pooled.backends())
    assert {tuple(row)[1:] for row in rows} == {(APP, '""', "10s", 0)}


async def test_a_statement_out_of_time_ends_alone(pooled, gateway):
    pool = Pool(pooled.url, size=1, **WITHOUT_PREPARED)
    hasty = Gateway(pool, statement_timeout_ms=100)
    for _ in range(SERVERS + 1):
        with pytest.raises(asyncpg.QueryCanceledError):
            await value(hasty, pooled.schemas[0], "SELECT count(*) FROM generate_series(1, 1e12)")
    limits = "SELECT current_setting('statement_timeout')"
    assert await value(hasty, pooled.schemas[0], limits) == "100ms"
    await pool.close()
    assert await value(gateway, pooled.schemas[1], limits) == "1min"
    await require_all_served(gateway, pooled)


async def test_a_cancelled_request_ends_its_query_and_no_others(pooled, gateway):
    async with pooled.admin.transaction():
        for schema in pooled.schemas[:SERVERS]:
            await pooled.admin.execute(f"LOCK TABLE {schema}.groups")
        waiting = [
            asyncio.create_task(value(gateway, schema, "SELECT count(*) FROM groups"))
            for schema in pooled.schemas[:SERVERS]
        ]
        blocked = "wait_event = 'relation'"
        await pooled.until(SERVERS, blocked)
        waiting[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting[0]
        await pooled.until(SERVERS - 1, blocked)
        assert not waiting[1].done()
    await waiting[1]
    await require_all_served(gateway, pooled)


async def test_a_killed_connection_to_the_server_is_unavailable_once(pooled, gateway):
    async with pooled.admin.transaction():
        await pooled.admin.execute(f"LOCK TABLE {pooled.schemas[0]}.groups")
        waiting = asyncio.create_task(value(gateway, pooled.schemas[0], "SELECT count(*) FROM groups"))
        blocked = "wait_event = 'relation'"
        await pooled.until(1, blocked)
        await pooled.admin.execute("SELECT pg_terminate_backend($1)", *await pooled.backends(blocked))
        with pytest.raises(DatabaseUnavailable):
            await waiting
    await require_all_served(gateway, pooled)


async def test_idle_connections_to_the_server_that_are_killed_are_replaced(pooled, gateway):
    await require_all_served(gateway, pooled)
    for pid in await pooled.backends():
        await pooled.admin.execute("SELECT pg_terminate_backend($1)", pid)
    await pooled.until(0)
    await require_all_served(gateway, pooled)


async def test_who_waits_too_long_for_a_connection_to_the_server_is_told(pooled):
    with pgbouncer(pooled.server, default_pool_size=1, query_wait_timeout=1) as bouncer:
        pool = Pool(bouncer.dsn(database=pooled.database), size=2, **WITHOUT_PREPARED)
        gateway = Gateway(pool)
        async with gateway.workspace(pooled.schemas[0], read_only=True):
            with pytest.raises(DatabaseUnavailable):
                await value(gateway, pooled.schemas[1], "SELECT 1")
        assert await value(gateway, pooled.schemas[1], "SELECT current_user::text") == pooled.schemas[1]
        await pool.close()


def test_the_service_refuses_prepared_statements_that_would_get_lost(pooled):
    with pytest.raises(TenancyError, match="TESTORCHESTRATOR_STATEMENT_CACHE_SIZE=0"), serving(pooled.url):
        pass


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.endswith("_URL")}
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-P", "-m", "service.cli", *arguments],
        cwd=Path(__file__).parent.parent.parent,
        env=clean | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def test_administrators_commands_need_the_server_itself(pooled):
    through = pooled.bouncer.dsn(database=pooled.database, user="postgres")
    refused = run("migrate", DATABASE_URL=through)
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
    assert "connection pooler" in refused.stderr
    direct = pooled.server.dsn(database=pooled.database)
    looked = run("doctor", DATABASE_URL=through, DATABASE_DIRECT_URL=direct, SERVICE_DATABASE_URL=pooled.url)
    assert (looked.returncode, "Sound." in looked.stdout) == (0, True), looked.stderr


@pytest.fixture
async def strict(tmp_path):
    """A server that asks for passwords, behind a PgBouncer that asks it for them: six workspaces, four connections."""
    with embedded_server(tmp_path / "data", durable=False) as server:
        async with new_database(server) as (name, admin):
            await admin.execute(PGBOUNCER_LOGIN)
            await admin.execute(f"GRANT CONNECT ON DATABASE {name} TO pgbouncer")
            made = [await create_workspace(admin, slug=f"strict-{n}", name="Strict") for n in range(6)]
            schemas = [workspace.schema_name for workspace in made]
            await open_logins(admin, LOGINS, schemas)
            await admin.execute(f"ALTER ROLE {APP} PASSWORD 'of-the-login'")
            [hba_file] = (tmp_path / "data").rglob("pg_hba.conf")
            hba_file.write_text("local all postgres,pgbouncer trust\nlocal all all scram-sha-256\n")
            await admin.execute("SELECT pg_reload_conf()")
            with pgbouncer(
                server,
                auth_type="scram-sha-256",
                auth_user="pgbouncer",
                auth_query=AUTH_QUERY,
                default_pool_size=SERVERS,
                max_db_connections=4,
            ) as bouncer:
                yield admin, bouncer.dsn(database=name, password="of-the-login"), schemas
            await admin.execute("DROP OWNED BY pgbouncer; DROP SCHEMA pgbouncer CASCADE; DROP ROLE pgbouncer")


async def test_strict_mode_keeps_a_login_for_each_workspace(strict):
    admin, url, schemas = strict
    pool = Pool(url, size=CLIENTS, login_of=LOGINS.login, **WITHOUT_PREPARED)
    gateway = Gateway(pool, workspaces=pool)
    for _ in range(3):
        asked = schemas * 2
        seen = await asyncio.gather(*(value(gateway, schema, "SELECT session_user::text") for schema in asked))
        assert seen == asked
        servers = await admin.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename <> 'postgres'"
        )
        assert servers <= 4
    await pool.close()
    assert (await look(admin)).findings == []


async def test_strict_mode_behind_pgbouncer_still_asks_for_the_password(strict):
    _, url, schemas = strict
    others = StrictLogins("another secret, which has 32 characters or more as well")
    for login in (others.login(schemas[0]), LOGINS.login("postgres")):
        with pytest.raises(TenancyError):
            await connect(url, name="strict", login=login, **WITHOUT_PREPARED)

"""Migrating a fleet: in stages, whatever is broken, locked, killed or at work at the same time, while it is served."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import threading
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from migrations.trees import Tree, head, statements
from tenancy import migrate as migrating
from tenancy.catalog import find_workspace, set_state
from tenancy.connection import admin_connection, connect
from tenancy.errors import TenancyError
from tenancy.migrate import migrate, plan
from tenancy.posture import look
from tenancy.provision import create_workspace
from tenancy.roles import APP, OWNER
from tests.conftest import make_tenant, new_database, serving
from tests.releases import next_release

ROOT = Path(__file__).parent.parent.parent
SHADE = 'op.add_column("tags", sa.Column("shade", sa.Text(), nullable=False, server_default="plain"))'
NOW = head(Tree.WORKSPACE)


async def make_fleet(admin, count: int, *, prefix: str = "w") -> list[str]:
    """As much of workspaces as a migration that changes the tags needs to find."""
    slugs = [f"{prefix}-{number:04d}" for number in range(count)]
    for slug in slugs:
        schema = f"w_{secrets.token_hex(8)}"
        async with admin.transaction():
            await admin.execute(
                "INSERT INTO control.workspaces (slug, name, schema_name, schema_version) VALUES ($1, $1, $2, $3)",
                slug, schema, NOW,
            )  # fmt: skip
            await admin.execute(
                f"CREATE SCHEMA {schema} AUTHORIZATION {OWNER}; SET LOCAL ROLE {OWNER}; "
                f"SET LOCAL search_path = {schema}; CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);"
                f"INSERT INTO alembic_version VALUES ('{NOW}'); CREATE TABLE tags (id bigint)"
            )
    return slugs


async def states(admin) -> dict[str, tuple[str, str, bool]]:
    """By slug: the revision in the control schema, the one in the workspace's, and whether its tags have the column."""
    found = {}
    for row in await admin.fetch("SELECT slug, schema_name, schema_version FROM control.workspaces"):
        own = await admin.fetchval(f"SELECT version_num FROM {row['schema_name']}.alembic_version")
        moved = await admin.fetchval(
            "SELECT count(*) FROM pg_attribute WHERE attrelid = ($1 || '.tags')::regclass AND attname = 'shade'",
            row["schema_name"],
        )
        found[row["slug"]] = (row["schema_version"], own, bool(moved))
    return found


BEFORE = (NOW, NOW, False)
AFTER = ("next", "next", True)


@pytest.fixture
async def fleet(postgres):
    """A database for a fleet, and what connects to it."""
    async with new_database(postgres) as (name, admin):
        url = postgres.dsn(database=name)
        yield admin, (lambda: admin_connection(url)), url


async def test_stages_follow_each_other_and_a_second_run_finds_nothing_to_do(fleet, tmp_path):
    admin, connecting, _ = fleet
    slugs = await make_fleet(admin, 30)
    seen = []
    with next_release(tmp_path, SHADE):
        report = await migrate(admin, connecting=connecting, connections=3, canary=["w-0007"], tell=seen.append)
        assert (report.done, report.failed, report.skipped, report.stopped) == (30, {}, {}, None)
        assert len(report.slowest) == 5
        assert report.slowest == sorted(report.slowest, reverse=True)
        assert [one.stage for one in seen] == ["canary"] + ["few"] * 5 + ["rest"] * 24
        assert [one.done for one in seen] == list(range(1, 31))
        assert await states(admin) == dict.fromkeys(slugs, AFTER)
        again = await migrate(admin, connecting=connecting, connections=3)
        assert (again.done, again.failed, again.skipped) == (0, {}, {})
    assert await admin.fetch("SELECT details ->> 'done' FROM control.operations WHERE operation = 'migrate'") == [
        ("30",)
    ]


async def test_one_broken_workspace_among_200_holds_up_no_other(fleet, tmp_path):
    admin, connecting, _ = fleet
    slugs = await make_fleet(admin, 200)
    broken = (await find_workspace(admin, "w-0123")).schema_name
    await admin.execute(f"ALTER TABLE {broken}.tags ADD COLUMN shade text")
    with next_release(tmp_path, SHADE):
        report = await migrate(admin, connecting=connecting, connections=4)
        assert (report.done, list(report.failed), report.stopped) == (199, ["w-0123"], None)
        assert "already exists" in report.failed["w-0123"]
        with pytest.raises(TenancyError, match="1 of 200 workspaces are not migrated: w-0123: "):
            report.check()
        assert await states(admin) == dict.fromkeys(slugs, AFTER) | {"w-0123": (NOW, NOW, True)}
        stored = "SELECT slug, migration_error FROM control.workspaces WHERE migration_error IS NOT NULL"
        assert [tuple(row) for row in await admin.fetch(stored)] == [("w-0123", report.failed["w-0123"])]

        await admin.execute(f"ALTER TABLE {broken}.tags DROP COLUMN shade")
        await make_fleet(admin, 1, prefix="new")
        mended = await migrate(admin, connecting=connecting, only_failed=True)
        assert (mended.done, mended.skipped) == (1, {"new-0000": "no try to migrate it has failed"})
        assert await admin.fetch(stored) == []
        assert (await states(admin))["w-0123"] == AFTER


@pytest.mark.parametrize(
    ("broken", "tried", "stopped"),
    [(range(1), 1, "canary"), (range(1, 6), 6, "few"), (range(1, 5), 12, None)],
    ids=["the canary", "all of a few", "some of a few"],
)
async def test_a_stage_that_fails_is_the_last(broken, tried, stopped, fleet, tmp_path):
    admin, connecting, _ = fleet
    slugs = await make_fleet(admin, 12)
    for number in broken:
        schema = (await find_workspace(admin, slugs[number])).schema_name
        await admin.execute(f"ALTER TABLE {schema}.tags ADD COLUMN shade text")
    with next_release(tmp_path, SHADE):
        report = await migrate(admin, connecting=connecting, connections=2)
    assert (report.stopped, set(report.failed)) == (stopped, {slugs[number] for number in broken})
    assert set(report.skipped) == set(slugs[tried:])
    found = await states(admin)
    assert {slug for slug in slugs if found[slug] == AFTER} == set(slugs[:tried]) - set(report.failed)


@asynccontextmanager
async def kept_busy(url: str, schema: str):
    """A long transaction that reads the workspace's tags; what is yielded ends it."""
    connection = await connect(url, name="busy")
    await connection.execute(f"BEGIN; SELECT count(*) FROM {schema}.tags")
    try:
        yield lambda: connection.execute("ROLLBACK")
    finally:
        connection.terminate()


async def test_a_workspace_that_is_locked_for_long_is_reported(fleet, tmp_path, monkeypatch):
    admin, connecting, url = fleet
    slugs = await make_fleet(admin, 20)
    monkeypatch.setattr("tenancy.rollout._PAUSES", (0.01,))
    locked = (await find_workspace(admin, "w-0015")).schema_name
    with next_release(tmp_path, SHADE):
        async with kept_busy(url, locked):
            report = await migrate(admin, connecting=connecting, connections=2)
        assert (report.done, list(report.failed)) == (19, ["w-0015"])
        assert "in use by a long transaction: run migrate again" in report.failed["w-0015"]
        assert (await states(admin)) == dict.fromkeys(slugs, AFTER) | {"w-0015": BEFORE}
        assert (await migrate(admin, connecting=connecting)).done == 1


async def test_a_lock_that_ends_meanwhile_does_no_harm_and_one_that_lasts_keeps_others_out(fleet, tmp_path):
    admin, connecting, url = fleet
    slugs = await make_fleet(admin, 20)
    locked = (await find_workspace(admin, "w-0015")).schema_name
    others_are_through = asyncio.Event()

    def tell(progress) -> None:
        if progress.done == 20:
            others_are_through.set()

    with next_release(tmp_path, SHADE):
        async with kept_busy(url, locked) as end, connecting() as second, connecting() as third:
            first = asyncio.create_task(migrate(admin, connecting=connecting, connections=2, tell=tell))
            await asyncio.wait_for(others_are_through.wait(), 30)
            with pytest.raises(TenancyError, match=r"Another migration is at work \(session \d+ of postgres\)"):
                await migrate(second, wait_seconds=0)
            waiting = asyncio.create_task(migrate(third, wait_seconds=60))
            await end()
            reports = await asyncio.gather(first, waiting)
        assert [(one.done, one.failed) for one in reports] == [(20, {}), (0, {})]
    assert await states(admin) == dict.fromkeys(slugs, AFTER)


async def test_a_connection_that_is_lost_is_replaced(fleet, tmp_path):
    admin, connecting, _ = fleet
    slugs = await make_fleet(admin, 20)
    victims = iter([3, 9])
    at = next(victims)

    @asynccontextmanager
    async def fragile():
        async with connecting() as connection:
            open_now.append(connection)
            yield connection

    open_now = []

    def tell(progress) -> None:
        nonlocal at
        if progress.done == at:
            open_now[-1].terminate()
            at = next(victims, 0)

    with next_release(tmp_path, SHADE):
        report = await migrate(admin, connecting=fragile, connections=2, tell=tell)
    assert (report.done, report.failed) == (20, {})
    assert len(open_now) > 2
    assert await states(admin) == dict.fromkeys(slugs, AFTER)


async def test_killed_in_the_middle_it_goes_on_where_it_ended(fleet):
    admin, _, url = fleet
    slugs = await make_fleet(admin, 120)
    slow = f'{SHADE}\nop.execute("SELECT count(*) FROM generate_series(1, 200000)")'
    command = [sys.executable, "-m", "tests.releases", slow, "migrate", "--connections", "2", "--json"]
    environment = {k: v for k, v in os.environ.items() if not k.endswith("DATABASE_URL")} | {"DATABASE_URL": url}
    with subprocess.Popen(  # noqa: ASYNC220, S603 - our own program
        command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as killed:
        try:
            count = "SELECT count(*) FROM control.workspaces WHERE schema_version = 'next'"
            async with asyncio.timeout(60):
                while await admin.fetchval(count) < 20:
                    assert killed.poll() is None
                    await asyncio.sleep(0.005)
        finally:
            killed.send_signal(signal.SIGKILL)
    done = subprocess.run(  # noqa: ASYNC221, S603 - our own program
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    found = await states(admin)
    assert done.returncode == 0, done.stderr
    notes = await admin.fetch("SELECT details FROM control.operations WHERE operation = 'migrate'")
    assert len(notes) == 1
    assert 0 < notes[0]["details"]["done"] <= 100
    assert found == dict.fromkeys(slugs, AFTER)


async def test_what_a_killed_migration_leaves_is_moved_or_not_but_never_half(fleet, tmp_path):
    """The process is gone in the middle of a workspace: here its server process is, which is what the kill leads to."""
    admin, connecting, _ = fleet
    slugs = await make_fleet(admin, 40)
    with next_release(tmp_path, f'{SHADE}\nop.execute("SELECT count(*) FROM generate_series(1, 200000)")'):
        started = asyncio.Event()
        task = asyncio.create_task(
            migrate(
                admin, connecting=connecting, connections=4, tell=lambda progress: progress.done > 12 and started.set()
            )
        )
        await asyncio.wait_for(started.wait(), 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        found = await states(admin)
        assert set(found.values()) == {BEFORE, AFTER}
        moved = sum(state == AFTER for state in found.values())
        assert (await migrate(admin, connecting=connecting, connections=4)).done == 40 - moved
    assert await states(admin) == dict.fromkeys(slugs, AFTER)


async def test_a_plan_changes_nothing(fleet, tmp_path):
    admin, _, _ = fleet
    slugs = await make_fleet(admin, 10)
    await set_state(admin, "w-0004", "deleting")
    # One is of a newer release; of another one, only the control schema says so.
    newer = (await find_workspace(admin, "w-0005")).schema_name
    await admin.execute(f"UPDATE {newer}.alembic_version SET version_num = 'later'")
    await admin.execute(
        "UPDATE control.workspaces SET schema_version = 'later' WHERE slug = ANY ($1)", ["w-0005", "w-0006"]
    )
    with next_release(tmp_path, SHADE):
        found = await plan(admin, canary=["w-0002"])
        assert [(stage.name, len(stage.workspaces)) for stage in found.stages] == [
            ("canary", 1),
            ("few", 5),
            ("rest", 2),
        ]
        assert found.control == ()
        assert found.since[NOW] == statements(Tree.WORKSPACE, NOW)
        assert found.since[NOW][-1].startswith("UPDATE alembic_version SET version_num='next'")
        assert set(found.skipped) == {"w-0004", "w-0005"}
        with pytest.raises(TenancyError, match="no workspace 'nobody' to be the canary"):
            await plan(admin, canary=["nobody"])
        untouched = dict.fromkeys(slugs, BEFORE)
        untouched |= {"w-0005": ("later", "later", False), "w-0006": ("later", NOW, False)}
        assert await states(admin) == untouched
        assert (await migrate(admin)).skipped == found.skipped
    moved = dict.fromkeys(slugs, AFTER) | {"w-0004": BEFORE, "w-0005": untouched["w-0005"]}
    assert await states(admin) == moved


async def test_an_empty_database_has_a_plan_too(postgres):
    name = f"empty_{secrets.token_hex(4)}"
    root = await connect(postgres.dsn(), name="root")
    await root.execute(f"CREATE DATABASE {name}")
    try:
        async with admin_connection(postgres.dsn(database=name)) as admin:
            found = await plan(admin)
            assert found.control == statements(Tree.CONTROL)
            assert found.stages == []
            assert await admin.fetchval("SELECT to_regnamespace('control') IS NULL")
    finally:
        await root.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await root.close()


async def test_a_control_schema_in_use_is_told_and_keeps_nobody_waiting_for_long(fleet, monkeypatch):
    admin, connecting, _ = fleet
    await admin.execute("DROP SCHEMA control CASCADE; CREATE SCHEMA control AUTHORIZATION testorchestrator_control")
    await admin.execute("SET ROLE testorchestrator_control")
    for statement in statements(Tree.CONTROL, until="0001"):
        await admin.execute(statement)
    await admin.execute("RESET ROLE")
    monkeypatch.setattr(migrating, "_CONTROL_PAUSES", (0.0,))
    async with connecting() as busy:
        transaction = busy.transaction()
        await transaction.start()
        await busy.fetch("SELECT count(*) FROM control.workspaces")
        with pytest.raises(TenancyError, match="control schema is in use by a long transaction: run migrate again"):
            await migrate(admin)
        await transaction.rollback()
    assert (await migrate(admin)).done == 0
    assert await admin.fetchval("SELECT version_num FROM control.alembic_version") == head(Tree.CONTROL)


async def test_a_workspace_of_the_first_revision_ends_with_the_rights_of_a_new_one(fleet, tmp_path):
    admin, _, _ = fleet
    made = await create_workspace(admin, slug="acme", name="Acme")
    await admin.execute(f"REVOKE SELECT ON {made.schema_name}.tags FROM {made.schema_name}")
    assert not (await look(admin)).is_sound
    with next_release(
        tmp_path, 'op.create_table("colours", sa.Column("id", sa.BigInteger()))\nop.drop_table("colours")'
    ):
        assert (await migrate(admin)).done == 1
        assert (await look(admin)).is_sound


class Load:
    """Callers that read and write until they are told to stop, and every answer that was not right."""

    def __init__(self, clients) -> None:
        self.right = [0] * len(clients)
        self.wrong: list[object] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(number, *one)) for number, one in enumerate(clients)]

    def _call(self, number, client, project) -> None:
        while not self._stop.is_set():
            try:
                made = client.call("create_test_case", project=project, title=f"Case {self.right[number]}")
                assert client.call("get_test_case", project=project, caseId=made["id"])["title"] == made["title"]
            except Exception as error:  # noqa: BLE001 - collected for the assertion
                self.wrong.append(error)
                break
            self.right[number] += 1
        client.close()

    async def until(self, more: int) -> None:
        """Wait until each caller has got so many more right answers."""
        wanted = [number + more for number in self.right]
        async with asyncio.timeout(60):
            while not self.wrong and any(got < least for got, least in zip(self.right, wanted, strict=True)):  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def __aenter__(self):
        for thread in self._threads:
            thread.start()
        return self

    async def __aexit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            await asyncio.to_thread(thread.join, 30)


async def test_this_release_and_the_next_serve_throughout_a_migration(postgres, tmp_path):
    upgrade = """
        op.add_column("cases", sa.Column("shade", sa.Text(), nullable=False, server_default="plain"))
        op.create_index("cases_shade_idx", "cases", ["shade"])
        op.create_table("colours", sa.Column("id", sa.BigInteger(), primary_key=True))
        """
    async with new_database(postgres) as (name, admin):
        url = postgres.dsn(database=name)
        service_url = postgres.dsn(user=APP, database=name)
        with serving(service_url) as (host, port):
            tenants = [await make_tenant(admin, f"tenant-{n}", host=host, port=port) for n in range(4)]
            with (
                next_release(tmp_path, upgrade, compatible_from=NOW, serves_from=NOW),
                serving(service_url) as (_, next_port),
            ):
                clients = [(tenant.client(), tenant.project) for tenant in tenants]
                for tenant in tenants:
                    client = tenant.client()
                    client.port = next_port
                    clients.append((client, tenant.project))
                async with Load(clients) as load:
                    await load.until(3)
                    report = await migrate(admin, connecting=lambda: admin_connection(url), connections=2)
                    await load.until(5)
    assert (report.done, report.failed) == (4, {})
    assert load.wrong == []
    assert min(load.right) >= 8

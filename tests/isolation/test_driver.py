"""The isolation holds whatever the driver does: when entering fails, is cancelled, is lost or is answered late.

In the usual mode, in strict mode and through PgBouncer. `DRIVER_TRIES` is the number of tries in each of six storms.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg
import pytest

import tenancy.pool
import tenancy.session
from tenancy.connection import admin_connection
from tenancy.roles import APP, GATE, SET_CONFIG
from tests.conftest import STRICT_LOGINS
from tests.isolation.attacks import READS
from tests.isolation.storm import REFUSALS, Storm
from tests.pgbouncer import WITHOUT_PREPARED, pgbouncer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.conftest import World

MODES = ("usual", "strict", "pgbouncer")
TRIES = int(os.environ.get("DRIVER_TRIES", "3400"))
MUTANT_TRIES = 400


@dataclass(frozen=True)
class Driven:
    """Two workspaces, and how to make a gateway to them."""

    world: World
    admin: asyncpg.Connection
    mode: str

    @property
    def own(self) -> str:
        return self.world.acme.workspace.schema_name

    @property
    def other(self) -> str:
        return self.world.globex.workspace.schema_name

    @asynccontextmanager
    async def gateway(self, *, size: int = 1, session: ModuleType = tenancy.session, pool: ModuleType = tenancy.pool):
        """A gateway over so many connections; in strict mode, so many for each of the workspaces, which share none."""
        with ExitStack() as stack:
            url, options = self.world.service_url, {"wait_seconds": 5}
            if self.mode == "pgbouncer":
                bouncer = stack.enter_context(pgbouncer(self.world.server))
                url, options = bouncer.dsn(database=self.world.database), options | WITHOUT_PREPARED
            pools = [pool.Pool(url, size=size, **options)]
            if self.mode == "strict":
                pools.append(pool.Pool(url, size=2 * size, login_of=STRICT_LOGINS.login, **options))
            try:
                yield session.Gateway(pools[0], workspaces=pools[1] if pools[1:] else None)
            finally:
                for one in pools:
                    await one.close()

    def storm(self, gateway, *, seed: int) -> Storm:
        where = {"own": self.own, "other": self.other, "other_id": self.world.globex.workspace.id}
        return Storm(gateway, self.world.admin_url, **where, seed=seed)


@pytest.fixture(scope="module", params=MODES)
async def driven(request, world):
    async with admin_connection(world.admin_url) as admin:
        yield Driven(world, admin, request.param)


@pytest.mark.parametrize("size", [1, 2])
async def test_nothing_leaves_its_workspace_in_a_storm(size, driven, figure):
    async with driven.gateway(size=size) as gateway:
        outcomes = await asyncio.gather(*(driven.storm(gateway, seed=seed).rage(TRIES // size) for seed in range(size)))
    for outcome in outcomes:
        assert outcome.outside == []
        assert outcome.reached == []
        # That it is one in which things go wrong and right
        assert outcome.served > outcome.tries / 10
        assert outcome.refused.total() > outcome.tries / 4
        figure("tries to leave a workspace while look-ups and calls are cancelled, lost and refused", outcome.tries)
        figure("tries that left it", len(outcome.outside) + len(outcome.reached))
    ended = ("QueryCanceledError", "DatabaseUnavailable")
    assert sum(outcome.refused[name] for outcome in outcomes for name in ended) > 0
    async with driven.gateway() as gateway, gateway.workspace(driven.other, read_only=True) as connection:
        assert await connection.fetchval("SELECT count(*) FROM users WHERE name = 'taken'") == 0
    planted = await driven.admin.fetchval("SELECT count(*) FROM control.api_keys WHERE label = 'planted'")
    assert planted == 0


# How entering can fail, and what is raised then. Nothing inside may run.


async def entering_fails_as_a_whole(driven: Driven, gateway: Any, method: str) -> None:
    """No statement of the message is executed, not even BEGIN."""
    gateway._limits = "no statement at all"
    await _is_not_entered(driven, gateway, method, asyncpg.PostgresSyntaxError)


async def entering_fails_in_the_middle(driven: Driven, gateway: Any, method: str) -> None:
    gateway._limits = "SELECT 1 / 0"
    await _is_not_entered(driven, gateway, method, asyncpg.DivisionByZeroError)


async def begin_is_answered_with_an_error(driven: Driven, gateway: Any, method: str) -> None:
    """As by a cancellation that comes late: the one before it is over, and this transaction never begins."""
    async with gateway.workspace(driven.own, read_only=False) as connection:
        pid = await connection.fetchval("SELECT pg_backend_pid()")
    gateway._limits = f"SELECT 1 FROM generate_series(1, 100000000) -- of {pid}\n"

    async def cancel() -> None:
        done = False
        while not done:
            done = await driven.admin.fetchval(
                "SELECT bool_or(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE state = 'active' "
                "AND pid <> pg_backend_pid() AND query LIKE '%generate_series(1, 100000000)%'"
            )

    cancelling = asyncio.ensure_future(cancel())
    await _is_not_entered(driven, gateway, method, asyncpg.QueryCanceledError)
    await cancelling


async def the_gate_denies(driven: Driven, gateway: Any, method: str) -> None:
    await _is_not_entered(driven, gateway, method, asyncpg.DivisionByZeroError, gate="SELECT 1 / 0")


async def the_transaction_is_over(driven: Driven, gateway: Any, method: str) -> None:
    """Whoever ended it, or if it never began: a query would run as whoever is logged in."""
    with pytest.raises(RuntimeError, match="no transaction"):
        async with gateway.workspace(driven.own, read_only=False) as connection:
            await connection._connection.execute("COMMIT")
            await getattr(connection, method)("SELECT current_user::text")


async def _is_not_entered(driven: Driven, gateway: Any, method: str, expected: type[Exception], **options: Any) -> None:
    reached = []
    with pytest.raises(expected):
        async with gateway.workspace(driven.own, read_only=False, **options) as connection:
            reached.append(method)
            await getattr(connection, method)("SELECT current_user::text")
    assert reached == []


async def a_cancelled_call_leaves_nothing(driven: Driven, gateway: Any, method: str) -> None:
    """The next one has a connection that nothing is under way on, be it the same one or another."""
    for turns in range(12):

        async def call() -> None:
            async with gateway.workspace(driven.other, read_only=False) as connection:
                await getattr(connection, method)("SELECT count(*) FROM generate_series(1, 300000)")

        task = asyncio.ensure_future(call())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        async with gateway.workspace(driven.own, read_only=False) as connection:
            assert await connection.fetchval("SELECT current_user::text") == driven.own
            assert await connection.fetchval("SELECT current_setting('transaction_read_only')") == "off"


async def what_failed_is_rolled_back(driven: Driven, gateway: Any, method: str) -> None:
    """The next transaction on the connection does not commit it."""
    with suppress(ZeroDivisionError):
        async with gateway.workspace(driven.other, read_only=False) as connection:
            await getattr(connection, method)("INSERT INTO tags (context, name) VALUES ('RUNS', 'left') RETURNING id")
            raise ZeroDivisionError
    async with gateway.workspace(driven.other, read_only=False) as connection:
        await getattr(connection, method)("SELECT 1")
    left = await driven.admin.execute(f"DELETE FROM {driven.other}.tags WHERE name = 'left'")
    assert left == "DELETE 0"


async def a_cancelled_look_up_leaves_nothing(driven: Driven, gateway: Any, method: str) -> None:
    for turns in range(12):
        task = asyncio.ensure_future(gateway.authenticate(f"to_live_{turns}"))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        async with gateway.workspace(driven.own, read_only=False) as connection:
            await getattr(connection, method)("SELECT 1")
            assert await connection.fetchval("SELECT current_user::text") == driven.own


CHECKS = (
    entering_fails_as_a_whole,
    entering_fails_in_the_middle,
    begin_is_answered_with_an_error,
    the_gate_denies,
    the_transaction_is_over,
    a_cancelled_call_leaves_nothing,
    a_cancelled_look_up_leaves_nothing,
    what_failed_is_rolled_back,
)


@pytest.mark.parametrize("method", READS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda one: one.__name__)
async def test_nothing_runs_where_entering_failed_and_nothing_is_left(check, method, driven):
    async with driven.gateway() as gateway:
        await check(driven, gateway, method)
    async with driven.gateway() as gateway, gateway.workspace(driven.own, read_only=True) as connection:
        assert await connection.fetchval("SELECT current_user::text") == driven.own


async def what_is_not_settled_is_not_lent_again(_: Driven, gateway: Any, method: str) -> None:
    async with gateway._pool.lend() as lent:
        before = lent.connection
        await before.execute(f"BEGIN -- {method}")
    async with gateway._pool.lend() as lent:
        assert lent.connection is not before
        assert not lent.connection.is_in_transaction()
        lent.settle()


class Removed(NamedTuple):
    """In the source of *module*, *old* becomes *new*; *found_by* fails then."""

    module: ModuleType
    old: str
    new: str
    found_by: Callable[[Driven, Any, str], Awaitable[None]]
    and_: Removed | None = None


_ENTERED = "                await lent.connection.execute(entry)\n"
REMOVED = {
    "entering that fails is told": Removed(
        tenancy.session,
        _ENTERED,
        "                try:\n    "
        + _ENTERED
        + "                except asyncpg.PostgresError:\n                    pass\n",
        entering_fails_as_a_whole,
    ),
    "entering is waited for": Removed(
        tenancy.session,
        _ENTERED,
        "                entering = asyncio.ensure_future(lent.connection.execute(entry))\n"
        "                entering.add_done_callback(lambda one: one.exception())\n",
        entering_fails_in_the_middle,
    ),
    "BEGIN": Removed(
        tenancy.session, 'f"BEGIN {mode}; {self._limits}', 'f"{self._limits}', a_cancelled_call_leaves_nothing
    ),
    "no query without a transaction": Removed(
        tenancy.session,
        "if not self._connection.is_closed() and not self._connection.is_in_transaction():",
        "if False:",
        the_transaction_is_over,
    ),
    "what failed is rolled back": Removed(
        tenancy.session,
        "            await _roll_back(lent)\n            told",
        "            lent.is_settled = True\n            told",
        what_failed_is_rolled_back,
    ),
    "what is not settled is closed": Removed(
        tenancy.pool, "if place.is_open and not is_settled:", "if False:", what_is_not_settled_is_not_lent_again
    ),
}
_CONFIRM = "control.confirm_key(bigint, bigint, text, text, text)"
_AT_REST = f"ALTER ROLE {APP}"
REMOVED_FROM_THE_DATABASE = {
    "the login calls one function": (
        f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA control TO {APP}",
        f"REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA control FROM {APP}; GRANT EXECUTE ON FUNCTION {_CONFIRM} TO {APP}",
    ),
    "the login writes nothing at rest": (
        f"{_AT_REST} SET default_transaction_read_only = off",
        f"{_AT_REST} SET default_transaction_read_only = on",
    ),
    "the login finds nothing at rest": (f"{_AT_REST} SET search_path = pg_catalog", f"{_AT_REST} SET search_path = ''"),
    "the login inherits nothing": (
        f"GRANT {{other}} TO {APP} WITH INHERIT TRUE",
        f"GRANT {{other}} TO {APP} WITH INHERIT FALSE",
    ),
    "the gate is in no workspace": (f"GRANT {{other}} TO {GATE}", f"REVOKE {{other}} FROM {GATE}"),
    "a workspace writes nothing at rest": (
        "ALTER ROLE {own} SET default_transaction_read_only = off",
        "ALTER ROLE {own} SET default_transaction_read_only = on",
    ),
    "the login may not set": (
        f"GRANT EXECUTE ON FUNCTION {SET_CONFIG} TO {APP}",
        f"REVOKE EXECUTE ON FUNCTION {SET_CONFIG} FROM {APP}",
    ),
}


@pytest.fixture
def changed(monkeypatch):
    """Makes a copy of a module with a change in its source."""

    def make(removed: Removed) -> ModuleType:
        source = Path(removed.module.__file__).read_text()
        if removed.and_ is not None:
            assert removed.and_.old in source
            source = source.replace(removed.and_.old, removed.and_.new)
        assert removed.old in source
        made = ModuleType(f"{removed.module.__name__}_changed")
        # Where its dataclasses look for it.
        monkeypatch.setitem(sys.modules, made.__name__, made)
        exec(compile(source.replace(removed.old, removed.new), made.__name__, "exec"), made.__dict__)  # noqa: S102
        return made

    return make


def _modules(removed: Removed, made: ModuleType) -> dict[str, ModuleType]:
    return {removed.module.__name__.rpartition(".")[2]: made}


@pytest.mark.parametrize("name", REMOVED)
async def test_each_protection_of_the_code_is_missed_by_a_test_when_it_is_removed(name, driven, changed, figure):
    removed = REMOVED[name]
    for method in READS:
        async with driven.gateway() as gateway:
            await removed.found_by(driven, gateway, method)
        made = changed(removed)
        with pytest.raises((AssertionError, pytest.fail.Exception, *REFUSALS)):
            async with driven.gateway(**_modules(removed, made)) as gateway, asyncio.timeout(30):
                await removed.found_by(driven, gateway, method)
    figure("protections of the driver removed and found missing")


@pytest.mark.parametrize("name", REMOVED)
async def test_the_others_hold_where_one_of_the_code_is_removed(name, driven, changed, figure):
    removed = REMOVED[name]
    async with driven.gateway(**_modules(removed, changed(removed))) as gateway:
        outcome = await driven.storm(gateway, seed=1).rage(MUTANT_TRIES)
    assert outcome.reached == []
    figure("tries with one protection removed", outcome.tries)
    figure("of these, queries that ran as the login, who reads nothing", len(outcome.outside))
    figure("of these, reads of another workspace", len(outcome.reached))


async def test_what_runs_at_rest_reads_nothing(driven, changed, figure):
    """Two are removed, so that queries run although entering failed: what is left is the database."""
    told, in_transaction = (REMOVED[name] for name in ("entering that fails is told", "no query without a transaction"))
    both = in_transaction._replace(old=told.old, new=told.new, and_=in_transaction)
    async with driven.gateway(session=changed(both)) as gateway:
        outcome = await driven.storm(gateway, seed=3).rage(MUTANT_TRIES)
    assert outcome.reached == []
    if driven.mode == "strict":
        # Whoever is logged in is the workspace there; with no path it finds no table of its own.
        assert outcome.refused["UndefinedTableError"] > 0
    else:
        assert set(outcome.outside) == {APP}
    figure("queries that ran at rest, with two protections removed", len(outcome.outside))


@pytest.mark.parametrize("name", REMOVED_FROM_THE_DATABASE)
async def test_the_others_hold_where_one_of_the_database_is_removed(name, driven, figure):
    """That each is missed by a test, test_mutations.py shows."""
    make, undo = (text.format(own=driven.own, other=driven.other) for text in REMOVED_FROM_THE_DATABASE[name])
    await driven.admin.execute(make)
    try:
        async with driven.gateway() as gateway:
            outcome = await driven.storm(gateway, seed=2).rage(MUTANT_TRIES)
    finally:
        await driven.admin.execute(undo)
    assert outcome.outside == []
    assert outcome.reached == []
    figure("tries with one protection removed", outcome.tries)

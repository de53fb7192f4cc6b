"""The way into a workspace: who a key belongs to, and one transaction as that workspace's role.

What handlers get is a facade, never the connection: every query goes through the extended protocol, which takes
one statement at a time, and must begin as a query does. Together with the revokes of `tenancy.roles` this leaves
injected SQL no way out of the workspace; either alone would not.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter, OrderedDict
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

from tenancy.errors import DatabaseUnavailable, NotConfirmed, StatementRefused, error_class
from tenancy.keys import hash_key
from tenancy.roles import CONTROL_ROLES, GATE, OWNER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from tenancy.pool import Lent, Pool

_QUERY = re.compile(r"\s*(?:select|insert|update|delete|merge|with)\b", re.IGNORECASE)
_SCHEMA_NAME = re.compile(r"w_[a-z0-9]{4,40}")
_ROLLBACK_SECONDS = 5
# A key is looked up as often as its last use is written down.
_REMEMBERED_SECONDS = 60
_MOST_REMEMBERED = 10_000
# How the server plans a statement that is kept: as it likes, once for all arguments, or anew for each.
_DEFAULT_PLANS, _ONE_PLAN, _OWN_PLANS = "DEFAULT", "force_generic_plan", "force_custom_plan"
_LOSSES = (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError)
# Of control.confirm_key.
_UNCONFIRMED = "TO401"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whom a valid key stands for. *schema_name* is the workspace's schema and role."""

    workspace_id: int
    schema_name: str
    schema_version: str
    compatible_from: str
    user_id: int
    api_key_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who acts in a workspace, from the credential alone, and by which tool or command.

    What is stored of who did something comes from it by the columns' defaults, and no query can say otherwise.
    *api_key_id* is None for a person or an operator, *user_id* for an operator, who is no user of the workspace.
    """

    user_id: int | None = None
    api_key_id: int | None = None
    tool: str = ""


#: For reading, where it does not matter who does.
NOBODY = Actor()


class RoleConnection:
    """Queries as one role, within one transaction. Raises StatementRefused for anything but a query.

    Once the transaction is left it is of no use: by then, the database connection may be another request's.
    """

    __slots__ = ("_connection", "_mark", "_plans_each", "_savepoints", "rollback_only")

    def __init__(self, connection: asyncpg.Connection, mark: str = "") -> None:
        self._connection: asyncpg.Connection | None = connection
        self._mark = mark
        self._plans_each = False
        self._savepoints = 0
        #: Set it to have the transaction rolled back at its end although nothing failed: a dry run.
        self.rollback_only = False

    async def fetch(self, query: str, *arguments: Any) -> Sequence[asyncpg.Record]:
        """Return all rows."""
        return await self._entered().fetch(_checked(query) + self._mark, *arguments)  # type: ignore[no-any-return]

    async def fetch_planned(self, query: str, *arguments: Any) -> Sequence[asyncpg.Record]:
        """Return all rows by a plan made for these arguments, as all queries after it are too.

        For queries whose best plan depends on how many rows their arguments match: of a statement that is kept, the
        server soon keeps one plan for all arguments. The first one of a transaction costs a round trip more.
        """
        if not self._plans_each:
            await self._entered().execute(_planning(_OWN_PLANS))
            self._plans_each = True
        return await self.fetch(query, *arguments)

    async def fetchrow(self, query: str, *arguments: Any) -> asyncpg.Record | None:
        """Return the first row, if there is one."""
        return await self._entered().fetchrow(_checked(query) + self._mark, *arguments)

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        """Return the first column of the first row, or None."""
        return await self._entered().fetchval(_checked(query) + self._mark, *arguments)

    async def execute(self, query: str, *arguments: Any) -> int:
        """Run a query for its effect and return how many rows it concerned."""
        connection = self._entered()
        if arguments:
            status = await connection.execute(_checked(query) + self._mark, *arguments)
        else:
            # Without arguments, the driver's execute would take several statements at once.
            statement = await connection.prepare(_checked(query) + self._mark)
            await statement.fetch()
            status = statement.get_statusmsg()
        return int(status.split()[-1])

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo what is done inside if it raises, and let the transaction go on."""
        self._savepoints += 1
        name, plans_each = f"s{self._savepoints}", self._plans_each
        await self._entered().execute(f"SAVEPOINT {name}")
        try:
            yield
        except Exception:
            # Not when it was cancelled: then the whole transaction is about to be rolled back.
            await self._entered().execute(f"ROLLBACK TO {name}")
            self._plans_each = plans_each
            raise
        else:
            await self._entered().execute(f"RELEASE {name}")

    def leave(self) -> None:
        """Let no query through any more."""
        self._connection = None

    def _entered(self) -> asyncpg.Connection:
        if self._connection is None:
            raise RuntimeError("The transaction has been left: what works in it must end before it does.")
        # What the server said last: a query that runs in no transaction runs as whoever is logged in. Of a connection
        # that is lost, the driver tells.
        if not self._connection.is_closed() and not self._connection.is_in_transaction():
            raise RuntimeError("There is no transaction to work in.")
        return self._connection


class WorkspaceConnection(RoleConnection):
    """Queries in one workspace, as its role; what they write is *actor*'s."""

    __slots__ = ("actor",)

    def __init__(self, connection: asyncpg.Connection, actor: Actor, mark: str = "") -> None:
        super().__init__(connection, mark)
        self.actor = actor


class ControlConnection(RoleConnection):
    """Queries of the control plane's functions, as a role that may call some of them and is in no workspace."""

    __slots__ = ()


class Gateway:
    """What the service knows of the database: keys to check, and workspaces to enter.

    In strict mode *workspaces* is the pool of connections that are logged in as the workspaces' own roles.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        workspaces: Pool | None = None,
        statement_timeout_ms: int = 10_000,
        lock_timeout_ms: int = 3_000,
    ) -> None:
        self._pool = pool
        self._workspaces = workspaces or pool
        self._is_strict = workspaces is not None
        #: How many requests ended in an error of the database, by its class; the pools count failed connections.
        self.errors: Counter[str] = Counter()
        # By the hash of a key, whom it stood for and when that was looked up, the latest last.
        self._remembered: OrderedDict[bytes, tuple[Identity, float]] = OrderedDict()
        self._limits = (
            f"SET LOCAL statement_timeout = {statement_timeout_ms:d}; SET LOCAL lock_timeout = {lock_timeout_ms:d}; "
            f"SET LOCAL timezone = 'UTC'; SET LOCAL idle_in_transaction_session_timeout = {2 * statement_timeout_ms:d}"
        )

    async def authenticate(self, key: str) -> Identity | None:
        """Return whom *key* stands for, or None: unknown, revoked, expired, its owner or workspace not active."""
        key_hash = hash_key(key)
        async with self.control() as connection:
            identity = await self._authenticate(connection, key_hash)
        self._remembered.pop(key_hash, None)
        if identity is not None:
            self._remembered[key_hash] = identity, time.monotonic()
            if len(self._remembered) > _MOST_REMEMBERED:
                self._remembered.popitem(last=False)
        return identity

    def recall(self, key: str) -> Identity | None:
        """Return whom *key* stood for within the last minute, which the database has to confirm: see workspace().

        Nobody is remembered in strict mode, where a workspace's own login cannot ask about keys.
        """
        if self._is_strict:
            return None
        identity, since = self._remembered.get(hash_key(key), (None, 0.0))
        return identity if time.monotonic() - since < _REMEMBERED_SECONDS else None

    @asynccontextmanager
    async def control(self, role: str = GATE) -> AsyncIterator[ControlConnection]:
        """Enter *role*, which may call functions of the control plane, for one transaction, as workspace() does."""
        if role not in CONTROL_ROLES:
            raise ValueError("not a role of the control plane")
        async with self._pool.lend() as lent:
            try:
                async with self._transaction(lent, f"BEGIN READ WRITE; SET LOCAL ROLE {role}"):
                    with _left_afterwards(ControlConnection(lent.connection)) as connection:
                        yield connection
                    await _end(lent, rollback_only=connection.rollback_only)
            except (asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError) as error:
                # The login's own time limits: somebody works on those tables.
                raise DatabaseUnavailable(type(error).__name__) from error

    async def _authenticate(self, connection: ControlConnection, key_hash: bytes) -> Identity | None:
        row = await connection.fetchrow(
            "SELECT workspace_id, schema_name, schema_version, compatible_from, user_id, api_key_id, touch_due "
            "FROM control.authenticate_key($1)",
            key_hash,
        )
        if row is None:
            return None
        *identity, touch_due = row.values()
        if touch_due:
            await connection.execute("SELECT control.touch_key($1)", row["api_key_id"])
        return Identity(**dict(zip(Identity.__slots__, identity, strict=True)))

    @asynccontextmanager
    async def workspace(
        self,
        schema_name: str,
        *,
        read_only: bool,
        actor: Actor = NOBODY,
        gate: str = "",
        one_plan: bool = False,
        recalled: Identity | None = None,
    ) -> AsyncIterator[WorkspaceConnection]:
        """Enter the workspace for one transaction of *actor*: committed at the end, rolled back if anything raises.

        Raises NotConfirmed, before anything else is done, where *recalled* is not what its key stands for now.

        *gate* is a statement of ours that lets the transaction go on or raises; it costs no round trip of its own. With
        *one_plan* each query is planned once for all arguments, not anew for these.
        """
        if not _SCHEMA_NAME.fullmatch(schema_name):
            raise ValueError("not a workspace's schema name")
        if recalled is not None and recalled.schema_name != schema_name:
            raise ValueError("not the workspace that the key stood for")
        mode = "READ ONLY" if read_only else "READ WRITE"
        role = "" if self._is_strict else f"SET LOCAL ROLE {schema_name}; "
        # Key and gate are asked the same for all: to plan it anew takes as long as all the rest of it.
        confirmation = "" if recalled is None else f"{_confirmation(recalled)}; "
        planning = "" if one_plan else f"; {_planning(_DEFAULT_PLANS)}"
        entry = (
            f"BEGIN {mode}; {self._limits}; {_planning(_ONE_PLAN)}; "
            f"{confirmation}{_acting(actor)}; {role}SET LOCAL search_path = {schema_name}, pg_temp; {gate}{planning}"
        )
        async with self._workspaces.lend(schema_name) as lent:
            # Postgres keeps a plan for the search_path that it was made in. Statements of a workspace's own keep theirs
            # while the connection is in other workspaces, and are made where that is worth their memory.
            mark = f" -- {schema_name}" if lent.is_at_home else ""
            async with self._transaction(lent, entry):
                with _left_afterwards(WorkspaceConnection(lent.connection, actor, mark)) as connection:
                    yield connection
                await _end(lent, rollback_only=connection.rollback_only)

    @asynccontextmanager
    async def _transaction(self, lent: Lent, entry: str) -> AsyncIterator[None]:
        """Begin a transaction by *entry*, one message, and roll it back where anything raises.

        Nothing inside runs unless all of *entry* has succeeded. What is inside ends the transaction when it is done.
        """
        try:
            with _telling_loss(lent.connection):
                await lent.connection.execute(entry)
                yield
        except BaseException as error:
            await _roll_back(lent)
            told = NotConfirmed() if getattr(error, "sqlstate", None) == _UNCONFIRMED else error
            self._count(told)
            if told is error:
                raise
            raise told from None

    def _count(self, error: BaseException) -> None:
        if kind := error_class(error):
            self.errors[kind] += 1


@asynccontextmanager
async def as_workspace(
    admin: asyncpg.Connection, schema_name: str, *, actor: Actor = NOBODY
) -> AsyncIterator[WorkspaceConnection]:
    """Act as the workspace's role on an administrator's connection, within the transaction that is open there, if any.

    What is done inside is undone if anything raises; either way, the administrator's own role is back afterwards.
    """
    async with _as_role(admin, schema_name, schema_name, actor) as connection:
        yield connection


@asynccontextmanager
async def as_owner(
    admin: asyncpg.Connection, schema_name: str, *, actor: Actor = NOBODY
) -> AsyncIterator[WorkspaceConnection]:
    """Act as as_workspace() does, but as the owner of the tables: who fills a workspace may say who did what, and when.

    Never for what a caller has a say in.
    """
    async with _as_role(admin, OWNER, schema_name, actor) as connection:
        yield connection


@asynccontextmanager
async def _as_role(
    admin: asyncpg.Connection, role: str, schema_name: str, actor: Actor
) -> AsyncIterator[WorkspaceConnection]:
    if not _SCHEMA_NAME.fullmatch(schema_name):
        raise ValueError("not a workspace's schema name")
    # A savepoint, or a transaction of its own: without one, SET LOCAL would hold for its own message only.
    async with admin.transaction():
        await admin.execute(f"{_acting(actor)}; SET LOCAL ROLE {role}; SET LOCAL search_path = {schema_name}, pg_temp")
        with _left_afterwards(WorkspaceConnection(admin, actor)) as connection:
            yield connection
        await admin.execute(f"SET LOCAL ROLE NONE; SET LOCAL search_path = DEFAULT; {_acting(NOBODY)}")


AnyConnection = TypeVar("AnyConnection", bound=RoleConnection)


@contextmanager
def _left_afterwards(connection: AnyConnection) -> Iterator[AnyConnection]:
    try:
        yield connection
    finally:
        connection.leave()


@contextmanager
def _telling_loss(connection: asyncpg.Connection) -> Iterator[None]:
    """Raise DatabaseUnavailable for all the ways in which the connection can be lost, and only for those."""
    try:
        yield
    except asyncpg.QueryCanceledError:
        raise
    except (
        *_LOSSES,
        # A message of the server's end that comes between two queries puts the driver out of step.
        asyncpg.InternalClientError,
    ) as error:
        raise DatabaseUnavailable(type(error).__name__) from error
    except TimeoutError as error:
        connection.terminate()
        raise DatabaseUnavailable("no answer in time") from error
    except (OSError, asyncpg.InterfaceError) as error:
        # The driver raises these for a wrong use of a connection too, and a handler for reasons of its own.
        if connection.is_closed():
            raise DatabaseUnavailable(type(error).__name__) from error
        raise


async def _end(lent: Lent, *, rollback_only: bool) -> None:
    if rollback_only:
        # A dry run makes the checks that a commit would make.
        await lent.connection.execute("SET CONSTRAINTS ALL IMMEDIATE; ROLLBACK")
    elif await lent.connection.execute("COMMIT") != "COMMIT":
        # To COMMIT a transaction that has failed rolls it back, and is no error to Postgres.
        raise RuntimeError("Nothing is stored: an error of the database was caught without a savepoint.")
    lent.settle()


async def _roll_back(lent: Lent) -> None:
    """End the transaction even if the request was cancelled; where the server does not say so, the pool closes it.

    The driver sends it when a cancellation that is under way is through, and not before.
    """
    # Whatever it is, the connection is of no use then, and the first error counts.
    with suppress(Exception):
        async with asyncio.timeout(_ROLLBACK_SECONDS):
            await lent.connection.execute("ROLLBACK")
        lent.settle()


def _planning(plans: str) -> str:
    return f"SET LOCAL plan_cache_mode = {plans}"


def _acting(actor: Actor) -> str:
    """Return what says who acts. All of it is said in every transaction, so that none has it from another one."""
    ids = {"user_id": actor.user_id, "api_key_id": actor.api_key_id}
    told = {name: "" if number is None else f"{number:d}" for name, number in ids.items()} | {"tool": actor.tool}
    return "; ".join(f"SET LOCAL testorchestrator.{name} = {_quoted(value)}" for name, value in told.items())


def _confirmation(recalled: Identity) -> str:
    names = (recalled.schema_name, recalled.schema_version, recalled.compatible_from)
    given = f"{recalled.api_key_id:d}, {recalled.user_id:d}, {', '.join(map(_quoted, names))}"
    return f"SELECT control.confirm_key({given})"


def _quoted(text: str) -> str:
    return "'{}'".format(text.replace("'", "''"))


def _checked(query: str) -> str:
    if not _QUERY.match(query):
        raise StatementRefused
    return query

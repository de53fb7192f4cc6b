"""The test world: one real PostgreSQL, one service over HTTP, and two workspaces with people, projects and keys."""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import os
import secrets
import signal
import tempfile
import threading
import time
from collections import Counter, defaultdict
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from service.domain.users import add_user
from service.server import listen, serve
from service.settings import read_settings
from tenancy.connection import connect
from tenancy.embedded import EmbeddedServer, embedded_server
from tenancy.keys import create_key
from tenancy.migrate import migrate
from tenancy.provision import create_workspace
from tenancy.roles import APP
from tenancy.strict import StrictLogins, open_logins
from tests.pgbouncer import WITHOUT_PREPARED, pgbouncer

if TYPE_CHECKING:
    from tenancy.catalog import Workspace
    from tenancy.session import WorkspaceConnection

MISSING = 987_654_321
FIGURE = "figure: "
SECRET_KEY = "signs sessions in tests: thirty-two characters or more"
TABLE = "table: "
# The service closes connections that are idle for longer than 75 seconds.
_KEPT_SECONDS = 60
# With TEST_STRICT=1 the world's workspaces are entered by logins of their own.
STRICT = os.environ.get("TEST_STRICT") == "1"
# With TEST_PGBOUNCER=1 the service reaches the database through PgBouncer in transaction mode.
PGBOUNCER = os.environ.get("TEST_PGBOUNCER") == "1"
STRICT_LOGINS = StrictLogins("only for tests: thirty-two characters or more")
# What a shell runs in the background starts with it ignored, and so would every process that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
# What services in threads log goes to pytest, not to a standard output that a command under test may have just then.
structlog.configure(
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
    processors=[
        structlog.stdlib.filter_by_level,
        structlog.contextvars.merge_contextvars,
        structlog.processors.format_exc_info,
        structlog.processors.KeyValueRenderer(key_order=["event"]),
    ],
)


@pytest.fixture
def figure(record_property):
    """Adds to one of the figures that the run ends with, whichever process the test runs in."""
    figures: Counter[str] = Counter()

    def add(what: str, number: int = 1) -> None:
        figures[what] += number

    yield add
    for what, number in figures.items():
        record_property(FIGURE + what, number)


@pytest.fixture
def row(record_property):
    """Adds a row, column by column, to one of the tables that the run ends with."""

    def add(table: str, **columns: Any) -> None:
        record_property(TABLE + table, columns)

    return add


def pytest_terminal_summary(terminalreporter):
    """Print what the tests tried, added up over all of them, and the tables that they filled."""
    figures: Counter[str] = Counter()
    tables: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for report in itertools.chain.from_iterable(terminalreporter.stats.values()):
        # The last report of a test has all that was recorded.
        if getattr(report, "when", None) != "teardown":
            continue
        for name, value in report.user_properties:
            if name.startswith(FIGURE):
                figures[name.removeprefix(FIGURE)] += value
            elif name.startswith(TABLE):
                tables[name.removeprefix(TABLE)].append(value)
    for name, rows in sorted(tables.items()):
        terminalreporter.section(name)
        headings = list(rows[0])
        lines = [headings, *([str(row.get(heading, "")) for heading in headings] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            terminalreporter.write_line(
                "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            )
    if figures:
        terminalreporter.section("figures")
        for what, number in sorted(figures.items()):
            terminalreporter.write_line(f"{number:>10,} {what}")


@pytest.fixture(scope="session")
def postgres():
    """A private server for this test run."""
    with (
        tempfile.TemporaryDirectory(prefix="to-tests-") as folder,
        embedded_server(Path(folder) / "data", durable=False) as server,
    ):
        yield server


@asynccontextmanager
async def new_database(server: EmbeddedServer):
    """A migrated database of its own; its name, and a superuser's connection to it."""
    name = f"test_{secrets.token_hex(4)}"
    root = await connect(server.dsn(), name="the test server")
    await root.execute(f"CREATE DATABASE {name}")
    admin = await connect(server.dsn(database=name), name="the test server")
    try:
        await migrate(admin)
        yield name, admin
    finally:
        roles = [row["schema_name"] for row in await admin.fetch("SELECT schema_name FROM control.workspaces")]
        await admin.close()
        await root.execute(f"DROP DATABASE {name} WITH (FORCE)")
        for role in roles:
            await root.execute(f"DROP ROLE IF EXISTS {role}")
        await root.close()


@pytest.fixture
async def admin(postgres):
    """A superuser's connection to a migrated database without workspaces."""
    async with new_database(postgres) as (_, connection):
        yield connection


class ToolFailed(Exception):
    """The tool answered with isError."""

    def __init__(self, error: dict[str, Any], text: str) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.error = error
        self.code = error["code"]
        self.text = text


class RpcFailed(Exception):
    """The call was answered with a JSON-RPC error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.error = error
        self.code = error["code"]


@dataclass
class Client:
    """A key's plain JSON-RPC client over one kept connection; one for each thread."""

    host: str
    port: int
    key: str
    _ids: Any = field(default_factory=itertools.count)
    _connection: http.client.HTTPConnection | None = None
    _used: float = 0.0

    def post(self, body: bytes, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of a POST."""
        if time.monotonic() - self._used > _KEPT_SECONDS:
            self.close()
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        sent = {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"} | headers
        try:
            self._connection.request("POST", "/mcp", body=body, headers=sent)
            response = self._connection.getresponse()
            answer = response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        self._used = time.monotonic()
        return answer

    def rpc(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of a method, or raise RpcFailed."""
        message = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params or {}}
        status, _, body = self.post(json.dumps(message).encode())
        answer = json.loads(body)
        if "error" in answer:
            raise RpcFailed(answer["error"])
        assert status == 200
        return answer["result"]

    def result(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Return the whole result of a tool call, be it an error or not."""
        return self.rpc("tools/call", {"name": tool, "arguments": arguments})

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Return what a tool answers, or raise ToolFailed."""
        result = self.result(tool, **arguments)
        if result.get("isError"):
            raise ToolFailed(result["structuredContent"]["error"], result["content"][0]["text"])
        assert json.loads(result["content"][0]["text"]) == result["structuredContent"]
        return result["structuredContent"]

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __del__(self) -> None:
        # A test that fails leaves it open, and must not take another one with it.
        self.close()


@dataclass(frozen=True)
class Person:
    id: int
    email: str
    key: str


@dataclass(frozen=True)
class Tenant:
    """A workspace of the test world.

    People by name: lead, tester, viewer (each of that role), outsider (a Lead whom every project shuts out).
    Projects by name: main (everybody in), secret (nobody in).
    """

    workspace: Workspace
    people: dict[str, Person]
    projects: dict[str, int]
    host: str
    port: int

    @property
    def project(self) -> int:
        return self.projects["main"]

    def client(self, person: str = "lead") -> Client:
        return Client(self.host, self.port, self.people[person].key)


@dataclass(frozen=True)
class World:
    acme: Tenant
    globex: Tenant
    database: str
    server: EmbeddedServer
    host: str
    port: int

    @property
    def admin_url(self) -> str:
        return self.server.dsn(database=self.database)

    @property
    def service_url(self) -> str:
        return self.server.dsn(user=APP, database=self.database)


async def make_tenant(admin, slug: str, *, host: str, port: int) -> Tenant:
    people: dict[str, Person] = {}
    projects: dict[str, int] = {}

    async def populate(connection: WorkspaceConnection) -> None:
        for name, role in (("lead", "Lead"), ("tester", "Tester"), ("viewer", "Viewer"), ("outsider", "Lead")):
            email = f"{name}@{slug}.example"
            level = "TENANT_ADMIN" if name == "lead" else "REGULAR_USER"
            user = await add_user(connection, email=email, name=name.title(), access_level=level, role=role)
            people[name] = Person(user, email, "")
        for name, access in (("main", "GLOBAL_ROLE"), ("secret", "NO_ACCESS")):
            projects[name] = await connection.fetchval(
                "INSERT INTO projects (name, default_access) VALUES ($1, $2) RETURNING id", name, access
            )
        await connection.execute(
            "INSERT INTO project_members (project_id, user_id, mode) VALUES ($1, $2, 'NO_ACCESS')",
            projects["main"],
            people["outsider"].id,
        )
        for tag in ("smoke", "regression"):
            await connection.execute("INSERT INTO tags (context, name) VALUES ('REPOSITORY', $1)", tag)

    workspace = await create_workspace(admin, slug=slug, name=slug.title(), populate=populate)
    await open_logins(admin, STRICT_LOGINS, [workspace.schema_name])
    for name, person in people.items():
        key = await create_key(admin, workspace_id=workspace.id, user_id=person.id, label=name)
        people[name] = Person(person.id, person.email, key)
    return Tenant(workspace, people, projects, host, port)


@asynccontextmanager
async def borrowed(pool, workspace=None):
    """A connection of the pool's, which goes back as one that nothing is under way on."""
    async with pool.lend(workspace) as lent:
        yield lent
        lent.settle()


@contextmanager
def serving(service_url: str, **settings: Any):
    """The service in a thread with a loop of its own; its host and port."""
    # Tests are busier than anybody is; those of the limits set them.
    settings = {
        "calls_per_second": 0, "wrong_keys_per_minute": 0, "sign_ins_per_minute": 0, "guest_pages_per_minute": 0,
        "secret_key": SECRET_KEY,
    } | settings  # fmt: skip
    listening = listen("127.0.0.1", 0)
    host, port = listening.getsockname()
    loop = asyncio.new_event_loop()
    ready, stop = threading.Event(), asyncio.Event()
    failure: list[BaseException] = []

    async def until_stopped() -> None:
        await stop.wait()

    def run() -> None:
        read = read_settings(SERVICE_DATABASE_URL=service_url, **settings)
        try:
            loop.run_until_complete(serve(read, listening, until=until_stopped, on_ready=ready.set))
        except BaseException as error:  # noqa: BLE001 - raised again in the test
            failure.append(error)
        finally:
            ready.set()
            loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait(30)
    try:
        if failure:
            raise failure[0]
        yield host, port
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        listening.close()


@pytest.fixture(scope="module")
async def world(postgres):
    """The service with the workspaces acme and globex."""
    async with new_database(postgres) as (name, connection):
        settings = {"strict_secret": STRICT_LOGINS.secret} if STRICT else {}
        service_url = postgres.dsn(user=APP, database=name)
        with ExitStack() as stack:
            if PGBOUNCER:
                bouncer = stack.enter_context(pgbouncer(postgres))
                service_url, settings = bouncer.dsn(database=name), settings | WITHOUT_PREPARED
            host, port = stack.enter_context(serving(service_url, **settings))
            acme = await make_tenant(connection, "acme", host=host, port=port)
            globex = await make_tenant(connection, "globex", host=host, port=port)
            # Workspaces number their objects apart; far apart here, so that a foreign id is never one of ours too.
            await connection.execute(f"SELECT setval('{globex.workspace.schema_name}.ids', 5000000)")
            yield World(acme, globex, name, postgres, host, port)


@pytest.fixture(scope="module")
def acme(world):
    return world.acme


@pytest.fixture(scope="module")
def globex(world):
    return world.globex


@pytest.fixture
def client(acme):
    """A Lead of acme."""
    made = acme.client()
    yield made
    made.close()


@dataclass(frozen=True)
class Endpoint:
    host: str
    port: int
    key: str


@pytest.fixture(scope="module")
def endpoint(world):
    """Where the service listens, and a key that works."""
    return Endpoint(world.host, world.port, world.acme.people["lead"].key)

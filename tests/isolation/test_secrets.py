"""Keys and passwords are nowhere but where they were given: not in logs, errors, the database, reprs or processes.

Everything is made to speak: the service at debug level, the server with every statement and its arguments, commands
that work and commands that fail.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest

from service.app import create_app
from service.plain_http import PlainHttp
from service.settings import Settings, SettingsError, read_settings
from tenancy.connection import Login, connect
from tenancy.errors import TenancyError
from tenancy.pool import Pool
from tenancy.roles import APP, scram_verifier
from tenancy.session import Gateway, Identity
from tenancy.strict import StrictLogins
from tests.conftest import Client
from tests.web.browsing import Browser

COMMAND = [sys.executable, "-P", "-m", "service.cli"]
PATIENCE = 60


@dataclass
class Scene:
    """What was given, and what was said by whom."""

    secrets: dict[str, str]
    said: dict[str, str] = field(default_factory=lambda: defaultdict(str))
    #: Processes that ran while the service did: their command lines, and their environments.
    processes: dict[str, str] = field(default_factory=dict)
    environments: dict[str, dict[str, str]] = field(default_factory=dict)


def with_password(url: str, password: str) -> str:
    return re.sub(r"//(\w+)@", lambda found: f"//{found[1]}:{quote(password, safe='')}@", url)


@pytest.fixture(scope="module")
async def scene(watched_server):
    """A database whose logins have passwords that the server asks for, and the whole life of a workspace in it."""
    words = {
        name: secrets.token_hex(12)
        for name in ("password of the service", "password of the administrator", "wrong password", "strict secret")
    }
    words["strict secret"] += "-and-thirty-two-characters"
    root = await connect(watched_server.dsn(), name="root")
    name = f"secrets_{secrets.token_hex(4)}"
    await root.execute(f"CREATE DATABASE {name}")
    await root.execute("CREATE ROLE secrets_admin SUPERUSER LOGIN")
    # By its verifier, since the server writes every statement of these tests to its log.
    verifier = scram_verifier(words["password of the administrator"])
    await root.execute(f"ALTER ROLE secrets_admin PASSWORD '{verifier}'")
    access = watched_server.data / "pg_hba.conf"
    before = access.read_text()
    access.write_text(f"local {name} secrets_admin,{APP} scram-sha-256\n{before}")
    await root.execute("SELECT pg_reload_conf()")
    made = Scene(words)
    try:
        await _live(made, watched_server, name)
        made.said["the server's log"] = (watched_server.data.parent / "postgres.log").read_text(errors="replace")
        yield made
    finally:
        access.write_text(before)
        await root.execute("SELECT pg_reload_conf()")
        roles = await root.fetch(
            "SELECT DISTINCT r.rolname FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid "
            "JOIN pg_database b ON b.oid = d.dbid WHERE b.datname = $1 AND r.rolname LIKE 'w\\_%'",
            name,
        )
        await root.execute(f"DROP DATABASE {name} WITH (FORCE)")
        for row in roles:
            await root.execute(f"DROP ROLE {row['rolname']}")
        await root.execute(f"DROP ROLE secrets_admin; ALTER ROLE {APP} PASSWORD NULL")
        await root.close()


async def _live(scene: Scene, server, name: str) -> None:
    words = scene.secrets
    admin_url = with_password(server.dsn(user="secrets_admin", database=name), words["password of the administrator"])
    service_url = with_password(server.dsn(user=APP, database=name), words["password of the service"])
    wrong_url = with_password(server.dsn(user=APP, database=name), words["wrong password"])

    def command(*arguments: str, works: bool = True, **environment: str) -> str:
        clean = {key: value for key, value in os.environ.items() if not key.endswith("DATABASE_URL")}
        done = subprocess.run(  # noqa: S603 - our own program
            [*COMMAND, *arguments],
            env=clean | {"DATABASE_URL": admin_url, "SERVICE_DATABASE_URL": service_url} | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert (done.returncode == 0) == works, done.stderr
        scene.said[f"standard error of {arguments}"] += done.stderr
        if not {"create", "invite"} & set(arguments):
            scene.said[f"standard output of {arguments}"] += done.stdout
        return done.stdout

    command("migrate")
    made = command("workspace", "create", "acme", "--admin-email", "ann@acme.example", "--admin-name", "Ann", "--json")
    words["first key"] = json.loads(made)["key"]
    words["second key"] = command("key", "create", "acme", "--email", "ann@acme.example").strip()
    words["wrong key"] = "to_live_" + secrets.token_urlsafe(32)
    words["malformed key"] = "secret-" + secrets.token_hex(12)
    words["password of Ann"] = f"Wet-Granite-{secrets.token_hex(8)}-A1"
    words["secret key"] = secrets.token_hex(24)
    pages = {
        "TESTORCHESTRATOR_SECRET_KEY": words["secret key"],
        "TESTORCHESTRATOR_PUBLIC_URL": "http://127.0.0.1",
    }
    link = command("user", "invite", "ann@acme.example", "--workspace", "acme", **pages).strip()
    words["token of the invitation"] = link.partition("token=")[2]

    clean = {key: value for key, value in os.environ.items() if not key.endswith("DATABASE_URL")}
    given = {"SERVICE_DATABASE_URL": service_url, "TESTORCHESTRATOR_LOG_LEVEL": "debug"} | pages
    with subprocess.Popen(  # noqa: ASYNC220, S603 - our own program
        [*COMMAND, "serve", "--port", "0"], env=clean | given, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            first_line = process.stderr.readline()
            port = int(re.search(r'"port": ?(\d+)', first_line)[1])
            _visit(scene, port)
            await _call(scene, port, server.dsn(database=name))
            _look_at_processes(scene)
        finally:
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=PATIENCE)
        scene.said["the service's log"] = first_line + err
        scene.said["the service's output"] = out

    key_id = str(json.loads(command("key", "list", "--workspace", "acme", "--json"))[-1]["id"])
    for arguments in (
        ("key", "list", "--workspace", "acme"),
        ("key", "revoke", "--workspace", "acme", key_id),
        ("user", "create", "--workspace", "acme", "ben@acme.example", "--name", "Ben", "--level", "TENANT_ADMIN"),
        ("user", "deactivate", "--workspace", "acme", "ann@acme.example"),
        ("user", "activate", "--workspace", "acme", "ann@acme.example"),
        ("workspace", "suspend", "acme"),
        ("workspace", "resume", "acme"),
        ("workspace", "list"),
        ("doctor",),
    ):
        command(*arguments)
    for arguments, environment in (
        (("migrate",), {"DATABASE_URL": wrong_url}),
        (("serve", "--port", "0"), {"SERVICE_DATABASE_URL": wrong_url}),
        (("serve", "--port", "0"), {"SERVICE_DATABASE_URL": service_url.replace("postgresql", "mysql")}),
        (("serve", "--port", "0"), {"SERVICE_DATABASE_URL": service_url.replace("//", "/")}),
        (("serve", "--port", "0"), {"SERVICE_DATABASE_URL": service_url + "&sslmode=nonsense"}),
        (("serve", "--port", "0"), {"TESTORCHESTRATOR_STRICT_SECRET": words["strict secret"][:20]}),
        (("doctor",), {"SERVICE_DATABASE_URL": service_url + "&port=nonsense"}),
    ):
        command(*arguments, works=False, **environment)
    rows = await _texts_of(server.dsn(database=name))
    scene.said["the database"] = "\n".join(rows)


def _visit(scene: Scene, port: int) -> None:
    """Accept the invitation, make a key, sign in rightly and wrongly."""
    words, browser = scene.secrets, Browser("127.0.0.1", port)
    password = words["password of Ann"]
    form = {"name": "Ann", "password": password, "again": password}
    path = f"/w/acme/invitation?token={words['token of the invitation']}"
    assert browser.submit(path, form | {"again": "x"}).status == 422
    assert browser.submit(path, form).status == 303
    made = browser.submit("/w/acme/profile/keys", {"label": "By a page"}).body
    words["key of a page"] = re.search(r"to_live_[\w-]{43}", made)[0]
    for page in ("profile/keys", "profile/password", "sign-in", "nowhere"):
        scene.said[f"the page {page}"] = browser.get(f"/w/acme/{page}").body
    change = {"current": password, "password": "short", "again": password}
    scene.said["a wrong change"] = browser.submit("/w/acme/profile/password", change).body
    scene.said["a link that was used"] = browser.get(path).main()
    browser.cookies.clear()
    scene.said["a wrong sign-in"] = browser.sign_in("/w/acme", "bob@acme.example", password).body
    assert browser.sign_in("/w/acme", "ann@acme.example", password).status == 303
    [words["session"]] = browser.cookies.values()


async def _call(scene: Scene, port: int, database_url: str) -> None:
    """Calls that work and calls that fail, with keys that work and keys that do not."""
    words = scene.secrets
    bodies = [
        {"jsonrpc": "2.0", "id": 1, "method": "ping"},
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "get_projects", "arguments": {}}},
        {
            "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": "get_folders", "arguments": {"project": "nonsense"}},
        },
        {"jsonrpc": "2.0", "id": 1, "method": "nonsense"},
        ["nonsense"],
    ]  # fmt: skip

    def post(key: str, body: object) -> tuple[int, dict[str, str], bytes]:
        # A refused request may end its connection, so each has one of its own.
        client = Client("127.0.0.1", port, key)
        answer = client.post(json.dumps(body).encode())
        client.close()
        return answer

    for name in ("first key", "second key", "wrong key", "malformed key"):
        for body in bodies:
            status, headers, answer = post(words[name], body)
            scene.said[f"an answer to the {name}"] += f"{status} {headers} {answer.decode()}\n"
    # A fault: a table is not there, and the traceback is logged.
    admin = await connect(database_url, name="root")
    schema = await admin.fetchval("SELECT schema_name FROM control.workspaces")
    await admin.execute(f"ALTER TABLE {schema}.projects RENAME TO projects_gone")
    _, _, failed = post(words["first key"], bodies[1])
    assert b"SERVER_FAULT" in failed
    scene.said["a fault"] = failed.decode()
    await admin.execute(f"ALTER TABLE {schema}.projects_gone RENAME TO projects")
    # A connection that is lost in the middle, and a new one that is let in again.
    await admin.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{APP}'")
    for _ in range(3):
        scene.said["a lost connection"] += post(words["first key"], bodies[1])[2].decode()
    await admin.close()


async def _texts_of(url: str) -> list[str]:
    """Every value of every column of every table of every schema, as text, and all that the catalogue keeps."""
    admin = await connect(url, name="root")
    tables = await admin.fetch(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname NOT IN ('pg_toast', 'information_schema')"
    )
    assert len(tables) > 80
    found = []
    for (table,) in tables:
        found += [row[0] for row in await admin.fetch(f"SELECT t::text FROM {table} t")]
    found += [row[0] for row in await admin.fetch("SELECT a::text FROM pg_stat_activity a")]
    await admin.close()
    return found


def _look_at_processes(scene: Scene) -> None:
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (folder / "cmdline").read_bytes().decode(errors="replace")
            scene.processes[folder.name] = command
            if "service.cli" in command or "postgres" in command:
                pairs = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
                scene.environments[folder.name] = dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def leaks(secrets_: dict[str, str], text: str) -> set[str]:
    """Return the secrets that are in *text*, as they are or as in a URL."""
    return {name for name, secret in secrets_.items() if secret in text or quote(secret, safe="") in text}


def test_what_was_said_has_none_of_the_secrets(scene):
    assert {where for where, text in scene.said.items() if leaks(scene.secrets, text)} == set()


def test_enough_was_said(scene):
    """A silent service would keep any secret."""
    log = scene.said["the service's log"]
    assert "Traceback" in log or "UndefinedTableError" in log
    assert "control.authenticate" in scene.said["the server's log"]
    assert "parameters" in scene.said["the server's log"].lower()
    assert "password authentication failed" in scene.said["the server's log"]
    assert "ann@acme.example" in scene.said["the database"]
    assert "SCRAM-SHA-256$" in scene.said["the database"]
    assert sum(where.startswith("standard error") for where in scene.said) > 10


def test_a_leak_would_be_found(scene):
    name, secret = next(iter(scene.secrets.items()))
    assert leaks(scene.secrets, f"postgresql://x:{quote(secret, safe='')}@host") == {name}


def test_no_command_line_has_a_secret_and_no_environment_but_where_it_was_given(scene):
    assert {pid for pid, command in scene.processes.items() if leaks(scene.secrets, command)} == set()
    held = {
        variable
        for environment in scene.environments.values()
        for variable, value in environment.items()
        if leaks(scene.secrets, value)
    }
    assert held == {"SERVICE_DATABASE_URL", "TESTORCHESTRATOR_SECRET_KEY"}
    services = [pid for pid, command in scene.processes.items() if "service.cli" in command]
    assert len(services) >= 1


def test_objects_do_not_show_what_they_hold(scene):
    """What a debugger, a log line or an error page would print of them."""
    password, secret = scene.secrets["password of the service"], scene.secrets["strict secret"]
    url = f"postgresql://{APP}:{password}@db.example/x"
    settings = read_settings(SERVICE_DATABASE_URL=url, strict_secret=secret)
    app = create_app(settings)
    pool = Pool(url, size=1)
    shown = [
        settings, settings.model_dump(), settings.model_dump_json(), app, app.asgi_app, vars(app), pool, Gateway(pool),
        StrictLogins(secret), Login("w_x", password),
        Identity(workspace_id=1, schema_name="w_x", schema_version="1", compatible_from="1", user_id=1, api_key_id=1),
    ]  # fmt: skip
    assert isinstance(app.asgi_app, PlainHttp)
    assert isinstance(settings, Settings)
    for one in shown:
        assert leaks(scene.secrets, f"{one!r} {one}") == set()
    assert {name for name in Identity.__slots__ if "key" in name} == {"api_key_id"}


@pytest.mark.parametrize("variable", ["SERVICE_DATABASE_URL", "TESTORCHESTRATOR_STRICT_SECRET"])
def test_refused_setting_does_not_repeat_its_value(variable, monkeypatch):
    secret = "short-" + secrets.token_hex(4)
    monkeypatch.setenv(variable, secret)
    monkeypatch.setenv("TESTORCHESTRATOR_PORT", f"not-a-port-{secret}")
    with pytest.raises(SettingsError) as raised:
        read_settings()
    assert secret not in f"{raised.value!r} {raised.value.__cause__!r}"
    assert raised.value.__suppress_context__


async def test_error_of_a_refused_login_does_not_repeat_the_url(watched_server):
    secret = secrets.token_hex(12)
    for url in (
        f"postgresql://nobody:{secret}@127.0.0.1:1/x",
        f"postgresql://nobody:{secret}@127.0.0.1:port/x",
        f"postgres//nobody:{secret}@127.0.0.1/x",
        with_password(watched_server.dsn(user="nobody"), secret),
    ):
        with pytest.raises(TenancyError) as raised:
            await connect(url, name="DATABASE_URL")
        error: BaseException | None = raised.value
        while error is not None:
            assert secret not in f"{error!r} {error}"
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)

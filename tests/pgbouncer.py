"""A PgBouncer of the tests' own, in transaction mode before their server, on a Unix socket."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tenancy.roles import APP

if TYPE_CHECKING:
    from tenancy.embedded import EmbeddedServer

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
MISSING = "there is no pgbouncer here: apt install pgbouncer"
#: The service's settings before 1.21, which knows nothing of prepared statements.
WITHOUT_PREPARED = {"statement_cache_size": 0}
_READY_SECONDS = 10
_STOP_SECONDS = 10
_PORT = 6432  # only a part of the socket's name

_CONFIGURATION = """
[databases]
* = host={server} port=5432 auth_user={auth_user}
[pgbouncer]
listen_addr =
listen_port = {port}
unix_socket_dir = {sockets}
auth_file = {sockets}/userlist.txt
auth_query = {auth_query}
pool_mode = transaction
max_client_conn = 500
{settings}
"""


@dataclass(frozen=True)
class PgBouncer:
    """A running PgBouncer."""

    pid: int
    sockets: Path
    log: Path

    def dsn(self, *, database: str, user: str = APP, password: str = "") -> str:
        secret = f":{quote(password, safe='')}" if password else ""
        return f"postgresql://{user}{secret}@/{database}?host={quote(str(self.sockets), safe='')}&port={_PORT}"


@contextmanager
def pgbouncer(
    server: EmbeddedServer,
    *,
    auth_user: str = "postgres",
    auth_query: str = "SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1",
    **settings: object,
):
    """Run PgBouncer before *server*, over two connections of each login; *settings* are PgBouncer's own.

    Who may log in, it asks the server as *auth_user*. As root it runs as the server's account.
    """
    if PROGRAM is None:
        pytest.skip(MISSING)
    account = pwd.getpwuid(server.data.stat().st_uid)
    chosen = {"auth_type": "trust", "default_pool_size": 2, "query_wait_timeout": 20} | settings
    folder = Path(tempfile.mkdtemp(prefix="to-pgbouncer-"))
    try:
        (folder / "pgbouncer.ini").write_text(
            _CONFIGURATION.format(
                server=server.socket_directory,
                port=_PORT,
                sockets=folder,
                auth_user=auth_user,
                auth_query=auth_query,
                settings="\n".join(f"{name} = {value}" for name, value in chosen.items()),
            )
        )
        (folder / "userlist.txt").write_text(f'"{auth_user}" ""\n')
        log = folder / "pgbouncer.log"
        options = {}
        if os.geteuid() == 0:
            for path in (folder, *folder.iterdir()):
                os.chown(path, account.pw_uid, account.pw_gid)
            options = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - a program of the system
                [PROGRAM, folder / "pgbouncer.ini"],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                **options,
            )
        try:
            _wait_until_ready(process, folder, log)
            yield PgBouncer(process.pid, folder, log)
        finally:
            process.kill()
            process.wait(_STOP_SECONDS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_ready(process: subprocess.Popen[bytes], sockets: Path, log: Path) -> None:
    until = time.monotonic() + _READY_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as attempt:
            attempt.connect(str(sockets / f".s.PGSQL.{_PORT}"))
            return
        time.sleep(0.02)
    pytest.fail(f"PgBouncer did not start: {log.read_text(errors='replace')[-500:]}")

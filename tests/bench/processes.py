"""The processes that are measured: started, watched and ended by their ids."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tests.bench.terminal import notes

if TYPE_CHECKING:
    from collections.abc import Iterator

_START_SECONDS = 30
_STOP_SECONDS = 20
#: Bytes of what a process printed.
_SHOWN = 8_000
_TICKS = os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def running(command: list[Any], *, port: int | None = None, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run *command* while the block runs, once something listens on *port*.

    The end of what it printed is shown where it does not listen, and where the block fails.
    """
    with tempfile.TemporaryFile() as printed:
        started = subprocess.Popen(  # noqa: S603 - our own programs
            [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=printed, stderr=printed, **options
        )
        try:
            if port is not None and not _listens(port, started):
                raise SystemExit(f"{command} does not listen: {_end_of(printed)}")
            try:
                yield started
            except BaseException:
                notes.print(f"{command} had printed:\n{_end_of(printed)}", markup=False)
                raise
        finally:
            started.terminate()
            try:
                started.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait()


def _end_of(printed: IO[bytes]) -> str:
    size = os.fstat(printed.fileno()).st_size
    return os.pread(printed.fileno(), _SHOWN, max(0, size - _SHOWN)).decode(errors="replace")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def family(pid: int) -> set[int]:
    """Return the ids of a process and of all that it has started."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                parents.setdefault(parent, []).append(int(folder.name))
    found, left = {pid}, [pid]
    while left:
        children = parents.get(left.pop(), [])
        found.update(children)
        left += children
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and all it has started, those included that have ended."""
    total = 0.0
    for one in family(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[13:15])) / _TICKS
            threads = Path(f"/proc/{one}/task").iterdir()
            total += sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9
    return total


def memory_mib(pid: int) -> float:
    """Return the proportional memory of a process and all it has started."""
    kib = 0
    for one in family(pid):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    kib += int(line.split()[1])
    return kib / 1024


def private_mib(pid: int) -> float:
    """Return the memory of a process that is its own alone."""
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("RssAnon")]
    return int(line.split()[1]) / 1024


def cores() -> int:
    """Return how many processors there are for us."""
    return len(os.sched_getaffinity(0))


def _listens(port: int, process: subprocess.Popen[bytes]) -> bool:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        time.sleep(0.05)
    return False

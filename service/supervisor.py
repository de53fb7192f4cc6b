"""Several processes that do one work: forked, watched, started again when they die, and ended together.

It knows nothing of the service. Whoever supervises does nothing else and has one thread, so that a fork is whole: what
was imported before is shared by all processes. Each has a line to the supervisor, whose end tells either side that the
other one is gone, however it went.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, Protocol

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

_LOG = structlog.get_logger()
_STOPS = (signal.SIGINT, signal.SIGTERM)
_READY = b"r"
#: Before it is started for the second time, the third and so on, and ever after the last.
_PAUSES = (0, 0.5, 1, 2, 4, 8, 16, 30)
#: A process that lived so long did not die of its start, nor of what killed the one before.
_LONG_SECONDS = 60
#: As often in a row may one die before it is ready.
_MOST_FALSE_STARTS = 5


class GaveUp(Exception):  # noqa: N818 - says what was done
    """A process died again and again before it was ready."""


class Line:
    """A process's end of the line to its supervisor; readable once the supervisor is gone."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end

    def ready(self) -> None:
        """Tell that the work has begun."""
        with suppress(OSError):
            self.end.send(_READY)


class Job(Protocol):
    """What one process does."""

    #: What it is called in the log.
    name: str

    def prepare(self) -> None:
        """Get what the process is to inherit, before each start."""

    def rest(self) -> None:
        """Let go of it: nobody does this work for a while, or ever."""

    def run(self, line: Line) -> int:
        """Do the work in the process, until SIGTERM, SIGINT or the end of the line; return the exit code."""


@dataclass(eq=False)
class _Process:
    job: Job
    pid: int = 0
    line: socket.socket | None = None
    start_at: float = 0.0
    started_at: float = 0.0
    is_ready: bool = False
    deaths: int = 0
    false_starts: int = 0


def supervise(jobs: Sequence[Job], *, on_ready: Callable[[], None], stop_seconds: float) -> bool:
    """Do all *jobs* until SIGINT or SIGTERM, then end them; return whether each ended by itself in *stop_seconds*.

    *on_ready* is called once, when all are ready. Raises GaveUp when one cannot be started; the others are ended first.
    """
    processes = [_Process(job) for job in jobs]
    # But for one place they wait, so that no process is half started or half forgotten when they come.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    before = {number: signal.signal(number, _interrupt) for number in _STOPS}
    try:
        with suppress(KeyboardInterrupt):
            _watch(processes, on_ready)
    finally:
        is_well = _end(processes, stop_seconds)
        while signal.sigtimedwait(_STOPS, 0):
            # Told more than once: it has stopped.
            pass
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
    return is_well


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _watch(processes: list[_Process], on_ready: Callable[[], None]) -> None:
    is_told = False
    while True:
        for process in processes:
            if process.line is None and process.start_at <= time.monotonic():
                _start(process, processes)
        due = [process.start_at for process in processes if process.line is None]
        for process in _heard(processes, max(0.0, min(due) - time.monotonic()) if due else None):
            if not _is_gone(process):
                process.is_ready = True
                process.false_starts = 0
            else:
                _plan(process, _reap(process))
        if not is_told and all(process.is_ready for process in processes):
            is_told = True
            on_ready()


def _heard(processes: list[_Process], seconds: float | None) -> list[_Process]:
    """Wait so long for something on the lines, or for a signal, which raises KeyboardInterrupt."""
    lines = {process.line: process for process in processes if process.line is not None}
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
        readable, _, _ = select.select(lines, (), (), seconds)
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    return [lines[line] for line in readable]


def _is_gone(process: _Process) -> bool:
    assert process.line is not None  # noqa: S101 - it was heard on it
    try:
        return not process.line.recv(len(_READY))
    except ConnectionError:
        return True


def _start(process: _Process, processes: list[_Process]) -> None:
    process.job.prepare()
    ours, theirs = socket.socketpair()
    # What Python still holds to write would be written twice.
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if not pid:
        ours.close()
        for other in processes:
            # What was inherited by mistake, and would outlive those whose it is.
            if other is not process:
                other.job.rest()
            if other.line is not None:
                other.line.close()
        _become(process.job, Line(theirs))
    theirs.close()
    process.pid, process.line, process.is_ready = pid, ours, False
    process.started_at = time.monotonic()


def _become(job: Job, line: Line) -> NoReturn:
    """Be the process of that job, from the fork to the end."""
    code = 1
    try:
        for number in _STOPS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
        code = job.run(line)
    except BaseException:  # noqa: BLE001 - nobody else will tell
        _LOG.exception("process_failed", process=job.name)
    finally:
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        # Not sys.exit: what is above on the stack is the supervisor's.
        os._exit(code)


def _reap(process: _Process) -> int:
    """Return the exit code of a process that has ended, negative if a signal ended it."""
    assert process.line is not None  # noqa: S101 - it was heard on it
    process.line.close()
    process.line = None
    _, status = os.waitpid(process.pid, 0)
    return os.waitstatus_to_exitcode(status)


def _plan(process: _Process, code: int) -> None:
    """Decide when a process that died is started again."""
    now = time.monotonic()
    if not process.is_ready:
        process.false_starts += 1
        if process.false_starts >= _MOST_FALSE_STARTS:
            raise GaveUp(
                f"The {process.job.name} died {process.false_starts} times before it was ready, the last time with "
                f"{_spoken(code)}. The log has the reason."
            )
    process.deaths = 1 if now - process.started_at >= _LONG_SECONDS else process.deaths + 1
    process.is_ready = False
    pause = _PAUSES[min(process.deaths, len(_PAUSES)) - 1]
    _LOG.warning("process_died", process=process.job.name, by=_spoken(code), again_in_seconds=pause)
    if pause:
        process.job.rest()
    process.start_at = now + pause


def _end(processes: list[_Process], seconds: float) -> bool:
    """End all that run, at first kindly; return whether that was enough."""
    is_well = True
    for process in processes:
        process.job.rest()
        if process.line is not None:
            os.kill(process.pid, signal.SIGTERM)
    until = time.monotonic() + seconds
    while lines := {process.line: process for process in processes if process.line is not None}:
        readable, _, _ = select.select(lines, (), (), max(0.0, until - time.monotonic()))
        for process in (lines[line] for line in readable):
            if _is_gone(process):
                # One that was still starting had nothing to end.
                is_well &= _reap(process) in {0, -signal.SIGTERM}
        if not readable:
            for process in lines.values():
                _LOG.error("process_killed", process=process.job.name, after_seconds=seconds)
                os.kill(process.pid, signal.SIGKILL)
                _reap(process)
            return False
    return is_well


def _spoken(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"

"""`serve --workers`: several processes on one port, each a whole service with its pool, its limits and its metrics.

Each has a listening socket of its own, over which the kernel spreads connections: with one for all, whoever wakes up
first takes a whole burst of them. One more process answers for all workers where metrics are wanted.
"""

from __future__ import annotations

import asyncio
import gc
import socket
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import structlog
import uvloop
from prometheus_client import CollectorRegistry

from service.http_servers import CLOSE_SECONDS
from service.metrics import Workers, serving_metrics
from service.server import check_database, listen, listening_for_metrics, serve_checked, until_signal
from service.supervisor import GaveUp, supervise
from tenancy.errors import TenancyError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from service.settings import Settings
    from service.supervisor import Line

#: What ending takes beyond what the settings allow.
_SPARE_SECONDS = 5


def serve_by_workers(settings: Settings, listening: socket.socket, *, on_ready: Callable[[], None]) -> None:
    """Serve on *listening* and beside it until a signal, finish what runs, stop; raise TenancyError if it cannot."""
    # Not on a fast loop, which leaves threads behind: processes are to be forked from this one.
    asyncio.run(check_database(settings))
    # Only now that it has the port: with it, a second service would not have found the port in use.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    with ExitStack() as stack:
        telling: list[socket.socket | None] = [None] * settings.workers
        jobs: list[_Worker | _Metrics] = []
        if settings.metrics_port is not None:
            public = stack.enter_context(listening_for_metrics(settings.metrics_host, settings.metrics_port))
            private = [stack.enter_context(listen("127.0.0.1", 0)) for _ in telling]
            telling = [*private]
            jobs.append(_Metrics(public, [one.getsockname()[1] for one in private]))
        address = listening.getsockname()[:2]
        jobs += [
            _Worker(number, settings, address, listening if number == 0 else None, telling[number])
            for number in range(settings.workers)
        ]
        # What is there already is never looked at by the collector again, so that its pages stay shared.
        gc.collect()
        gc.freeze()
        try:
            is_well = supervise(
                jobs,
                on_ready=on_ready,
                stop_seconds=settings.drain_seconds + settings.shutdown_seconds + CLOSE_SECONDS + _SPARE_SECONDS,
            )
        except GaveUp as error:
            raise TenancyError(str(error)) from error
    if not is_well:
        raise TenancyError("A worker had to be killed, or failed while it stopped. The log has more.")


def _run(work: Coroutine[None, None, None]) -> int:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)
    return 0


class _Worker:
    def __init__(
        self,
        number: int,
        settings: Settings,
        address: tuple[str, int],
        listening: socket.socket | None,
        telling: socket.socket | None,
    ) -> None:
        self.name = f"worker {number}"
        self._number = number
        self._settings = settings
        self._address = address
        self._listening = listening
        self._telling = telling

    def prepare(self) -> None:
        """Listen, if nobody has since the last one died: until then, connections wait."""
        if self._listening is None:
            self._listening = listen(*self._address, beside=True)

    def rest(self) -> None:
        """Let the other workers have the connections."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None

    def run(self, line: Line) -> int:
        """Serve."""
        assert self._listening is not None  # noqa: S101 - it was prepared
        structlog.contextvars.bind_contextvars(worker=self._number)
        settings = _share(self._settings)
        until = partial(until_signal, line.end)
        return _run(serve_checked(settings, self._listening, self._telling, until=until, on_ready=line.ready))


class _Metrics:
    name = "process for metrics"

    def __init__(self, listening: socket.socket, ports: list[int]) -> None:
        self._listening = listening
        self._ports = ports

    def prepare(self) -> None:
        """Nothing: it listens all the time."""

    def rest(self) -> None:
        """Nothing."""

    def run(self, line: Line) -> int:
        """Tell."""
        registry = CollectorRegistry()
        registry.register(Workers(self._ports))
        with serving_metrics(registry, self._listening):
            line.ready()
            return _run(until_signal(line.end))


def _share(settings: Settings) -> Settings:
    """Return what one of the workers allows.

    What is to slow down strangers is divided, as they come over any number of connections. The calls of a key are
    not: most clients have one connection, and would get a part of what they may.
    """
    shared = {
        name: -(-getattr(settings, name) // settings.workers)
        for name in ("sign_ins_per_minute", "wrong_keys_per_minute", "guest_pages_per_minute")
    }
    return settings.model_copy(update=shared)

"""What Prometheus is told of this process, on a port of its own: numbers, and never of whom.

Requests are counted from what the log knows of them; pools and the gateway count for themselves, and are read when
somebody asks. Every process of one worker has its own port. Of several workers one process tells (`Workers`), which
asks each of them and adds nothing up: a worker that is new would take back what was counted, and Prometheus can add.
"""

from __future__ import annotations

import http.client
import platform
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    Info,
    Metric,
    ProcessCollector,
    make_wsgi_app,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from tenancy.errors import ERROR_CLASSES

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from service.mcp.call_log import Entry
    from tenancy.pool import Pool
    from tenancy.session import Gateway

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_PATIENCE_SECONDS = 2
# There from the start, or the first one of them would be no increase.
_STATUSES = (200, 202, 400, 401, 403, 408, 413, 429, 431, 500, 503)
_CODES = ("BUSY", "TIMEOUT", "SERVER_FAULT", "-32603")


class Metrics:
    """The numbers of one process."""

    def __init__(self, *, version: str, schema_version: str) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        build = Info("testorchestrator_build", "The release that runs.", registry=registry)
        build.info({"version": version, "schema_version": schema_version, "python": platform.python_version()})
        requests = Counter(
            "testorchestrator_requests",
            "Requests to the endpoint, by method, tool and outcome.",
            ("method", "tool", "outcome"),
            registry=registry,
        )
        seconds = Histogram(
            "testorchestrator_request_seconds",
            "From the headers of a request to its answer.",
            ("method", "tool"),
            buckets=_SECONDS,
            registry=registry,
        )
        responses = Counter(
            "testorchestrator_responses", "Answers of the endpoint, by HTTP status.", ("status",), registry=registry
        )
        errors = Counter(
            "testorchestrator_errors",
            "Requests that ended in an error, by the code of the tool or of JSON-RPC.",
            ("code",),
            registry=registry,
        )
        self._authentication = Histogram(
            "testorchestrator_authentication_seconds",
            "Looking up a key that was not looked up within the last minute, the wait for a connection included.",
            buckets=_SECONDS,
            registry=registry,
        )
        # The library's own way to a label is the dearest part of counting. There are as many as tools and outcomes.
        self._request = lru_cache(maxsize=None)(requests.labels)
        self._seconds = lru_cache(maxsize=None)(seconds.labels)
        self._response = lru_cache(maxsize=None)(responses.labels)
        self._error = lru_cache(maxsize=None)(errors.labels)
        for status in _STATUSES:
            self._response(status)
        for code in _CODES:
            self._error(code)

    def watch(self, gateway: Gateway, pools: Mapping[str, Pool]) -> None:
        """Tell of these too."""
        self.registry.register(_Database(gateway, pools))

    def observe(self, entry: Entry, seconds: float) -> None:
        """Count a request that has been answered."""
        # Whoever was refused was not asked for a method; names that clients make up are all "unknown".
        method, tool = entry.method or "none", entry.tool or "none"
        self._request(method, tool, entry.outcome).inc()
        self._seconds(method, tool).observe(seconds)
        if entry.status is not None:
            self._response(entry.status).inc()
        if entry.code is not None:
            self._error(entry.code).inc()
        if entry.authentication_seconds is not None:
            self._authentication.observe(entry.authentication_seconds)


class _Database(Collector):
    def __init__(self, gateway: Gateway, pools: Mapping[str, Pool]) -> None:
        self._gateway = gateway
        self._pools = pools

    def collect(self) -> Iterable[Metric]:
        size = GaugeMetricFamily("testorchestrator_pool_size", "Most connections to the database.", labels=["pool"])
        connections = GaugeMetricFamily(
            "testorchestrator_pool_connections",
            "Connections by state: in_use, idle or closing.",
            labels=["pool", "state"],
        )
        waiting = GaugeMetricFamily(
            "testorchestrator_pool_waiting",
            "Requests that wait for a connection, or for one of their own.",
            labels=["pool"],
        )
        waits = CounterMetricFamily(
            "testorchestrator_pool_waits", "Requests that had to wait for one.", labels=["pool"]
        )
        waited = CounterMetricFamily("testorchestrator_pool_wait_seconds", "How long they waited.", labels=["pool"])
        refused = CounterMetricFamily("testorchestrator_pool_refused", "Those who waited in vain.", labels=["pool"])
        over_share = CounterMetricFamily(
            "testorchestrator_pool_over_share",
            "Those who did since their workspace had its share, and are not among the others.",
            labels=["pool"],
        )
        failed = CounterMetricFamily(
            "testorchestrator_pool_connect_failures", "Connections that could not be made.", labels=["pool"]
        )
        for name, pool in self._pools.items():
            usage = pool.usage
            size.add_metric([name], usage.size)
            connections.add_metric([name, "in_use"], usage.in_use)
            connections.add_metric([name, "idle"], usage.idle)
            connections.add_metric([name, "closing"], usage.closing)
            waiting.add_metric([name], usage.waiting)
            waits.add_metric([name], usage.waits)
            waited.add_metric([name], usage.waited_seconds)
            refused.add_metric([name], usage.refused)
            over_share.add_metric([name], usage.over_share)
            failed.add_metric([name], usage.failed)
        errors = CounterMetricFamily(
            "testorchestrator_database_errors",
            "Transactions that ended in an error of the database, by its class.",
            labels=["class"],
        )
        for kind in ERROR_CLASSES:
            errors.add_metric([kind], self._gateway.errors[kind])
        return size, connections, waiting, waits, waited, refused, over_share, failed, errors


class Workers(Collector):
    """What several workers tell, each on its port of this machine's loopback; every sample says whose it is."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports

    def collect(self) -> Iterable[Metric]:
        """Ask all at once; of one that does not answer in time nothing is told but that."""
        with ThreadPoolExecutor(len(self._ports)) as pool:
            answers = list(pool.map(_ask, self._ports))
        up = GaugeMetricFamily("testorchestrator_worker_up", "Whether the worker answered just now.", labels=["worker"])
        families: dict[str, Metric] = {}
        for number, answer in enumerate(answers):
            up.add_metric([str(number)], answer is not None)
            for family in answer or ():
                whole = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                whole.samples += [
                    sample._replace(labels={**sample.labels, "worker": str(number)}) for sample in family.samples
                ]
        return up, *families.values()

    def describe(self) -> Iterable[Metric]:
        """Return nothing, so that registering asks nobody."""
        return ()


def _ask(port: int) -> list[Metric] | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_SECONDS)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return list(text_string_to_metric_families(text))


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing: who reads the metrics is no event."""


@contextmanager
def serving_metrics(registry: CollectorRegistry, listening: socket.socket) -> Iterator[None]:
    """Answer `GET /metrics` on *listening* in a thread of its own, which a busy event loop cannot hold up."""
    server = _Server(address := listening.getsockname()[:2], _Silent, bind_and_activate=False)
    server.socket.close()
    server.socket = listening
    server.server_name, server.server_port = address
    server.set_app(make_wsgi_app(registry))
    server.setup_environ()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

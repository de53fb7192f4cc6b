"""The load generator, a program of its own: many connections, each sending messages in random order, one at a time.

Reads {"ports", "connections", "seconds", "messages"} as JSON on standard input; prints requests a second, quantiles of
their latencies in milliseconds, and the CPU seconds that it used itself. Messages are whole requests; connections go to
the ports in turn.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import sys
import time

import httptools
import uvloop

_OK = 200
_QUANTILES = (0.5, 0.9, 0.99)


class _Connection(asyncio.Protocol):
    """One client: as soon as an answer is whole, the next message goes out."""

    def __init__(
        self, port: int, messages: list[bytes], until: float, latencies: list[float], done: asyncio.Future[None]
    ) -> None:
        self._port = port
        self._messages = messages
        self._until = until
        self._latencies = latencies
        self._done = done
        self._began = 0.0
        self._ends = False
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._ends = False
        self._next()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, part: bytes) -> None:
        # An error is told at the beginning.
        self._body = self._body or part

    def on_message_complete(self) -> None:
        status, body = self._parser.get_status_code(), self._body
        if status != _OK or b'"isError":true' in body or b'"error"' in body[:60]:
            self._fail(f"the server answered {status}: {body[:300]!r}")
            return
        self._body = b""
        self._latencies.append(time.perf_counter() - self._began)
        if self._parser.should_keep_alive():
            self._next()
        else:
            self._ends = True

    def connection_lost(self, exc: Exception | None) -> None:
        if self._ends:
            self._parser = httptools.HttpResponseParser(self)
            self._again = asyncio.ensure_future(self.connect())
        elif not self._done.done():
            self._fail(f"the connection was closed: {exc}")

    async def connect(self) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self._port)

    def _next(self) -> None:
        self._began = time.perf_counter()
        if self._began >= self._until:
            self._done.set_result(None)
            self._transport.close()
        else:
            self._transport.write(random.choice(self._messages))  # type: ignore[attr-defined]  # noqa: S311

    def _fail(self, why: str) -> None:
        self._done.set_exception(SystemExit(why))
        self._transport.close()


async def _run(order: dict[str, object]) -> dict[str, float]:
    messages = [message.encode("latin-1") for message in order["messages"]]  # type: ignore[attr-defined]
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    start = time.perf_counter()
    until = start + order["seconds"]  # type: ignore[operator]
    done = [loop.create_future() for _ in range(order["connections"])]  # type: ignore[call-overload]
    for one, port in zip(done, itertools.cycle(order["ports"]), strict=False):  # type: ignore[call-overload]
        await _Connection(port, messages, until, latencies, one).connect()
    await asyncio.gather(*done)
    took = time.perf_counter() - start
    latencies.sort()
    return {
        "per_second": len(latencies) / took,
        "requests": len(latencies),
        "cpu": time.process_time(),
        **{f"p{round(q * 100)}_ms": latencies[int(len(latencies) * q)] * 1000 for q in _QUANTILES},
    }


if __name__ == "__main__":
    print(json.dumps(uvloop.run(_run(json.load(sys.stdin)))))  # noqa: T201

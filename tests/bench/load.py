"""The load generator, a program of its own: many connections, each sending messages in random order, one at a time.

Reads {"host", "port", "connections", "seconds", "messages"} as JSON on standard input; prints requests a second, the
quantiles of their latencies in milliseconds, and the CPU seconds that it used itself. Messages are whole requests.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time

import uvloop

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"
_QUANTILES = (0.5, 0.9, 0.99)


class _Connection(asyncio.Protocol):
    """One client: as soon as an answer is whole, the next message goes out."""

    def __init__(self, messages: list[bytes], until: float, latencies: list[float], done: asyncio.Future[None]) -> None:
        self._messages = messages
        self._until = until
        self._latencies = latencies
        self._done = done
        self._received = b""
        self._missing = 0
        self._began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        if self._missing:
            # The head is read, and known to be good.
            self._missing -= len(data)
        else:
            self._received += data
            head, end, body = self._received.partition(_HEAD_END)
            if not end:
                return
            lower = head.lower()
            if not lower.startswith(b"http/1.1 200") or b'"isError":true' in body or b'"error"' in body[:60]:
                self._fail(f"the server answered {head[:40]!r}: {body[:300]!r}")
                return
            self._missing = int(lower.partition(_LENGTH)[2].partition(b"\r\n")[0]) - len(body)
            self._received = b""
        if not self._missing:
            self._latencies.append(time.perf_counter() - self._began)
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._fail(f"the connection was closed: {exc}")

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
    for one in done:
        await loop.create_connection(
            lambda one=one: _Connection(messages, until, latencies, one), order["host"], order["port"]
        )
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

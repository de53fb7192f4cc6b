"""A small load generator: one prepared POST over kept connections. Prints requests, seconds and latencies as JSON.

It runs in a process of its own, so that it shares nothing with what it measures but the machine.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time

import uvloop

_END = b"\r\n\r\n"


async def _requests(host: str, port: int, message: bytes, until: float, latencies: list[float]) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        while (start := time.perf_counter()) < until:
            writer.write(message)
            head = (await reader.readuntil(_END)).lower()
            status = int(head.split(b" ", 2)[1])
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            if status != 200 or b'"isError":true' in body or b'"error"' in body[:60]:
                raise SystemExit(f"the server answered {status}: {body[:300]!r}")
            latencies.append(time.perf_counter() - start)
    finally:
        writer.close()


async def _run(host: str, port: int, message: bytes, connections: int, seconds: float) -> dict[str, float]:
    latencies: list[float] = []
    start = time.perf_counter()
    until = start + seconds
    await asyncio.gather(*(_requests(host, port, message, until, latencies) for _ in range(connections)))
    took = time.perf_counter() - start
    cuts = statistics.quantiles(latencies, n=100)
    return {
        "per_second": len(latencies) / took,
        "median_ms": statistics.median(latencies) * 1000,
        "p99_ms": cuts[98] * 1000,
    }


if __name__ == "__main__":
    host, port, connections, seconds = sys.argv[1:]
    message = sys.stdin.buffer.read()
    print(json.dumps(uvloop.run(_run(host, int(port), message, int(connections), float(seconds)))))  # noqa: T201

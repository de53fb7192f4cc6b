"""Servers that people would build on otherwise, each with one tool that does nothing and no database, and our floor.

Each is as its documentation has it fastest: stateless, answering in JSON, on uvloop and httptools where it is Python;
and in the modern era too, which costs most of them less. A call of the tool is answered before one is measured.
"""

from __future__ import annotations

import importlib.metadata
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.calls import http_request
from tests.bench.processes import free_port, running
from tests.bench.served import ROOT, ask
from tests.clients.environments import PROGRAMS, node, pinned, python

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable

_PROGRAMS = Path(__file__).parent / "peers"


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A server: its program, what runs that, and its version. One that is *modern* is called in the modern era.

    To make its *interpreter* raises NotInstalled where its packages cannot be had.
    """

    name: str
    program: str
    version: Callable[[], str]
    interpreter: Callable[[], Path | str] = lambda: sys.executable
    modern: bool = False

    def start(self, stack: contextlib.ExitStack) -> tuple[int, int]:
        """Start it until the stack ends, and see that it answers; its port and process id."""
        port = free_port()
        # Node.js finds packages beside the program alone, so it is told where they are.
        command: list[Any] = [self.interpreter(), _PROGRAMS / self.program, port, PROGRAMS / "package.json"]
        started = stack.enter_context(running(command, port=port, cwd=ROOT))
        answer = ask(port, self.request(port))
        if b" 200 " not in answer.partition(b"\r\n")[0] or b'"ok":true' not in answer.replace(b" ", b""):
            raise SystemExit(f"{self.name} does not answer as it should: {answer[:1000]!r}")
        return port, started.pid

    def request(self, port: int) -> str:
        """Return a call of its tool."""
        return http_request(port, "tools/call", {"name": "nothing", "arguments": {}}, modern=self.modern)


def _installed(package: str) -> Callable[[], str]:
    return lambda: importlib.metadata.version(package)


def _pinned(package: str) -> Callable[[], str]:
    return lambda: pinned()[package]


_SDK = Contender(name="Python SDK, no-op", program="sdk.py", version=_installed("mcp"))
_FASTMCP = Contender(
    name="FastMCP, no-op",
    program="fastmcp_server.py",
    version=_pinned("fastmcp"),
    interpreter=lambda: python("fastmcp"),
)
PYTHON_SDK = {
    "handshake era": _SDK,
    "modern era": replace(_SDK, name="Python SDK, no-op, modern era", modern=True),
}
PEERS = (
    *PYTHON_SDK.values(),
    _FASTMCP,
    replace(_FASTMCP, name="FastMCP, no-op, modern era", modern=True),
    Contender(
        name="TypeScript SDK 1, no-op",
        program="typescript_1.mjs",
        version=_pinned("@modelcontextprotocol/sdk"),
        interpreter=node,
    ),
    # It answers clients of the other era with a stream of events, which costs more.
    Contender(
        name="TypeScript SDK 2, no-op, modern era",
        program="typescript_2.mjs",
        version=_pinned("@modelcontextprotocol/server"),
        interpreter=node,
        modern=True,
    ),
)
QUART = Contender(name="plain Quart route", program="quart_route.py", version=_installed("quart"))
FLOOR = (QUART, Contender(name="bare ASGI", program="bare_asgi.py", version=_installed("hypercorn")))

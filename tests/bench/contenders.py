"""Servers that people would build on otherwise, each with one tool that does nothing and no database, and our floor.

Each is in the fastest set-up that its documentation has: stateless, answering in JSON, uvloop and httptools for Python.
"""

from __future__ import annotations

import importlib.metadata
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.calls import http_request
from tests.clients import environments
from tests.clients.environments import PROGRAMS, NotInstalled, pinned

if TYPE_CHECKING:
    from collections.abc import Callable

_PROGRAMS = Path(__file__).parent / "peers"
_PACKAGES = PROGRAMS / "package.json"


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A server: its program and what runs it; one that is *modern* streams to clients of the other era."""

    name: str
    program: str
    interpreter: Callable[[], Path | str] = lambda: sys.executable
    version: Callable[[], str]
    modern: bool = False

    def command(self, port: int) -> list[Any]:
        """Return the command that serves on *port*; raises NotInstalled where its packages cannot be had."""
        return [self.interpreter(), _PROGRAMS / self.program, port, _PACKAGES]

    def request(self, port: int) -> str:
        """Return a call of the tool."""
        return http_request(port, "tools/call", {"name": "nothing", "arguments": {}}, modern=self.modern)


def _ours(package: str) -> Callable[[], str]:
    return lambda: importlib.metadata.version(package)


PYTHON_SDK = Peer(name="Python SDK, no-op", program="sdk.py", version=_ours("mcp"))
QUART = Peer(name="plain Quart route", program="quart_route.py", version=_ours("quart"))
PEERS = (
    PYTHON_SDK,
    Peer(
        name="FastMCP, no-op",
        program="fastmcp_server.py",
        interpreter=lambda: environments.python("fastmcp"),
        version=lambda: pinned()["fastmcp"],
    ),
    Peer(
        name="TypeScript SDK v1, no-op",
        program="typescript_1.mjs",
        interpreter=environments.node,
        version=lambda: pinned()["@modelcontextprotocol/sdk"],
    ),
    Peer(
        name="TypeScript SDK v2, no-op",
        program="typescript_2.mjs",
        interpreter=environments.node,
        version=lambda: pinned()["@modelcontextprotocol/server"],
        modern=True,
    ),
    QUART,
    Peer(name="bare ASGI", program="bare_asgi.py", version=_ours("hypercorn")),
)

__all__ = ["PEERS", "PYTHON_SDK", "QUART", "NotInstalled", "Peer"]

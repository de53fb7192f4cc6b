"""The clients that are tried, each in every era that it speaks, and what its user is told about a wrong key."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.snippets import snippets
from tests.clients.environments import NODE_MODULES, PROGRAMS, node, python

if TYPE_CHECKING:
    from collections.abc import Callable

MATRIX = "clients"
STEPS = ("connect", "list", "read", "write", "argument error", "tool error", "wrong key")
LEGACY, MODERN = "2025-11-25", "2026-07-28"
# In what a program is to start, it stands for the key.
KEY = "KEY"
# What the service says; some clients show less.
SAID = "Unauthorized: the API key is missing, invalid, revoked or expired. Create one under Profile > API Keys"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A client in one era. *command* makes what the program is started with, *bridge* what it is to start for a URL.

    A client that is left to choose has the era auto.
    """

    client: str
    package: str
    era: str
    speaks: str
    command: Callable[[], list[Any]]
    bridge: Callable[[str], dict[str, Any]] | None = None
    wrong_key: str = SAID

    def __str__(self) -> str:
        return f"{self.client} {self.era}"


def _python_2() -> list[Any]:
    return [sys.executable, PROGRAMS / "python_sdk_2.py"]


def _remote(url: str) -> dict[str, Any]:
    """Return what our snippet says, but for where the bridge comes from."""
    [text] = [snippet.text for snippet in snippets(url, KEY) if snippet.client == "Claude Desktop"]
    server = json.loads(text)["mcpServers"]["testorchestrator"]
    assert server["args"][:2] == ["-y", "mcp-remote"]
    return {
        "command": [node(), NODE_MODULES / "mcp-remote" / "dist" / "proxy.js", *server["args"][2:]],
        "env": server["env"],
    }


def _inspector(era: str) -> Callable[[str], dict[str, Any]]:
    cli = [NODE_MODULES / ".bin" / "mcp-inspector", "--cli"]
    options = ["--header", f"Authorization: Bearer {KEY}", "--stored-auth-only", "--format", "json"]
    return lambda url: {"command": [node(), *cli, url, "--transport", "http", *options, "--protocol-era", era]}


RUNS = (
    *(
        Run(client="Python SDK 2", package="mcp", era=era, speaks=speaks, command=_python_2)
        for era, speaks in (("auto", MODERN), ("legacy", LEGACY), ("modern", MODERN))
    ),
    Run(
        client="Python SDK 1",
        package="mcp 1",
        era="legacy",
        speaks=LEGACY,
        command=lambda: [python("python-sdk-1"), PROGRAMS / "python_sdk_1.py"],
        wrong_key="Client error '401",
    ),
    *(
        Run(
            client="FastMCP",
            package="fastmcp",
            era=era,
            speaks=speaks,
            command=lambda: [python("fastmcp"), PROGRAMS / "fastmcp_client.py"],
        )
        for era, speaks in (("auto", MODERN), ("legacy", LEGACY))
    ),
    Run(
        client="TypeScript SDK 1",
        package="@modelcontextprotocol/sdk",
        era="legacy",
        speaks=LEGACY,
        command=lambda: [node(), PROGRAMS / "typescript_1.mjs"],
    ),
    *(
        Run(
            client="TypeScript SDK 2",
            package="@modelcontextprotocol/client",
            era=era,
            speaks=speaks,
            command=lambda: [node(), PROGRAMS / "typescript_2.mjs"],
            wrong_key=wrong_key,
        )
        for era, speaks, wrong_key in (
            ("legacy", LEGACY, SAID),
            ("auto", MODERN, "Version negotiation failed: the server requires authorization (HTTP 401)"),
            ("modern", MODERN, "Version negotiation failed: the server requires authorization (HTTP 401)"),
        )
    ),
    *(
        Run(
            client="Inspector",
            package="@modelcontextprotocol/inspector",
            era=era,
            speaks=speaks,
            command=lambda: [sys.executable, PROGRAMS / "inspector.py"],
            bridge=_inspector(era),
            wrong_key=wrong_key,
        )
        for era, speaks, wrong_key in (
            ("legacy", LEGACY, SAID),
            ("modern", MODERN, "Version negotiation failed: the server requires authorization (HTTP 401)"),
        )
    ),
    *(
        Run(
            client="mcp-remote",
            package="mcp-remote",
            era=era,
            speaks=speaks,
            command=_python_2,
            bridge=_remote,
            wrong_key="Dynamic Client Registration rejected (HTTP 403)",
        )
        for era, speaks in (("legacy", LEGACY), ("auto", MODERN))
    ),
)

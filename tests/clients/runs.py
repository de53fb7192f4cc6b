"""The clients that are tried, each in every era that it speaks, and what its user is told about a wrong key."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.clients.environments import NODE_MODULES, PROGRAMS, node, python

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS = ("connect", "list", "read", "write", "argument error", "tool error", "wrong key")
LEGACY, MODERN = "2025-11-25", "2026-07-28"
# What the service says; some clients show less.
SAID = "Unauthorized: the API key is missing, invalid, revoked or expired. Create one under Profile > API Keys"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A client in one era. *command* makes what the program is started with, and *bridge* what it is to start itself.

    A client that is left to choose has the era auto.
    """

    client: str
    era: str
    speaks: str
    command: Callable[[], list[Any]]
    bridge: Callable[[str], list[Any]] | None = None
    wrong_key: str = SAID

    def __str__(self) -> str:
        return f"{self.client} {self.era}"


def _python_2() -> list[Any]:
    return [sys.executable, PROGRAMS / "python_sdk_2.py"]


def _remote(url: str) -> list[Any]:
    return [node(), NODE_MODULES / "mcp-remote" / "dist" / "proxy.js", url, "--header", "Authorization: Bearer KEY"]


def _inspector(era: str) -> Callable[[str], list[Any]]:
    cli = [NODE_MODULES / ".bin" / "mcp-inspector", "--cli"]
    options = ["--transport", "http", "--header", "Authorization: Bearer KEY", "--stored-auth-only", "--format", "json"]
    return lambda url: [node(), *cli, url, *options, "--protocol-era", era]


RUNS = (
    *(
        Run(client="Python SDK 2", era=era, speaks=speaks, command=_python_2)
        for era, speaks in (("auto", MODERN), ("legacy", LEGACY), ("modern", MODERN))
    ),
    Run(
        client="Python SDK 1",
        era="legacy",
        speaks=LEGACY,
        command=lambda: [python("python-sdk-1"), PROGRAMS / "python_sdk_1.py"],
        wrong_key="Client error '401",
    ),
    *(
        Run(
            client="FastMCP",
            era=era,
            speaks=speaks,
            command=lambda: [python("fastmcp"), PROGRAMS / "fastmcp_client.py"],
        )
        for era, speaks in (("auto", MODERN), ("legacy", LEGACY))
    ),
    Run(
        client="TypeScript SDK 1",
        era="legacy",
        speaks=LEGACY,
        command=lambda: [node(), PROGRAMS / "typescript_1.mjs"],
    ),
    *(
        Run(
            client="TypeScript SDK 2",
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
            era=era,
            speaks=speaks,
            command=_python_2,
            bridge=_remote,
            wrong_key="Dynamic Client Registration rejected (HTTP 403)",
        )
        for era, speaks in (("legacy", LEGACY), ("auto", MODERN))
    ),
)

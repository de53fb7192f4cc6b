"""What to paste into a client to connect it, filled in with a key."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass

_NAME = "testorchestrator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snippet:
    """The *text* to paste for a client, and where it goes."""

    client: str
    where: str
    text: str


def snippets(url: str, key: str) -> tuple[Snippet, ...]:
    """Return the snippets for the endpoint *url* and the *key*."""
    header = f"Authorization: Bearer {key}"
    headers = {"Authorization": f"Bearer {key}"}
    return (
        Snippet(
            client="Claude Code",
            where="in a terminal",
            text=f"claude mcp add --transport http {_NAME} {url} --header {shlex.quote(header)}",
        ),
        Snippet(client="Cursor", where=".cursor/mcp.json", text=_server({"url": url, "headers": headers})),
        Snippet(
            client="Claude Desktop",
            where="and other clients that take remote servers",
            text=_server({"type": "http", "url": url, "headers": headers}),
        ),
        Snippet(
            client="mcp-remote",
            where="for clients that only start local servers",
            text=_server({"command": "npx", "args": ["mcp-remote", url, "--header", header]}),
        ),
    )


def _server(server: dict[str, object]) -> str:
    return json.dumps({"mcpServers": {_NAME: server}}, indent=2)

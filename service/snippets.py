"""What to paste into a client to connect it, filled in with a key; docs/clients.md has the same."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = "testorchestrator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snippet:
    """The *text* to paste for a client, and where it goes. *language* is for highlighting."""

    client: str
    where: str
    text: str
    language: str = "json"


def snippets(url: str, key: str) -> tuple[Snippet, ...]:
    """Return the snippets for the endpoint *url* and the *key*, the most usual clients first."""
    bearer = f"Bearer {key}"
    header = shlex.quote(f"Authorization: {bearer}")
    headers = {"Authorization": bearer}
    server = {"url": url, "headers": headers}
    # An argument with a space is broken up by some clients on Windows, and the list of processes shows it to everybody.
    bridge = {
        "command": "npx",
        "args": ["-y", "mcp-remote", url, "--header", "Authorization:${AUTHORIZATION}"],
        "env": {"AUTHORIZATION": bearer},
    }
    return (
        Snippet(
            client="Claude Code",
            where="in a terminal",
            text=f"claude mcp add --transport http {_NAME} {url} --header {header}",
            language="sh",
        ),
        Snippet(client="Cursor", where=".cursor/mcp.json", text=_json("mcpServers", server)),
        Snippet(client="VS Code", where=".vscode/mcp.json", text=_json("servers", {"type": "http", **server})),
        Snippet(
            client="Claude Desktop",
            where="claude_desktop_config.json; it needs Node.js. So do other clients that only start local servers",
            text=_json("mcpServers", bridge),
        ),
        Snippet(
            client="Codex",
            where="in a terminal; the variable must be there whenever Codex runs",
            text=f"export QA_KEY={shlex.quote(key)}\ncodex mcp add {_NAME} --url {url} --bearer-token-env-var QA_KEY",
            language="sh",
        ),
        Snippet(
            client="Gemini CLI",
            where="in a terminal",
            text=f"gemini mcp add --scope user --transport http {_NAME} {url} --header {header}",
            language="sh",
        ),
        Snippet(
            client="opencode",
            where="opencode.json",
            text=_json("mcp", {"type": "remote", "url": url, "oauth": False, "headers": headers}),
        ),
        Snippet(
            client="Windsurf",
            where="~/.codeium/windsurf/mcp_config.json",
            text=_json("mcpServers", {"serverUrl": url, "headers": headers}),
        ),
        Snippet(client="Zed", where="settings.json", text=_json("context_servers", server)),
    )


def _json(section: str, server: Mapping[str, object]) -> str:
    return json.dumps({section: {_NAME: server}}, indent=2, ensure_ascii=False)

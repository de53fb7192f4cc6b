"""A page of another origin calls the endpoint, in a real browser: as a client of MCP does that runs in one."""

from __future__ import annotations

import http.server
import threading
from contextlib import ExitStack

import pytest

from tests.conftest import serving
from tests.web.test_browser import chromium, pytestmark

__all__ = ["chromium", "pytestmark"]

#: Calls, and tells what the page got to see.
CALL = """
async ([url, key, method, params, headers]) => {
    try {
        const answer = await fetch(url, {
            method: "POST",
            headers: {
                "Accept": "application/json, text/event-stream",
                "Authorization": `Bearer ${key}`,
                "Content-Type": "application/json",
                ...headers,
            },
            body: JSON.stringify({jsonrpc: "2.0", id: 1, method, params}),
        });
        return [answer.status, await answer.json(), answer.headers.get("WWW-Authenticate")];
    } catch (error) {
        return [0, error.name, null];
    }
}
"""
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>A client</title>")

    def log_message(self, *_):
        pass


@pytest.fixture
def elsewhere():
    """Where the page of the client is."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


async def tell(page, url, key, method, params, **headers):
    return await page.evaluate(CALL, [url, key, method, params, headers])


async def test_an_allowed_page_calls_and_another_does_not(chromium, world, acme, elsewhere):
    key = acme.people["lead"].key
    with ExitStack() as stack:
        host, port = stack.enter_context(serving(world.service_url, allowed_origins=elsewhere))
        url = f"http://{host}:{port}/mcp"
        page = await chromium.new_page()
        await page.goto(elsewhere)
        initialize = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
        status, answer, _ = await tell(page, url, key, "initialize", initialize)
        assert (status, answer["result"]["protocolVersion"]) == (200, "2025-11-25")
        legacy = {"Mcp-Protocol-Version": "2025-11-25", "Mcp-Session-Id": "x", "Last-Event-ID": "1"}
        status, answer, _ = await tell(page, url, key, "tools/call", {"name": "get_projects"}, **legacy)
        assert (status, answer["result"]["structuredContent"]["total"]) == (200, 1)
        modern = {"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "get_projects"}
        params = {"name": "get_projects", "_meta": META}
        status, answer, _ = await tell(page, url, key, "tools/call", params, **modern)
        assert (status, answer["result"]["structuredContent"]["total"]) == (200, 1)
        # What went wrong a page can tell its user.
        status, answer, challenge = await tell(page, url, "wrong", "ping", {})
        assert status == 401
        assert "Profile > API Keys" in answer["error"]["message"]
        assert challenge.startswith("Bearer ")
        # The world's own service allows no page.
        assert await tell(page, f"http://{world.host}:{world.port}/mcp", key, "ping", {}) == [0, "TypeError", None]
        await page.close()

"""The peer: the official Python SDK's server with one tool that does nothing, stateless and answering in JSON."""

from __future__ import annotations

import logging
import sys

from mcp.server import MCPServer

logging.disable(logging.CRITICAL)
server = MCPServer("peer")


@server.tool()
def nothing() -> dict[str, bool]:
    """Do nothing."""
    return {"ok": True}


if __name__ == "__main__":
    server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]), json_response=True, stateless_http=True)

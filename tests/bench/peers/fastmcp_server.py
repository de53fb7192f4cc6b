"""FastMCP's server with one tool that does nothing."""

from __future__ import annotations

import logging
import sys

import uvicorn
from fastmcp import FastMCP

logging.disable(logging.CRITICAL)
server = FastMCP("peer")


@server.tool
async def nothing() -> dict[str, bool]:
    """Do nothing."""
    return {"ok": True}


if __name__ == "__main__":
    app = server.http_app(json_response=True, stateless_http=True)
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False, log_config=None
    )

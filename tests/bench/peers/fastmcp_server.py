"""FastMCP's server with one tool that does nothing, stateless and answering in JSON."""

from __future__ import annotations

import logging
import sys

from fastmcp import FastMCP

logging.disable(logging.CRITICAL)
server = FastMCP("peer")


@server.tool
def nothing() -> dict[str, bool]:
    """Do nothing."""
    return {"ok": True}


if __name__ == "__main__":
    server.run(
        "http",
        show_banner=False,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        json_response=True,
        stateless_http=True,
        log_level="critical",
        uvicorn_config={"access_log": False},
    )

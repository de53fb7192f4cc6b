"""A plain Quart route on Hypercorn that takes JSON and answers JSON: what our own stack costs without any of us."""

from __future__ import annotations

import sys

from hypercorn.config import Config
from quart import Quart, jsonify, request

app = Quart(__name__)


@app.post("/mcp")
async def answer():
    message = await request.get_json()
    return jsonify({"jsonrpc": "2.0", "id": message["id"], "result": {"ok": True}})


if __name__ == "__main__":
    import uvloop
    from hypercorn.asyncio import serve

    config = Config()
    config.bind = [f"127.0.0.1:{sys.argv[1]}"]
    uvloop.run(serve(app, config))

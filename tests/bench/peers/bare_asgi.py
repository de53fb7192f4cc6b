"""A bare ASGI application on Hypercorn that reads a body and answers with a constant: the floor."""

from __future__ import annotations

import sys

import uvloop
from hypercorn.asyncio import serve
from hypercorn.config import Config

BODY = b'{"jsonrpc":"2.0","id":1,"result":{"ok":true}}'


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    more = True
    while more:
        more = (await receive()).get("more_body", False)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY, "more_body": False})


if __name__ == "__main__":
    config = Config()
    config.bind = [f"127.0.0.1:{sys.argv[1]}"]
    uvloop.run(serve(app, config))

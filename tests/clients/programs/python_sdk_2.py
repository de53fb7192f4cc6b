"""The Python SDK from version 2 on, over HTTP, or over stdio where the task has a *bridge*."""

from __future__ import annotations

import json
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from steps import messages, run


@dataclass
class Session:
    client: Client

    @property
    def version(self) -> str:
        return self.client.protocol_version

    @property
    def server(self) -> str | None:
        return self.client.server_info and self.client.server_info.name

    async def tools(self) -> list[str]:
        return [tool.name for tool in (await self.client.list_tools()).tools]

    async def call(self, tool: str, arguments: dict[str, Any]) -> Any:
        result = await self.client.call_tool(tool, arguments)
        return {"error": result.content[0].text} if result.is_error else result.structured_content


def connected(task: dict[str, Any], key: str):
    return (bridged if "bridge" in task else direct)(task, key)


@asynccontextmanager
async def direct(task: dict[str, Any], key: str):
    mode = {"modern": "2026-07-28"}.get(task["era"], task["era"])
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}) as http,
        Client(streamable_http_client(task["url"], http_client=http), mode=mode) as client,
    ):
        yield Session(client)


@asynccontextmanager
async def bridged(task: dict[str, Any], key: str):
    """Connect through a bridge. If that fails, its log is what the user can look into."""
    filled = json.loads(json.dumps(task["bridge"]).replace("KEY", key))
    command, *arguments = filled["command"]
    bridge = StdioServerParameters(command=command, args=arguments, env=filled["env"])
    with tempfile.TemporaryFile("w+") as log:
        try:
            async with Client(stdio_client(bridge, errlog=log), mode=task["era"]) as client:
                yield Session(client)
        except Exception as error:
            log.seek(0)
            raise ConnectionError(f"{' '.join(messages(error))}\n{log.read()}") from error


run(connected)

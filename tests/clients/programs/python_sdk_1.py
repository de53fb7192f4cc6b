"""The Python SDK before version 2."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from steps import run


@dataclass
class Session:
    client: ClientSession
    version: str
    server: str

    async def tools(self) -> list[str]:
        return [tool.name for tool in (await self.client.list_tools()).tools]

    async def call(self, tool: str, arguments: dict[str, Any]) -> Any:
        result = await self.client.call_tool(tool, arguments)
        return {"error": result.content[0].text} if result.isError else result.structuredContent


@asynccontextmanager
async def connected(task: dict[str, Any], key: str):
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        streamablehttp_client(task["url"], headers=headers) as (read, write, _),
        ClientSession(read, write) as client,
    ):
        answer = await client.initialize()
        yield Session(client, str(answer.protocolVersion), answer.serverInfo.name)


run(connected)

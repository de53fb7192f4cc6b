"""FastMCP's client."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from steps import run


@dataclass
class Session:
    client: Client

    @property
    def version(self) -> str:
        return self.client.protocol_version

    @property
    def server(self) -> str:
        return self.client.server_info.name

    async def tools(self) -> list[str]:
        return [tool.name for tool in await self.client.list_tools()]

    async def call(self, tool: str, arguments: dict[str, Any]) -> Any:
        return (await self.client.call_tool(tool, arguments)).structured_content


@asynccontextmanager
async def connected(task: dict[str, Any], key: str):
    transport = StreamableHttpTransport(task["url"], headers={"Authorization": f"Bearer {key}"})
    async with Client(transport, mode=task["era"]) as client:
        yield Session(client)


run(connected)

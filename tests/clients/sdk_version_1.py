"""The main job with the Python SDK before version 2: reads the task from standard input, prints what it saw."""

from __future__ import annotations

import asyncio
import json
import sys

from mcp import ClientSession, McpError
from mcp.client.streamable_http import streamablehttp_client


async def main() -> None:
    task = json.load(sys.stdin)
    headers = {"Authorization": f"Bearer {task['key']}"}
    seen: dict[str, object] = {}
    async with (
        streamablehttp_client(task["url"], headers=headers) as (read, write, _),
        ClientSession(read, write) as session,
    ):
        seen["protocol_version"] = (await session.initialize()).protocolVersion
        seen["tools"] = [tool.name for tool in (await session.list_tools()).tools]
        await session.send_ping()

        async def call(tool: str, **arguments: object):
            result = await session.call_tool(tool, {"project": task["project"], **arguments})
            if result.isError:
                raise SystemExit(f"{tool}: {result.content}")
            return result.structuredContent

        made = seen["made"] = await call("create_test_case", title=task["title"], fields=task["fields"])
        found = await call("search_test_cases", query=task["title"])
        seen["found"] = [item["id"] for item in found["items"]]
        seen["read"] = await call("get_test_case", caseId=made["id"])
        seen["changed"] = await call("update_test_case", caseId=made["number"], title=f"{task['title']} renamed")
        denied = await session.call_tool("get_test_case", {"project": task["project"], "caseId": task["foreign_case"]})
        seen["denied"] = [denied.isError, denied.content[0].text]
        try:
            await session.call_tool("get_folders", {"project": True})
        except McpError as error:
            seen["invalid"] = str(error)
    print(json.dumps(seen))  # noqa: T201


asyncio.run(main())

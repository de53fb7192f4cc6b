"""The Inspector's command line, which is a process for each step."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from steps import run


@dataclass
class Session:
    command: list[str]
    version: str = ""
    server: str = ""

    async def ask(self, method: str, *options: str) -> Any:
        process = await asyncio.create_subprocess_exec(
            *self.command, "--method", method, *options, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = (text.decode() for text in await process.communicate())
        # It warns of schemas that other clients may stumble over, and ends with 5 where the tool answers with an error.
        if process.returncode not in {0, 5} or "Warning" in err:
            raise ConnectionError(f"exit code {process.returncode}: {err or out}")
        return json.loads(out)["result"]

    async def connect(self) -> None:
        answer = await self.ask("initialize")
        self.version, self.server = answer["protocolVersion"], answer["serverInfo"]["name"]

    async def tools(self) -> list[str]:
        return [tool["name"] for tool in (await self.ask("tools/list", "--strict"))["tools"]]

    async def call(self, tool: str, arguments: dict[str, Any]) -> Any:
        result = await self.ask("tools/call", "--tool-name", tool, "--tool-args-json", json.dumps(arguments))
        return {"error": result["content"][0]["text"]} if result.get("isError") else result["structuredContent"]


@asynccontextmanager
async def connected(task: dict[str, Any], key: str):
    session = Session([part.replace("KEY", key) for part in task["bridge"]["command"]])
    await session.connect()
    yield session


run(connected)

"""What every Python program does with a client, told as its user sees it."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager


async def seen(act: Callable[[], Awaitable[Any]]) -> Any:
    """Return what *act* returns, or the message that its user gets."""
    try:
        return await act()
    except Exception as error:  # noqa: BLE001 - whatever it is, the user sees it
        return {"error": " ".join(messages(error))}


def messages(error: BaseException) -> list[str]:
    """Return the messages of an exception, or of those in a group."""
    inner = getattr(error, "exceptions", None)
    return [str(error)] if inner is None else [message for one in inner for message in messages(one)]


def run(connected: Callable[[dict[str, Any], str], AbstractAsyncContextManager[Any]]) -> None:
    """Read the task from standard input and print what was seen. *connected* yields a session for a task and a key.

    A session has the protocol's version, the server's name, tools() and call(tool, arguments).
    """
    print(json.dumps(asyncio.run(_steps(connected, json.load(sys.stdin)))))  # noqa: T201


async def _steps(connected: Any, task: dict[str, Any]) -> dict[str, Any]:
    steps: dict[str, Any] = {}
    async with connected(task, task["key"]) as session:
        steps["list"] = await session.tools()
        steps["connect"] = {"version": session.version, "server": session.server}

        async def call(tool: str, **arguments: Any) -> Any:
            return await seen(lambda: session.call(tool, {"project": task["project"], **arguments}))

        steps["write"] = made = await call("create_test_case", title=task["title"], fields=task["fields"])
        steps["read"] = await call("get_test_case", caseId=made["id"])
        steps["argument error"] = await call("get_folders", project=True)
        steps["tool error"] = await call("get_test_case", caseId=task["foreign_case"])

    async def connect_with_wrong_key() -> Any:
        async with connected(task, task["wrong_key"]) as refused:
            return {"listed": len(await refused.tools())}

    steps["wrong key"] = await seen(connect_with_wrong_key)
    return steps

"""The official Python SDK's clients, of both major versions, do the main job over real HTTP."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
OLD_SDK = "mcp>=1.26,<2"

TITLE = "Login locks after five wrong passwords"
FIELDS = {
    "priority": "High",
    "steps": [
        {"step": "Open /login", "expectedResult": "The form shows"},
        {"step": "Enter a wrong password five times", "expectedResult": "The account is locked"},
        {"step": "Enter the right password", "notes": "Within 15 minutes"},
    ],
}


@pytest.fixture(scope="module")
def foreign_case(globex):
    """A case of another workspace."""
    client = globex.client()
    try:
        return client.call("create_test_case", project=globex.project, title="Theirs")["id"]
    finally:
        client.close()


@pytest.mark.parametrize("mode", ["auto", "legacy", "2026-07-28"])
async def test_version_2_does_the_main_job(mode, acme, foreign_case):
    headers = {"Authorization": f"Bearer {acme.people['lead'].key}"}
    url = f"http://{acme.host}:{acme.port}/mcp"
    async with (
        httpx2.AsyncClient(headers=headers) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        assert client.protocol_version == ("2025-11-25" if mode == "legacy" else "2026-07-28")
        if mode != "2026-07-28":  # a client pinned to a version asks for nothing before its first call
            assert client.server_info.name == "testorchestrator"
            assert "get_projects" in client.instructions
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert names[0] == "get_projects"
        assert {"create_test_case", "search_test_cases", "get_test_case", "update_test_case"} <= set(names)

        async def call(tool: str, **arguments):
            result = await client.call_tool(tool, {"project": acme.project, **arguments})
            assert not result.is_error, result.content
            assert json.loads(result.content[0].text) == result.structured_content
            return result.structured_content

        made = await call("create_test_case", title=f"{TITLE} {mode}", fields=FIELDS)
        found = await call("search_test_cases", query=f"locks five {mode}")
        assert [item["id"] for item in found["items"]] == [made["id"]]
        assert await call("get_test_case", caseId=made["id"]) == made
        assert made["fields"] == FIELDS
        changed = await call("update_test_case", caseId=made["number"], title=f"{TITLE} at once {mode}")
        assert (changed["title"], changed["fields"]) == (f"{TITLE} at once {mode}", FIELDS)

        denied = await client.call_tool("get_test_case", {"project": acme.project, "caseId": foreign_case})
        assert denied.is_error
        assert denied.content[0].text == "not found or access denied"
        with pytest.raises(MCPError, match=r"project: got a boolean"):
            await client.call_tool("get_folders", {"project": True})


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_version_2_tells_what_is_wrong_with_a_key(mode, acme):
    url = f"http://{acme.host}:{acme.port}/mcp"
    with pytest.raises(BaseException, match=r".*") as raised:
        async with (
            httpx2.AsyncClient(headers={"Authorization": "Bearer to_live_wrong"}) as http,
            Client(streamable_http_client(url, http_client=http), mode=mode) as client,
        ):
            await client.list_tools()
    assert "Create one under Profile > API Keys" in _messages(raised.value)


def _messages(error: BaseException) -> str:
    inner = [_messages(one) for one in getattr(error, "exceptions", ())]
    return " ".join([str(error), *inner])


@pytest.fixture(scope="session")
def old_sdk():
    """The Python of an environment of its own with the SDK before version 2, which cannot live beside version 2."""
    venv = ROOT / ".venv-mcp1"
    python = venv / "bin" / "python"
    stamp = venv / "installed"
    with (ROOT / ".venv-mcp1.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (stamp.is_file() and stamp.read_text() == OLD_SDK + sys.version):
            for command in (
                [sys.executable, "-m", "venv", "--clear", str(venv)],
                [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", OLD_SDK],
            ):
                done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
                if done.returncode:
                    reason = f"{OLD_SDK} cannot be installed: {done.stderr[-300:]}"
                    if os.environ.get("CI"):
                        pytest.fail(reason)
                    pytest.skip(reason)
            stamp.write_text(OLD_SDK + sys.version)
    return python


def test_version_1_does_the_main_job(old_sdk, acme, foreign_case):
    task = {
        "url": f"http://{acme.host}:{acme.port}/mcp",
        "key": acme.people["lead"].key,
        "project": acme.project,
        "title": f"{TITLE} v1",
        "fields": FIELDS,
        "foreign_case": foreign_case,
    }
    done = subprocess.run(  # noqa: S603 - our own program
        [old_sdk, HERE / "sdk_version_1.py"], input=json.dumps(task), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["protocol_version"] == "2025-11-25"
    assert seen["tools"][0] == "get_projects"
    assert seen["found"] == [seen["made"]["id"]]
    assert seen["read"] == seen["made"]
    assert seen["made"]["fields"] == FIELDS
    assert (seen["changed"]["title"], seen["changed"]["fields"]) == (f"{TITLE} v1 renamed", FIELDS)
    assert seen["denied"] == [True, "not found or access denied"]
    assert "project: got a boolean" in seen["invalid"]

"""Real clients do the same steps over real HTTP, and tell their users what the service says."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.clients.environments import environment, or_skip, pinned
from tests.clients.runs import MATRIX, RUNS, STEPS, Run

FIELDS = {
    "priority": "High",
    "steps": [
        {"step": "Open /login", "expectedResult": "The form shows"},
        {"step": "Enter a wrong password five times — “hunter2” 🔑", "expectedResult": "The account is locked"},
        {"step": "Enter the right password", "notes": "Within 15 minutes"},
    ],
}
_PATIENCE_SECONDS = 120


@pytest.fixture(scope="module")
def foreign_case(globex):
    """A case of another workspace."""
    client = globex.client()
    try:
        return client.call("create_test_case", project=globex.project, title="Theirs")["id"]
    finally:
        client.close()


@pytest.mark.usefixtures("installing")
@pytest.mark.parametrize("run", RUNS, ids=str)
def test_a_client_does_its_steps_and_shows_what_went_wrong(*, run: Run, acme, client, foreign_case, tmp_path, row):
    command = or_skip(run.command)
    task = {
        "url": f"http://{acme.host}:{acme.port}/mcp",
        "key": acme.people["lead"].key,
        "wrong_key": f"to_live_{'x' * 43}",
        "era": run.era,
        "project": acme.project,
        "title": f"Login locks after five wrong passwords, {run}",
        "fields": FIELDS,
        "foreign_case": foreign_case,
    }
    if run.bridge is not None:
        task["bridge"] = {"env": {}} | or_skip(lambda: run.bridge(task["url"]))
        task["bridge"]["env"] |= environment(tmp_path)
    done = subprocess.run(  # noqa: S603 - our own programs
        command,
        input=json.dumps(task, default=str),
        capture_output=True,
        text=True,
        check=False,
        env=environment(tmp_path),
        timeout=_PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    stored = client.call("search_test_cases", project=acme.project, query=f"{run}")["items"]
    right = {
        "connect": seen["connect"]["version"] == run.speaks and seen["connect"]["server"] in {"testorchestrator", None},
        "list": seen["list"] == [tool["name"] for tool in client.rpc("tools/list")["tools"]],
        "write": seen["write"].get("fields") == FIELDS and seen["write"]["id"] in [case["id"] for case in stored],
        "read": seen["read"] == seen["write"],
        "argument error": "Invalid arguments for get_folders: project: got a boolean" in _told(seen["argument error"]),
        "tool error": _told(seen["tool error"]) == "not found or access denied",
        "wrong key": run.wrong_key in _told(seen["wrong key"]),
    }
    shown = {"client": run.client, "version": pinned()[run.package], "era": run.era}
    row(MATRIX, **shown, **{step: "ok" if right[step] else "WRONG" for step in STEPS})
    assert all(right.values()), {step: seen[step] for step in STEPS if not right[step]}


def _told(seen) -> str:
    return seen.get("error", "no error")

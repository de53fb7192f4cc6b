"""The tasks done by a model: a real one if EVAL_MODEL names it and ANTHROPIC_API_KEY is set.

The way from a model to the tools is tested all the same, with a stand-in for the model's service on this machine: it
speaks the same protocol, and what it "thinks" is a task's script.
"""

from __future__ import annotations

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import Any

import pytest
from anthropic import Anthropic

from tests.conftest import RpcFailed, ToolFailed
from tests.evals.agent import Agent
from tests.evals.model import last_json, solve
from tests.evals.tasks import TASKS, Task

MODEL = os.environ.get("EVAL_MODEL")
PATIENCE = 60
BY_NAME = {task.name: task for task in TASKS}


@pytest.mark.parametrize("task", TASKS if MODEL else [None], ids=lambda task: task.name if task else "none")
async def test_model(task, demo, row):
    if task is None:
        pytest.skip("EVAL_MODEL names no model")
    agent = Agent(demo.client)
    failure = ""
    try:
        answer = solve(task.prompt, agent, Anthropic(), MODEL)
        await task.check(answer, demo.sql)
    except (AssertionError, KeyError, ValueError) as wrong:
        failure = f"{type(wrong).__name__}: {wrong}"
    row("evals", task=task.name, by=MODEL, calls=agent.calls.total(), tokens=agent.tokens, right=not failure)
    assert not failure, (failure, agent.calls, agent.errors)


class Thinking:
    """A script as a model's service sees it: each call is a turn, and the answer the last one."""

    def __init__(self, script: Any) -> None:
        self._turns: Queue[dict[str, Any]] = Queue()
        self._results: Queue[dict[str, Any]] = Queue()
        self._thread = threading.Thread(target=self._think, args=(script,), daemon=True)
        self.requests: list[dict[str, Any]] = []

    def turn(self, request: dict[str, Any]) -> dict[str, Any]:
        self.requests.append(request)
        last = request["messages"][-1]["content"]
        if isinstance(last, str):
            self._thread.start()
        else:
            self._results.put(last[0])
        block = self._turns.get(timeout=PATIENCE)
        return {
            "id": f"msg_{len(self.requests)}",
            "type": "message",
            "role": "assistant",
            "model": request["model"],
            "content": [block],
            "stop_reason": "tool_use" if block["type"] == "tool_use" else "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 1, "output_tokens": 1},
        }

    def _think(self, script: Any) -> None:
        answer = script(self)
        self._turns.put({"type": "text", "text": f"Done.\n{json.dumps(answer)}"})

    def __call__(self, tool: str, **arguments: Any) -> dict[str, Any]:
        self._turns.put({"type": "tool_use", "id": f"toolu_{len(self.requests)}", "name": tool, "input": arguments})
        result = self._results.get(timeout=PATIENCE)
        if result.get("is_error"):
            raise ToolFailed({"code": "", "message": result["content"]}, result["content"])
        return json.loads(result["content"])

    all = Agent.all


@pytest.fixture
def think():
    """Starts the stand-in with a script to think; the client of its API."""
    servers = []

    def start(script: Any) -> tuple[Anthropic, Thinking]:
        thinking = Thinking(script)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                body = json.dumps(thinking.turn(request)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever).start()
        return Anthropic(base_url=f"http://127.0.0.1:{server.server_port}", api_key="none", max_retries=0), thinking

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    "name", ["plan-regression-from-last-sprints-failures", "record-a-testers-report", "correct-one-step"]
)
async def test_way_from_a_model_to_the_tools(name, demo, think):
    task: Task = BY_NAME[name]
    api, thinking = think(task.script)
    agent = Agent(demo.client)
    await task.check(solve(task.prompt, agent, api, "stand-in"), demo.sql)
    assert agent.calls.total() == len(thinking.requests) - 1
    first = thinking.requests[0]
    assert first["messages"] == [{"role": "user", "content": task.prompt}]
    assert "get_projects" in first["system"]
    assert {"name", "description", "input_schema"} == set(first["tools"][0])


async def test_model_reads_errors(demo, think):
    read = []

    def script(agent: Any) -> dict[str, Any]:
        for tool, arguments in (("get_folders", {}), ("get_folders", {"project": 987_654_321}), ("get_nothing", {})):
            with pytest.raises((ToolFailed, RpcFailed)) as failed:
                agent(tool, **arguments)
            read.append(failed.value.error["message"])
        return {"done": True}

    api, _ = think(script)
    agent = Agent(demo.client)
    assert solve("Try.", agent, api, "stand-in") == {"done": True}
    assert "project" in read[0]
    assert read[1] == "not found or access denied"
    assert "Unknown tool" in read[2]
    assert len(agent.errors) == 3


@pytest.mark.unit
@pytest.mark.parametrize(
    "text", ['{"a": 1}', 'So it is.\n{"a": 1}\n', 'Thus:\n```json\n{"a": 1}\n```', 'It is this:\n`{"a": 1}`']
)
def test_last_json(text):
    assert last_json(text) == {"a": 1}

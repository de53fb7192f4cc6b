"""A model does a task: it is told the instructions, the tools and the prompt, and calls what it thinks right."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.conftest import RpcFailed, ToolFailed

if TYPE_CHECKING:
    from anthropic import Anthropic

    from tests.evals.agent import Agent

MOST_TURNS = 40
MOST_TOKENS = 8_000


def solve(prompt: str, agent: Agent, api: Anthropic, model: str) -> dict[str, Any]:
    """Let *model* do the task with the tools of *agent*, and return the JSON that its last answer ends with.

    What the model reads is what clients show it: names, descriptions and input schemas of the tools, the structured
    content of answers, the text of errors.
    """
    client = agent.client
    opening = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "evals", "version": "1"}}
    instructions = client.rpc("initialize", opening)["instructions"]
    tools = [
        {"name": tool["name"], "description": tool["description"], "input_schema": tool["inputSchema"]}
        for tool in client.rpc("tools/list")["tools"]
    ]
    messages: list[dict[str, Any]] = [{"role": "user", "content": prompt}]
    for _ in range(MOST_TURNS):
        answer = api.messages.create(
            model=model, max_tokens=MOST_TOKENS, system=instructions, tools=tools, messages=messages
        )
        messages.append({"role": "assistant", "content": [block.model_dump() for block in answer.content]})
        called = [_called(agent, block) for block in answer.content if block.type == "tool_use"]
        if not called:
            text = "".join(block.text for block in answer.content if block.type == "text")
            return last_json(text)
        messages.append({"role": "user", "content": called})
    raise AssertionError(f"no answer after {MOST_TURNS} turns")


def last_json(text: str) -> dict[str, Any]:
    """Return the JSON object in the last line of *text* that has one, within a block of code or not."""
    lines = [line.strip("` ") for line in text.splitlines()]
    found: dict[str, Any] = json.loads(next(line for line in reversed(lines) if line.startswith("{")))
    return found


def _called(agent: Agent, block: Any) -> dict[str, Any]:
    result = {"type": "tool_result", "tool_use_id": block.id}
    try:
        answer = agent(block.name, **block.input)
    except ToolFailed as failed:
        return {**result, "content": failed.text, "is_error": True}
    except RpcFailed as failed:
        return {**result, "content": failed.error["message"], "is_error": True}
    return {**result, "content": json.dumps(answer, separators=(",", ":"))}

"""Each task as its script does it: the answer is right, and it costs no more calls and tokens than it says."""

from __future__ import annotations

import pytest

from tests.evals.agent import Agent
from tests.evals.tasks import TASKS


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
async def test_script(task, demo, row):
    agent = Agent(demo.client)
    answer = task.script(agent)
    await task.check(answer, demo.sql)
    row("evals", task=task.name, by="script", calls=agent.calls.total(), tokens=agent.tokens, right=True)
    assert agent.errors == []
    assert agent.calls.total() <= task.calls
    assert agent.tokens <= task.tokens


@pytest.mark.unit
def test_there_are_enough_tasks():
    assert len(TASKS) >= 12
    assert len({task.name for task in TASKS}) == len(TASKS)

"""What every built-in task brings."""

from __future__ import annotations

import pytest

from evenflow.rewards import load_reward
from evenflow.tasks import TASKS, get_task


@pytest.mark.parametrize("name", TASKS)
def test_a_task_brings_the_reward_of_its_name(name: str) -> None:
    task = get_task(name, {})
    assert load_reward(name) is task.reward
    assert task.rows("test", 1)

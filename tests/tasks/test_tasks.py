"""What every built-in task brings."""

from __future__ import annotations

from pathlib import Path

import pytest

from evenflow.errors import UserError
from evenflow.rewards import load_reward
from evenflow.tasks import TASKS, get_task


@pytest.mark.parametrize("name", TASKS)
def test_a_task_brings_the_reward_of_its_name(name: str) -> None:
    task = get_task(name, {})
    assert load_reward(name) is task.reward
    assert task.rows("test", 1)


def test_annotations_for_checkers_alone_do_not_keep_a_task_from_loading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "checked_task.py").write_text(
        "from __future__ import annotations\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n"
        "    from pathlib import Path\n"
        "class Mine:\n"
        "    def __init__(self, file: Path | None = None, count: int = 1) -> None:\n"
        "        self.file = file\n"
        "    def rows(self, split, count, seed=0):\n"
        "        return [{'prompt': self.file}]\n"
        "    @staticmethod\n"
        "    def reward(completions, **_):\n"
        "        return [0.0] * len(completions)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    task = get_task("checked_task:Mine", {"file": "a"})
    assert task.rows("train", 1) == [{"prompt": "a"}]
    with pytest.raises(UserError, match="there is no 'files'; there are: file, count"):
        get_task("checked_task:Mine", {"files": "a"})

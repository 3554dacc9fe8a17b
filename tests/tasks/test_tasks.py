"""What every built-in task brings."""

from __future__ import annotations

from pathlib import Path

import pytest

from evenflow.errors import UserError
from evenflow.rewards import load_reward
from evenflow.tasks import TASKS, get_task, rows_of


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


@pytest.mark.parametrize(
    ("name", "operators", "said"),
    [
        ("countdown", "+-+", r"Countdown's operators: '\+' stands there twice"),
        ("programs", ["+", "max", "max"], "Programs' operators: 'max' stands there twice"),
    ],
)
def test_an_operator_stands_there_once(name: str, operators: object, said: str) -> None:
    """Each right answer with it would count twice."""
    with pytest.raises(UserError, match=said):
        get_task(name, {"operators": operators})


def test_the_field_that_asks_for_too_many_questions_is_named() -> None:
    task = get_task("countdown", {"numbers": 2})
    said = r"fewer than the 4096 asked for \(data\.train_questions=… sets how many\)"
    with pytest.raises(UserError, match=said):
        rows_of(task, "train", 4096, "data.train_questions")


def test_a_task_of_one_s_own_speaks_for_itself() -> None:
    class Mine:
        reward = staticmethod(lambda completions, **_: [0.0] * len(completions))

        def rows(self, split: str, count: int, seed: int = 0) -> list:
            raise UserError("the file of questions is gone")

    with pytest.raises(UserError, match=r"^the file of questions is gone$"):
        rows_of(Mine(), "train", 1, "data.train_questions")

"""Which run a model's folder is of."""

from __future__ import annotations

from pathlib import Path

import pytest

from evenflow.run.checkpoints import checkpoints, recipe_of

RECIPE = "data: {task: countdown}\nrollout: {questions: 3}\n"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run, which the command is given in."""
    (tmp_path / "config.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "inside",
    [
        ".",
        "checkpoint-000040",
        "checkpoint-1234567",
        "model",
        "global_step_5",
        "global_step_5/actor",
        "global_step_5/merged",
        "global_step_5/actor/huggingface",
    ],
)
def test_a_run_is_known_from_the_models_in_it(run: Path, inside: str) -> None:
    (run / inside).mkdir(parents=True, exist_ok=True)
    for name in (inside, str(run / inside)):
        recipe = recipe_of(name)
        assert recipe is not None
        assert recipe.rollout.questions == 3


def test_and_by_a_link_to_it(run: Path, tmp_path: Path) -> None:
    (run / "checkpoint-000040").mkdir()
    link = tmp_path / "elsewhere" / "mine"
    link.parent.mkdir()
    link.symlink_to(run / "checkpoint-000040")
    assert recipe_of(str(link)) is not None


@pytest.mark.parametrize(
    "name", ["org/model", "gpt2", "builtin:countdown", "not/here/at/all", "mine", "mine/base"]
)
def test_a_model_is_not_of_the_run_whose_folder_it_is_asked_from(run: Path, name: str) -> None:
    (run / "mine" / "base").mkdir(parents=True)
    assert recipe_of(name) is None


def test_another_programs_config_is_no_recipe(run: Path) -> None:
    (run / "config.yaml").write_text("model: {name: x}\n")
    assert recipe_of(str(run)) is None


def test_copies_of_another_name_are_no_checkpoints(run: Path) -> None:
    """Else one would be gone on from, and another be deleted as the oldest."""
    for name in ("checkpoint-000002", "checkpoint-10", "checkpoint-best", "checkpoint-2-old"):
        (run / name).mkdir()
    assert [path.name for path in checkpoints(run)] == ["checkpoint-10", "checkpoint-000002"]

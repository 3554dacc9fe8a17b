"""A folder has one command at work in it, whichever."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from evenflow.cli import main
from evenflow.config import TrainConfig, dump
from evenflow.run.lock import only_one

Make = Callable[..., TrainConfig]
HELD = r"error: .*: process \d+ on .*, since .*\) is at work there; wait for it to end"


@pytest.fixture
def written(recipe: Make, tmp_path: Path) -> str:
    path = tmp_path / "small.yaml"
    path.write_text(dump(recipe("checkpoint.every=1", "train.steps=1")))
    return str(path)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_a_second_run_is_refused(
    written: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("the first one's")
    with only_one(run):
        assert main(["train", written]) == 2
    assert re.match(HELD, capsys.readouterr().err)
    assert contents(run) == {str(run / "config.yaml"): b"the first one's"}


def test_a_run_at_work_is_not_gone_on_with_and_can_be_read(
    written: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(["train", written]) == 0
    assert not (run / ".lock").exists()
    before = contents(run)
    with only_one(run):
        assert main(["train", "--resume", str(run), "train.steps=2"]) == 2
        assert re.match(HELD, capsys.readouterr().err)
        assert contents(run) == before
        assert main(["report", str(run)]) == 0
        model = ["model.path=" + str(run), "device=cpu", "num_generations=2", "questions=2"]
        other = f"output={tmp_path / 'other'}"
        assert main(["eval", *model, "benchmark=countdown", "max_completion_length=8", other]) == 0
    assert main(["train", "--resume", str(run), "train.steps=2"]) == 0


def test_pretraining_holds_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "base.yaml"
    recipe.write_text("steps: 1\nbatch: 2\nevaluation_questions: 1\ndevice: cpu\n")
    (tmp_path / "run").mkdir()
    with only_one(tmp_path / "run"):
        assert main(["pretrain", str(recipe), f"output={tmp_path / 'run'}"]) == 2
    assert re.match(HELD, capsys.readouterr().err)
    assert list((tmp_path / "run").iterdir()) == []

"""`eval` of a checkpoint gives the very numbers that the training gave."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.training.runs import open_run

from evenflow.cli import main
from evenflow.commands.eval import evaluate
from evenflow.config import TrainConfig
from evenflow.errors import UserError
from evenflow.training.trainer import Trainer

Make = Callable[..., TrainConfig]


@pytest.mark.parametrize("temperature", ["1", "0.7"])
def test_the_same_numbers_as_in_training(recipe: Make, temperature: str) -> None:
    overrides = (
        "evaluation.every=2",
        "evaluation.questions=6",
        "evaluation.samples=1",
        f"rollout.temperature={temperature}",
        "train.steps=2",
        "train.learning_rate=1e-2",
    )
    config = recipe(*overrides)
    folder = Trainer(config, open_run(config, "test")).run().checkpoint
    summary = json.loads((folder.parent / "summary.json").read_text())
    after = evaluate(recipe(*overrides, f"model.path={folder}"))
    assert after == pytest.approx(summary["after"], rel=1e-6)
    assert evaluate(config) == pytest.approx(summary["before"], rel=1e-6)
    assert after["accuracy"] != summary["before"]["accuracy"]


def test_sampled_questions_of_a_file(recipe: Make, tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{i}>"}) + "\n" for i in range(3)))
    overrides = (
        "data.task=null",
        f"data.train={path}",
        f"data.test={path}",
        "evaluation.num_generations=4",
    )
    scores = evaluate(recipe(*overrides))
    assert {"reward", "accuracy", "pass@2", "pass@4", "diversity"} < set(scores)
    assert scores == evaluate(recipe(*overrides))


def test_nothing_to_evaluate_on(recipe: Make, tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text('{"prompt": "1>"}\n')
    with pytest.raises(UserError, match=r"data\.test: eval needs held-out questions"):
        evaluate(recipe("data.task=null", f"data.train={path}"))


def test_eval_of_a_checkpoint(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, model = str(trained.parent / "recipe.yaml"), f"model.path={trained}/checkpoint-000002"
    capsys.readouterr()
    assert main(["eval", recipe, model]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores == pytest.approx(json.loads((trained / "summary.json").read_text())["after"])

"""What the tests of the command line share: a recipe, a run, what a command says."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from evenflow.cli import main
from evenflow.config import TrainConfig, dump

Make = Callable[..., TrainConfig]


@pytest.fixture
def written(recipe: Make, tmp_path: Path) -> str:
    """The small recipe as a file."""
    path = tmp_path / "small.yaml"
    path.write_text(dump(recipe("checkpoint.every=1", "evaluation.questions=4")))
    return str(path)


@pytest.fixture(scope="session")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps with both of its checkpoints."""
    run = tmp_path_factory.mktemp("cli") / "run"
    recipe = run.parent / "recipe.yaml"
    recipe.write_text(f"""
        algorithm: tba
        model: {{path: {tiny_model}}}
        data: {{task: countdown, train_questions: 16}}
        reward: {{functions: {{"tests.training.rewards:digits": 1}}}}
        rollout: {{questions: 2, num_generations: 2, max_completion_length: 8}}
        train: {{steps: 2, learning_rate: 1e-3}}
        evaluation: {{every: 2, questions: 4, samples: 1}}
        checkpoint: {{every: 1, keep: 9}}
    """)
    assert main(["train", str(recipe), f"output={run}"]) == 0
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of that run, to do things to."""
    return Path(shutil.copytree(trained, tmp_path / "copy"))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one sentence on stderr of a command that ends with status 2."""
    capsys.readouterr()
    assert main(list(arguments)) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said


def sampled(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    capsys.readouterr()
    assert main(["sample", *arguments]) == 0
    return capsys.readouterr().out.splitlines()

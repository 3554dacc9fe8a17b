"""The examples run, and do what they say."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from evenflow.commands.train import file_and_settings
from evenflow.config import TrainConfig, load
from evenflow.rollout.embedded.engine import EmbeddedEngine
from evenflow.run import checkpoints
from evenflow.training.trainer import Trainer
from tests.training.runs import assert_same_run, metrics, open_run, train

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
MODULES = {"objective": "LeaveOneOut", "task": "OneStep", "engine": "Plain"}
Make = Callable[..., TrainConfig]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In the folder of the examples, whose modules are found and forgotten again."""
    monkeypatch.chdir(EXAMPLES)
    monkeypatch.syspath_prepend(EXAMPLES)
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


def test_own_loop_learns_many_right_answers() -> None:
    run = subprocess.run(
        [sys.executable, EXAMPLES / "own_loop.py"], capture_output=True, text=True, check=True
    )
    lines = re.findall(r"reward (\S+)  distinct right answers +(\d+)", run.stdout)
    assert float(lines[0][0]) < 0.4
    assert float(lines[-1][0]) > 0.85
    assert int(lines[-1][1]) > 60


@pytest.mark.parametrize("module", MODULES)
def test_the_command_of_an_example_is_a_recipe(module: str, here: None) -> None:
    text = (EXAMPLES / f"{module}.py").read_text()
    (command,) = re.findall(r"^ *evenflow train (.+)$", text, re.MULTILINE)
    assert f"{module}:{MODULES[module]}" in command
    config = load(TrainConfig, *file_and_settings(command.split()))
    assert config.build_objective().needs is not None


def test_an_objective_of_ones_own_trains(recipe: Make, here: None) -> None:
    config = recipe("algorithm=objective:LeaveOneOut", "objective.lead=0.01", "train.steps=3")
    rows = metrics(train(config))
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert all(math.isfinite(row["loss"]) and row["loss"] != 0 for row in rows)
    assert all(0 <= row["advantage/positive"] <= 1 for row in rows)
    assert all(row["optimizer/skipped"] == 0 for row in rows)


def test_micro_batches_of_it_add_up(recipe: Make, here: None, tmp_path: Path) -> None:
    losses = []
    for budget in (16384, 40):
        of = (f"train.micro_batch_tokens={budget}", f"output={tmp_path / str(budget)}")
        rows = metrics(train(recipe("algorithm=objective:LeaveOneOut", "train.steps=2", *of)))
        losses.append([row["loss"] for row in rows])
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_a_task_of_ones_own_trains(recipe: Make, here: None) -> None:
    config = recipe(
        "data.task=task:OneStep",
        "data.task_options.largest=7",
        "reward.functions={}",
        "train.steps=2",
        "evaluation={every: 1, questions: 4, num_generations: 2}",
    )
    result = Trainer(config, open_run(config, "test")).run()
    assert [row["reward/unknown"] for row in result.rows[1:]] == [0, 0]
    assert math.isfinite(result.after["accuracy"])


def test_its_right_answers_are_right_and_its_splits_are_apart(here: None) -> None:
    from task import OneStep  # type: ignore[import-not-found]

    task = OneStep()
    train, test = ({r["prompt"] for r in task.rows(split, 50)} for split in ("train", "test"))
    assert len(train) == len(test) == 50
    assert not train & test
    for row in task.rows("train", 20):
        target = int(row["prompt"].rpartition(">")[2][:-1])
        assert all(eval(text.partition("=")[0]) == target for text in row["right"])
        assert task.reward([row["right"][0], "1+1=3"], [row["right"]] * 2) == [1, 0]


PLAIN = ("rollout.engine=engine:Plain", "rollout.questions=2", "rollout.num_generations=3")


def test_an_engine_of_ones_own_trains(recipe: Make, here: None) -> None:
    config = recipe(*PLAIN, "train.steps=3", "rollout.temperature=0.8", "train.epochs=2")
    rows = metrics(train(config))
    assert all(row["sampler/gap"] < 1e-4 for row in rows)
    assert all(math.isfinite(row["loss"]) and row["reward/mean"] > 0 for row in rows)


def test_a_run_with_it_goes_on_bit_for_bit(recipe: Make, here: None, tmp_path: Path) -> None:
    config = recipe(*PLAIN, "train.steps=3", "checkpoint.every=1", "checkpoint.keep=3")
    whole = train(config)
    copy = Path(shutil.copytree(whole.parent, tmp_path / "copy"))
    for name in ("checkpoint-000002", whole.name):
        shutil.rmtree(copy / name)
    Trainer(config, copy, resume=checkpoints.latest_whole(copy)).run()
    assert_same_run(copy, whole.parent)


def test_it_samples_what_the_embedded_engine_samples(recipe: Make, here: None) -> None:
    """The same mean log-prob of answers of one token, within what 400 draws allow."""
    from engine import Plain  # type: ignore[import-not-found]

    config = recipe("rollout.max_completion_length=1")
    trainer = Trainer(config, open_run(config, "test"))
    counts = []
    for engine in (Plain(trainer.tokenizer, 1), EmbeddedEngine(trainer.tokenizer, 512)):
        engine.update(trainer.policy, 0)
        (group,) = engine.groups(trainer.questions.train[:1], 400, trainer.sampling, seed=0)
        counts.append(sum(ids == group.answers[0] for ids in group.answers) / 400)
        probability = math.exp(group.logprobs[0][0])
        assert counts[-1] == pytest.approx(probability, abs=4 * (probability / 400) ** 0.5)


def run_notebook(name: str) -> dict[str, Any]:
    """The names that a notebook's cells leave; it is one, and holds no outputs."""
    notebook = json.loads((EXAMPLES / name).read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    cells = notebook["cells"]
    ids = [cell["id"] for cell in cells]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[\w-]{1,64}", name) for name in ids)
    names: dict[str, Any] = {}
    for cell in cells:
        assert cell["metadata"] == {}
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
            exec("".join(cell["source"]), names)
    return names


def test_the_notebook_is_a_notebook_and_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run_notebook("notebook.ipynb")["result"]
    assert result.steps == 6
    assert [row["step"] for row in result.rows] == list(range(7))
    assert all(math.isfinite(row["reward/mean"]) for row in result.rows[1:])
    assert any(row["reward/mean"] > 0 for row in result.rows[1:])


def test_the_notebook_with_a_loop_of_its_own_learns() -> None:
    history = run_notebook("objective_in_a_loop.ipynb")["history"]
    assert len(history) == 41
    assert history[-1][0] > history[0][0] + 0.2
    assert history[-1][1] > history[0][1]


def test_the_notebook_that_reads_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    names = run_notebook("reading_a_run.ipynb")
    assert names["result"].steps == 3
    assert {row["step"] for row in names["samples"]} == {0, 3}
    assert {"metrics.jsonl", "report.html", "config.yaml"} <= {
        path.name for path in names["result"].folder.iterdir()
    }

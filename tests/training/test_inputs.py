"""A run goes on with the questions and the weights that it began with, or is told otherwise."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from evenflow.cli import main
from evenflow.commands.train import resumed
from evenflow.config import TrainConfig
from evenflow.errors import UserError
from evenflow.report.reading import held_out, read_run
from evenflow.training import checkpoint
from evenflow.training.trainer import Trainer
from tests.training.runs import train

Make = Callable[..., TrainConfig]


@pytest.fixture
def base(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "base"))


@pytest.fixture
def short(recipe: Make, base: Path) -> Make:
    """A run of one step, which can go on for a second."""
    small = ("rollout.questions=2", "rollout.num_generations=2", "rollout.max_completion_length=2")
    return lambda *overrides: recipe(f"model.path={base}", *small, "train.steps=1", *overrides)


def questions(path: Path, *targets: int) -> Path:
    lines = [json.dumps({"prompt": f"1,2,3>{target}:", "answer": target}) for target in targets]
    path.write_text("\n".join(lines) + "\n")
    return path


def refused(run: Path) -> str:
    with pytest.raises(UserError) as error:
        resumed(run, ["train.steps=2"])
    assert "by --changed-inputs" in str(error.value)
    return str(error.value)


def other_weights(folder: Path) -> None:
    """As many, and others."""
    file = folder / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("changed", [(5, 6, 8), (5, 7, 6), (5, 6), (5, 6, 7, 8)])
def test_other_training_questions(short: Make, tmp_path: Path, changed: tuple[int, ...]) -> None:
    file = questions(tmp_path / "train.jsonl", 5, 6, 7)
    config = short("data.task=null", f"data.train={file}")
    run = train(config).parent
    questions(file, *changed)
    assert refused(run).startswith("training questions (data.train): not the same as when ")
    questions(file, 5, 6, 7)
    assert main(["train", "--resume", str(run), "train.steps=2"]) == 0


def test_told_so_it_goes_on_and_remembers_what_is_there_now(
    short: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = questions(tmp_path / "train.jsonl", 5, 6, 7)
    run = train(short("data.task=null", f"data.train={file}")).parent
    questions(file, 5, 6, 8)
    assert main(["train", "--resume", str(run), "train.steps=2", "--changed-inputs"]) == 0
    assert "going on with other training questions (data.train)" in capsys.readouterr().out
    assert main(["train", "--resume", str(run), "train.steps=3"]) == 0
    assert main(["train", "recipe.yaml", "--changed-inputs"]) == 2
    assert "--changed-inputs: goes with --resume RUN" in capsys.readouterr().err


def test_other_options_of_the_task_in_the_saved_recipe(short: Make) -> None:
    run = train(short()).parent
    recipe = (run / "config.yaml").read_text()
    assert "task_options: {}" in recipe
    (run / "config.yaml").write_text(
        recipe.replace("task_options: {}", "task_options: {numbers: 3}")
    )
    assert refused(run).startswith("training questions (data.task): ")


def test_other_held_out_questions_where_as_many_are_asked(short: Make, tmp_path: Path) -> None:
    file, test = questions(tmp_path / "a.jsonl", 5, 6), questions(tmp_path / "b.jsonl", 7, 8)
    data = ("data.task=null", f"data.train={file}", f"data.test={test}", "evaluation.every=1")
    config = short(*data, "evaluation.questions=2", "evaluation.num_generations=2")
    run = train(config).parent
    questions(test, 7, 9)
    assert refused(run).startswith("held-out questions 1 to 2 (data.test): ")
    questions(test, 7, 8)
    resume = ["train", "--resume", str(run), "train.steps=2"]
    assert main([*resume, "evaluation.questions=1"]) == 0


READ_AGAIN = [
    (("algorithm=tba",), "model.path"),
    (("algorithm=grpo", "log.reference_kl=true"), "model.path"),
    (("algorithm=tba", "model.lora={rank: 2}"), "model.path"),
    (("algorithm=tba", "model.reference={}"), "model.reference"),
]


@pytest.mark.parametrize(("overrides", "field"), READ_AGAIN, ids=lambda o: " ".join(o))
def test_other_weights_where_they_are_read_again(
    short: Make, base: Path, tmp_path: Path, overrides: tuple[str, ...], field: str
) -> None:
    if any("lora" in override for override in overrides):
        pytest.importorskip("peft")
    reference = Path(shutil.copytree(base, tmp_path / "reference"))
    run = train(short(*(override.replace("{}", str(reference)) for override in overrides))).parent
    other_weights(base if field == "model.path" else reference)
    assert refused(run).startswith(f"weights or tokenizer ({field}): ")


def test_weights_that_the_checkpoint_holds_may_be_gone(short: Make, base: Path) -> None:
    run = train(short("algorithm=dr-grpo", "log.reference_kl=false")).parent
    shutil.rmtree(base)
    assert main(["train", "--resume", str(run), "train.steps=2"]) == 0


def test_a_checkpoint_without_marks_goes_on_and_says_so(
    short: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = train(short())
    state = checkpoint.load_state(saved)
    del state["inputs"], state["patience"]  # as earlier versions wrote it
    torch.save(state, saved / "trainer_state.pt")
    capsys.readouterr()
    config = short("train.steps=2")
    last = Trainer(config, saved.parent, resume=saved).run().checkpoint
    assert capsys.readouterr().out.count("does not say by which questions and weights") == 1
    Trainer(short("train.steps=3"), saved.parent, resume=last).run()
    assert "does not say" not in capsys.readouterr().out


ASKED = ("evaluation.every=1", "evaluation.questions=2", "evaluation.samples=0")


@pytest.mark.parametrize(
    ("changed", "compares"),
    [
        ("evaluation.questions=3", False),
        ("evaluation.skip=1", False),
        ("evaluation.temperature=0.5", False),
        ("evaluation.top_p=0.5", True),  # exact scores are of the whole distribution
        ("evaluation.num_generations=2", True),
        ("evaluation.every=2", True),
    ],
)
def test_scores_before_are_not_compared_with_those_of_another_measure(
    short: Make, changed: str, compares: bool
) -> None:
    run = train(short(*ASKED)).parent
    assert main(["train", "--resume", str(run), "train.steps=2", changed]) == 0
    summary = json.loads((run / "summary.json").read_text())
    assert bool(summary["before"]) is compares
    assert summary["after"]
    read = read_run(run)
    assert bool(read.before) is bool(read.before_of) is compares
    assert [row["step"] for row in read.rows if held_out(row)] == ([0, 1, 2] if compares else [2])
    assert any("not compared" in note for note in read.notes) is not compares


def test_sampled_scores_depend_on_top_p(short: Make, tmp_path: Path) -> None:
    file = questions(tmp_path / "a.jsonl", 5, 6)
    config = short("data.task=null", f"data.train={file}", f"data.test={file}", *ASKED)
    run = train(config).parent
    resume = ["train", "--resume", str(run), "train.steps=2", "evaluation.top_p=0.5"]
    assert main(resume) == 0
    assert json.loads((run / "summary.json").read_text())["before"] == {}

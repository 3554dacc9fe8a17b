"""Rewards that change what is not theirs: the run is the one that it would have been."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from evenflow.cli import main
from evenflow.config import TrainConfig, dump
from evenflow.run.tracking import read_jsonl
from evenflow.training.trainer import Trainer
from tests.training.runs import open_run

Make = Callable[..., TrainConfig]
AS_IT_IS = "tests.training.rewards:digits"


def trained(config: TrainConfig) -> tuple[dict[str, torch.Tensor], list[dict]]:
    """The weights and the metrics, times left out."""
    saved = Trainer(config, open_run(config, "test")).run().checkpoint
    rows = [
        {k: v for k, v in row.items() if "second" not in k}
        for row in read_jsonl(saved.parent / "metrics.jsonl")
    ]
    return AutoModelForCausalLM.from_pretrained(saved).state_dict(), rows


@pytest.mark.parametrize("name", ["spoils", "starts_what_fails"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_is_learned_is_the_same(recipe: Make, tmp_path: Path, name: str) -> None:
    both = []
    for number, function in enumerate((AS_IT_IS, f"tests.training.rewards:{name}")):
        both.append(
            trained(
                recipe(
                    "head.dropout=0.5",  # drawn from PyTorch's own generator
                    "train.steps=2",
                    "train.epochs=2",
                    "evaluation.every=1",
                    "evaluation.questions=2",
                    f"reward.functions={{{function}: 1.0}}",
                    f"output={tmp_path / str(number)}",
                )
            )
        )
    (ours, rows), (theirs, other_rows) = both
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert rows == other_rows


def test_a_reward_may_go_elsewhere(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("ELSEWHERE", str(there))
    config = recipe(
        "reward.functions={tests.training.rewards:goes_away: 1.0}",
        "evaluation.every=2",
        "evaluation.questions=2",
        "checkpoint.every=1",
        "train.steps=2",
    ).model_copy(update={"output": "runs/mine"})
    (here / "recipe.yaml").write_text(dump(config))
    assert main(["train", "recipe.yaml"]) == 0
    assert Path.cwd() == there
    os.chdir(here)
    assert list(there.iterdir()) == []
    assert sorted(path.name for path in (here / "runs").iterdir()) == ["latest", "mine"]
    assert (here / "runs" / "latest" / "report.html").is_file()
    assert main(["train", "--resume", "runs/mine", "train.steps=3"]) == 0
    assert list(there.iterdir()) == []
    os.chdir(here)
    assert (here / "runs" / "mine" / "checkpoint-000003").is_dir()


@pytest.fixture
def asked(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An evaluation by relative paths, whose grader goes elsewhere when it is imported."""
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "leaves_at_import.py").write_text(
        "import os\nos.chdir('there')\ndef f(completions, **_): return [1.0] * len(completions)\n"
    )
    sys.modules.pop("leaves_at_import", None)
    rows = [{"prompt": f"1,{n},3,4>5:", "answer": "x"} for n in range(2, 4)]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [
        f"model.path={tiny_model}", "benchmark=q.jsonl", "grader=leaves_at_import:f", "device=cpu",
        "num_generations=2", "max_completion_length=4", "output=out",
    ]  # fmt: skip


def test_a_grader_may_go_elsewhere(asked: list[str], tmp_path: Path) -> None:
    assert main(["eval", *asked]) == 0
    assert list((tmp_path / "there").iterdir()) == []
    assert json.loads((tmp_path / "out" / "result.json").read_text())["avg@k"]["value"] == 1
    os.chdir(tmp_path)
    sys.modules.pop("leaves_at_import", None)
    assert main(["eval", "--regrade", "out"]) == 0
    assert list((tmp_path / "there").iterdir()) == []


@pytest.mark.parametrize("ends", ["sys.exit()", "raise KeyboardInterrupt", "raise BaseException"])
def test_a_module_that_ends_the_process_is_one_sentence(
    recipe: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ends: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "ends_all", raising=False)
    (tmp_path / "ends_all.py").write_text(f"import sys\n{ends}\n")
    (tmp_path / "recipe.yaml").write_text(dump(recipe("reward.functions={ends_all:f: 1.0}")))
    assert main(["train", "recipe.yaml"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: the reward 'ends_all:f': importing ends_all failed: ")
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_what_is_logged_after_a_reward_has_closed_standard_error_does_not_end_the_run(
    tmp_path: Path,
) -> None:
    (tmp_path / "closes_all.py").write_text(
        "import sys\n"
        "def f(completions):\n"
        "    sys.stdout.close()\n"
        "    sys.stderr.close()\n"
        "    return [float('nan')]\n"
    )
    code = (
        "from evenflow import cli\n"
        "from evenflow.rewards import Rewards, load_reward\n"
        "def sample(options):\n"
        "    rewards = Rewards([('f', load_reward('closes_all:f'), 1.0)])\n"
        "    for _ in range(2):\n"
        "        rewards(['p'], ['c'], {}, completion_ids=[[1]], finished=[True])\n"
        "    print('went on')\n"
        "cli.commands.sample.run = sample\n"
        "raise SystemExit(cli.main(['sample', 'x']))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert (run.returncode, run.stdout) == (0, "went on\n"), run.stderr
    assert "gave nan for answer 1 of 1" in run.stderr


@pytest.mark.parametrize(
    ("known_from", "steps", "said"), [(9, 1, True), (9, 2, True), (1, 2, False), (0, 2, False)]
)
def test_a_run_that_learned_nothing_says_so_at_its_end(
    recipe: Make,
    capsys: pytest.CaptureFixture[str],
    known_from: int,
    steps: int,
    said: bool,
) -> None:
    """Fewer such steps than would end it as a failure."""
    calls: list[int] = []

    def late(completions: list[str], **_: object) -> list[float]:
        calls.append(1)
        known = len(calls) > known_from
        return [float(len(text) % 2) if known else math.nan for text in completions]

    config = recipe(f"train.steps={steps}", "evaluation.every=0")
    result = Trainer(config, open_run(config, "test"), rewards=[late]).run()
    assert result.steps == steps
    ending = "nothing was learned: no step changed the weights; in the last the reward of every"
    assert (ending in " ".join(capsys.readouterr().out.split())) is said

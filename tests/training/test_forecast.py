"""What a run says before its first step: its time, its first prompt; and at each evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from evenflow.config import TrainConfig
from evenflow.policy.loading import load_tokenizer
from evenflow.training import forecast
from evenflow.training.build import load_questions
from evenflow.training.devices import DEVICES
from evenflow.training.facts import one_line, sample_text
from evenflow.training.forecast import AFTER, known_device, time_left
from evenflow.training.trainer import Trainer

Make = Callable[..., TrainConfig]
CPU = torch.device("cpu")


def test_the_time_left_is_computed_before_the_first_step(
    recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "known_device", lambda _: DEVICES["t4"])
    config = recipe()
    questions = load_questions(config, load_tokenizer(config.model.path))
    said = time_left(config, CPU, questions, 5000)
    assert said.startswith("about ")
    assert "for 5,000 steps if all answers reach rollout.max_completion_length" in said


@pytest.mark.parametrize(
    ("name", "known"),
    [("NVIDIA H100 80GB HBM3", "h100"), ("NVIDIA A100-SXM4-80GB", "a100-80gb"), ("Other", None)],
)
def test_gpus_are_known_by_their_names(
    name: str, known: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
    assert known_device(torch.device("cuda")) is (known and DEVICES[known])


def test_where_the_device_is_unknown_the_first_step_tells(
    recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "known_device", lambda _: None)
    config = recipe()
    assert time_left(config, CPU, load_questions(config, load_tokenizer(config.model.path)), 5) == (
        AFTER
    )


def test_a_prompt_stands_on_one_line_as_it_is() -> None:
    assert one_line("<s>a\nb\\n</s>") == "<s>a\\nb\\\\n</s>"
    assert one_line("x" * 500, 20) == "x" * 10 + " … " + "x" * 10


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "1+1", "answers": ["2"], "rewards": [1.0], "finished": [True]}, "1+1 → 2 (re"),
        (
            {
                "prompt": [{"role": "user", "content": "1+1"}],
                "answers": ["2\n3"],
                "rewards": [None],
                "finished": [False],
            },
            "1+1 → 2\\n3 … (cut off) (reward unknown)",
        ),
    ],
)
def test_an_answer_with_its_question(row: dict[str, Any], says: str) -> None:
    assert sample_text(row).startswith(says)


def test_a_run_shows_its_first_prompt_its_time_and_an_answer_at_each_evaluation(
    recipe: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    config = recipe("evaluation.every=1", "evaluation.questions=2", "train.steps=1")
    trainer = Trainer(config)
    trainer.run()
    lines = capsys.readouterr().out.splitlines()
    first = trainer.tokenizer.decode(trainer.questions.train[0].ids)
    assert f"  first prompt  {first}" in lines
    assert any(line.startswith("  time          about ") for line in lines)
    for step in (0, 1):
        assert any(line.startswith(f"step {step}  ") and " → " in line for line in lines)

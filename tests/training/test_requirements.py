"""What a run needs is asked for before a model is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evenflow.config import TrainConfig
from evenflow.errors import UserError
from evenflow.rewards.code import code
from evenflow.training import requirements, trainer
from evenflow.training.trainer import Trainer

Make = Callable[..., TrainConfig]


@pytest.fixture(autouse=True)
def _no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def loaded(*_: Any) -> None:
        raise AssertionError("the model was loaded first")

    monkeypatch.setattr(trainer, "policy_to_train", loaded)


def needs_answer(completions: list[str], answer: list[str]) -> list[float]:
    return [float(a == b) for a, b in zip(completions, answer, strict=True)]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["model.lora={}"], r"model\.lora needs the package peft: pip install .*\[lora\]"),
        (["model.path=x.gguf"], r"model\.path needs the package gguf: pip install .*\[gguf\]"),
        (
            ["model.attention=flash_attention_2"],
            r"model\.attention: .*pip install flash-attn; sdpa",
        ),
        (["log.backends=[wandb]"], r"log\.backends=wandb needs the package wandb: pip"),
        (["reward.functions={math: 1.0}"], r"reward\.functions=math needs the package math-ver"),
        (
            ["data.task=null", "data.train=x.parquet"],
            r"data\.train needs the package pyarrow: .*\[data\]",
        ),
    ],
)
def test_a_package_that_is_not_installed(
    settings: list[str], says: str, recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requirements, "is_installed", lambda _: False)
    with pytest.raises(UserError, match=says):
        Trainer(recipe(*settings))


def test_all_packages_are_named_at_once(recipe: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "is_installed", lambda _: False)
    with pytest.raises(UserError) as refused:
        Trainer(recipe("model.lora={}", "log.backends=[wandb, trackio]"))
    assert str(refused.value).count("\n") == 2


def test_a_file_that_is_not_there(recipe: Make) -> None:
    with pytest.raises(UserError, match=r"nowhere\.jsonl"):
        Trainer(recipe("data.task=null", "data.train=nowhere.jsonl"))


def test_a_reward_that_is_not_there(recipe: Make) -> None:
    with pytest.raises(UserError, match="no_such_module"):
        Trainer(recipe("reward.functions={no_such_module:f: 1.0}"))


@pytest.mark.parametrize("held_out", [False, True])
def test_a_column_that_a_reward_asks_for(held_out: bool, recipe: Make, tmp_path: Path) -> None:
    config = recipe(
        "data.task=null", "data.train=given", "reward.functions={}", "evaluation.every=1"
    )
    whole, without = [{"prompt": "1", "answer": "1"}], [{"prompt": "1", "gold": "1"}]
    with pytest.raises(UserError, match=r"needs the column 'answer', which the data lack; .* gold"):
        Trainer(
            config,
            rewards=[needs_answer],
            questions=whole if held_out else without,
            held_out=without if held_out else whole,
        )


@pytest.mark.parametrize("held_out", [False, True])
def test_tests_that_cannot_be_read(held_out: bool, recipe: Make) -> None:
    config = recipe(
        "data.task=null", "data.train=given", "reward.functions={}", "evaluation.every=1"
    )
    whole = [{"prompt": "1", "tests": ["assert f(1) == 2"]}]
    broken = [{"prompt": "2", "tests": ["assert f(1) > 2"]}]
    with pytest.raises(UserError, match=r"^the question '2': tests: the assertion .* is not of"):
        Trainer(
            config,
            rewards=[code],
            questions=whole if held_out else broken,
            held_out=broken if held_out else whole,
        )

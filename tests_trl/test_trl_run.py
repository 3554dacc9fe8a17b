"""Whole runs of the balance family in TRL, on Countdown's prompts and the built-in model."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl_rollouts import BUILT_IN, settings

from evenflow.errors import UserError
from evenflow.plugins.trl import FlowRLConfig, FlowRLTrainer
from evenflow.plugins.trl.trainer import CHECKPOINT
from evenflow.tasks.countdown import Countdown


def adds(completions: list[str], **columns: list) -> list[float]:
    """Easily learned, so that few steps show it."""
    return [float("*" not in completion) for completion in completions]


def run(folder: Path, peft_config: Any = None, **changes: Any) -> FlowRLTrainer:
    usual = {
        "per_device_train_batch_size": 32,
        "num_generations": 8,
        "max_completion_length": 24,
        "learning_rate": 5e-4,
        "max_grad_norm": 1.0,
        "optim": "adamw_torch",
    }
    return FlowRLTrainer(
        AutoModelForCausalLM.from_pretrained(BUILT_IN, dtype=torch.float32),
        adds,
        FlowRLConfig(**settings(folder, **usual | changes)),
        Dataset.from_list(Countdown().rows("train", 64)),
        processing_class=AutoTokenizer.from_pretrained(BUILT_IN),
        peft_config=peft_config,
    )


@pytest.mark.parametrize("preset", ["flowrl", "tba"])
def test_the_reward_rises(tmp_path: Path, preset: str) -> None:
    learned = run(tmp_path, preset=preset, max_steps=14)
    learned.train()
    rewards = [row["reward"] for row in learned.state.log_history if "reward" in row]
    assert fmean(rewards[-5:]) > fmean(rewards[:5]) + 0.15
    assert all("log_z/error" in row for row in learned.state.log_history[:-1])


@pytest.mark.parametrize("log_z", ["head", "running"])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path, log_z: str) -> None:
    """Weights, and log Z: the head and its optimiser, or what is known of each question."""
    choices = {
        "objective": {"log_z": log_z, "scale": "sum", "inverse_temperature": 5.0},
        "save_strategy": "steps",
        "save_steps": 2,
        "max_steps": 4,
        "per_device_train_batch_size": 16,
    }
    whole = run(tmp_path / "whole", **choices)
    whole.train()
    saved = tmp_path / "whole" / "checkpoint-2"
    resumed = run(tmp_path / "resumed", **choices)
    resumed.train(resume_from_checkpoint=str(saved))
    for one, two in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)
    kept = [part.head or part.memory for part in (whole, resumed)]
    one, two = (part.state_dict() for part in kept)
    if log_z == "head":
        assert one["head"]["mlp.0.weight"].equal(two["head"]["mlp.0.weight"])
        assert not any(name.startswith("mlp") for name in whole.model.state_dict())
    else:
        assert one == two
    other = run(tmp_path / "other", **choices | {"objective": {"log_z": "leave-one-out"}})
    other.train(resume_from_checkpoint=str(saved))  # which needs nothing of it
    (saved / CHECKPOINT).unlink()
    with pytest.raises(UserError, match="there is no such file, which holds log Z"):
        run(tmp_path / "missing", **choices).train(resume_from_checkpoint=str(saved))


def test_steps_that_share_a_rollout_have_weights_of_their_own(tmp_path: Path) -> None:
    """Two steps and two iterations a rollout: after the first step the policy has moved."""
    learned = run(
        tmp_path,
        preset="flowrl",
        per_device_train_batch_size=16,
        steps_per_generation=2,
        num_iterations=2,
        max_steps=4,
    )
    learned.train()
    rows = learned.state.log_history[:4]
    assert rows[0]["weight/mean"] == pytest.approx(1, abs=1e-4)
    assert all(abs(row["weight/mean"] - 1) > 1e-4 for row in rows[1:])
    assert ["reward" in row for row in rows] == [True, False, False, False]


def test_adapters_learn_and_the_head_beside_them(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    adapter = peft.LoraConfig(r=2, target_modules="all-linear")
    learned = run(tmp_path, peft_config=adapter, max_steps=2)
    assert learned.head is not None
    before = learned.head.module.mlp[0].weight.clone()
    learned.train()
    assert learned.ref_model is None
    assert not learned.head.module.mlp[0].weight.equal(before)
    assert any(
        p.abs().sum() > 0 for name, p in learned.model.named_parameters() if "lora_B" in name
    )

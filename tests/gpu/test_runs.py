"""Runs on a GPU: every method, going on, adapters, and what a checkpoint is elsewhere."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from evenflow.config import TrainConfig
from evenflow.errors import UserError
from evenflow.objectives import PRESETS
from evenflow.policy.loading import load_model
from evenflow.policy.policy import Policy
from evenflow.run.out_of_memory import naming_the_field
from evenflow.training.checkpoint import load_state, random_state
from evenflow.training.trainer import Trainer
from tests.gpu.test_numbers import BUILT_IN, MEAN_GAP, make_rows
from tests.training.runs import assert_equal, assert_same_run, metrics, open_run, train

Make = Callable[..., TrainConfig]
pytestmark = pytest.mark.gpu
RATE = 1e-3


@pytest.fixture
def there(recipe: Make, device: torch.device) -> Make:
    """A small recipe for that device, in the precision that it chooses itself."""

    def make(*overrides: str) -> TrainConfig:
        return recipe(f"device={device.type}", f"train.learning_rate={RATE}", *overrides)

    return make


@pytest.mark.parametrize("algorithm", PRESETS)
def test_every_method_takes_two_steps(there: Make, algorithm: str) -> None:
    rows = metrics(train(there(f"algorithm={algorithm}", "train.steps=2", "reward.right=0.1")))
    assert len(rows) == 2
    for row in rows:
        assert math.isfinite(row["loss"])
        assert row["grad_norm/policy"] > 0
        assert row["sampler/gap"] < 0.3


def test_a_run_learns_from_its_reference_on(there: Make) -> None:
    """KL to the reference is 0 before the first step, in whatever precision."""
    rows = metrics(train(there("algorithm=tba", "train.steps=12", "train.learning_rate=5e-3")))
    assert rows[0]["kl/reference"] == 0
    assert rows[-1]["kl/reference"] > 0
    rewards = [row["reward/mean"] for row in rows]
    assert sum(rewards[-3:]) > sum(rewards[:3])


@pytest.mark.parametrize("lora", [(), ("model.lora={rank: 2}",)], ids=["whole", "lora"])
def test_a_resumed_run_stands_where_it_stood_and_goes_on(
    there: Make, device: torch.device, tmp_path: Path, lora: tuple[str, ...]
) -> None:
    """Weights, moments and generators bit for bit; on a CPU all that follows as well. On a GPU sums
    of gradients are taken in any order, so that what follows is only close."""
    config = there("algorithm=tba", "checkpoint.every=2", "checkpoint.keep=3", *lora)
    stopped = Trainer(config.model_copy(deep=True), open_run(config, "test"))
    whole = stopped.run().checkpoint
    copy = Path(shutil.copytree(whole.parent, tmp_path / "copy"))
    shutil.rmtree(copy / whole.name)
    saved = copy / "checkpoint-000002"
    resumed = Trainer(config, copy, resume=saved)
    kept = load_state(saved)
    moments = resumed.stepper.learner.optimizer.state_dict()
    assert_equal(moved(moments), moved(kept["optimizer"]))
    assert_equal(random_state(resumed.device)["random_cuda"], kept["random_cuda"])
    resumed.run()
    if device.type == "cpu":
        assert_same_run(copy, whole.parent)
    before, after = (metrics(run / whole.name) for run in (whole.parent, copy))
    assert [row["step"] for row in after] == [row["step"] for row in before]
    assert after[2]["reward/mean"] == pytest.approx(before[2]["reward/mean"], abs=1e-6)
    for file in whole.glob("*.safetensors"):
        ours, theirs = load_file(copy / whole.name / file.name), load_file(file)
        for name, weights in theirs.items():
            assert (ours[name].float() - weights.float()).abs().mean() < RATE


def moved(state: object) -> object:
    """A nested state on the CPU."""
    if isinstance(state, torch.Tensor):
        return state.cpu()
    if isinstance(state, dict):
        return {key: moved(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return [moved(value) for value in state]
    return state


@pytest.mark.parametrize("lora", [(), ("model.lora={rank: 2}",)], ids=["whole", "lora"])
def test_a_checkpoint_is_at_home_on_a_cpu(
    there: Make, device: torch.device, lora: tuple[str, ...]
) -> None:
    """Loaded there it is the policy that was trained; and the run goes on there."""
    config = there(BUILT_IN, "train.steps=2", "reward.functions={}", *lora)
    trainer = Trainer(config, open_run(config, "test"))
    saved = trainer.run().checkpoint
    loaded = Policy(load_model(str(saved), torch.float32))
    found, truth = trainer.policy.score(*make_rows()).cpu(), loaded.score(*make_rows())
    mask = truth != 0
    assert (found - truth)[mask].abs().mean() < MEAN_GAP["bfloat16"]
    on_cpu = config.model_copy(
        update={"device": "cpu", "train": config.train.model_copy(update={"steps": 3})}
    )
    assert Trainer(on_cpu, saved.parent, resume=saved).run().steps == 3


def test_running_out_of_memory_names_the_field(device: torch.device) -> None:
    with (
        pytest.raises(UserError, match=r"out of memory in rollout: lower rollout\.max_batch"),
        naming_the_field("rollout"),
    ):
        torch.empty(2**50, dtype=torch.uint8, device=device)

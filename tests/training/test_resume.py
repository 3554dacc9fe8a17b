"""A run that was stopped, killed or cut off goes on, and ends as one that never was."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flowbalance.config import TrainConfig
from flowbalance.policy.loading import load_model, load_tokenizer
from flowbalance.training.trainer import Trainer
from tests.training.runs import assert_same_run, train

Make = Callable[..., TrainConfig]


@pytest.fixture(scope="session")
def half_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model in float16, as the built-in one is: its weights are converted when a run
    begins, and read as they stand in the checkpoint's file when it goes on."""
    import torch

    folder = tmp_path_factory.mktemp("half")
    load_model(str(tiny_model), torch.float16).save_pretrained(folder)  # pyright: ignore
    load_tokenizer(str(tiny_model)).save_pretrained(folder)
    return folder


# --- bit for bit -----------------------------------------------------------------------------

MINI = ("train.mini_batch_questions=1", "train.epochs=2")
# A matrix times one vector is where a CPU's kernels round by the weights' place in memory.
ONE_TOKEN = ("rollout.max_completion_length=1", "train.micro_batch_tokens=1")
FAMILIES = [
    ("algorithm=tba", *ONE_TOKEN),
    ("algorithm=tba", *MINI, *ONE_TOKEN),
    ("algorithm=tba", "objective={log_z: running}", "train.schedule=cosine", *MINI, *ONE_TOKEN),
    ("algorithm=tba", "objective={log_z: offline}", *ONE_TOKEN),
    ("algorithm=flowrl", "head.dropout=0.1", "train.mini_batch_questions=1", *ONE_TOKEN),
    ("algorithm=flowrl", "rollout.max_batch=1", *MINI),
    ("algorithm=flowrl", "model.lora={rank: 2, dropout: 0.1}", "train.epochs=2"),
    ("algorithm=grpo", *MINI, *ONE_TOKEN),
    ("algorithm=dapo", "reward.right=0.1", "train.answers=2000"),
    ("algorithm=ppo", *MINI, *ONE_TOKEN),
    ("algorithm=ppo", "critic.trunk=own", "train.mini_batch_questions=1", *ONE_TOKEN),
    ("algorithm=prorl", "reward.right=0.1", "reset.every=1", "reset.patience=0", *ONE_TOKEN),
]


@pytest.mark.parametrize("overrides", FAMILIES, ids=lambda o: " ".join(o))
def test_going_on_is_bit_for_bit(
    recipe: Make, half_model: Path, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    """From a checkpoint in the middle, in a copy of the folder."""
    small = ("rollout.questions=2", "rollout.num_generations=3", "train.steps=3")
    every = ("checkpoint.every=1", "checkpoint.keep=3")
    config = recipe(f"model.path={half_model}", *small, *overrides, *every)
    whole = train(config)
    copy = Path(shutil.copytree(whole.parent, tmp_path / "copy"))
    for name in ("checkpoint-000002", whole.name):
        shutil.rmtree(copy / name)
    resumed = Trainer(config, copy, resume=copy / "checkpoint-000001")
    moments = [m for state in resumed.learner.optimizer.state.values() for m in state.values()]
    for tensor in (*resumed.policy.parameters(), *resumed.policy.buffers(), *moments):
        assert tensor.data_ptr() % 64 == 0
    resumed.run()
    assert_same_run(copy, whole.parent)

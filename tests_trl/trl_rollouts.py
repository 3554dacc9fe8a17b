"""Trainers on rollouts that are given, in place of those that TRL would sample: three questions
with four answers, one reward unknown, the same for every division among processes and steps."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOTrainer

from evenflow.plugins.trl import FlowRLConfig, FlowRLTrainer

BUILT_IN = Path(str(files("evenflow"))) / "assets" / "countdown"
QUESTIONS, G, P, T = 3, 4, 5, 6
N = QUESTIONS * G
UNKNOWN = 6


def rollout(*, stale: bool = False) -> dict[str, Tensor]:
    """A rollout batch as TRL gives it, of all processes; answers 2 and 3 are copies, and so
    are 5 and 6, whose reward is unknown. `stale`: with old log-probs of another policy."""
    generator = torch.Generator().manual_seed(5)

    def padded(width: int) -> Tensor:
        lengths = torch.randint(2, width + 1, (N,), generator=generator)
        return (torch.arange(width) < lengths[:, None]).long()

    prompts = torch.randint(3, 16, (QUESTIONS, P), generator=generator)
    prompt_mask = padded(P).flip(1)[::G].repeat_interleave(G, 0)
    ids, mask = torch.randint(3, 16, (N, T), generator=generator), padded(T)
    ids[3], mask[3] = ids[2], mask[2]
    ids[UNKNOWN], mask[UNKNOWN] = ids[UNKNOWN - 1], mask[UNKNOWN - 1]
    found = {
        "prompt_ids": prompts.repeat_interleave(G, 0) * prompt_mask,
        "prompt_mask": prompt_mask,
        "completion_ids": ids * mask,
        "completion_mask": mask,
        "advantages": torch.zeros(N),
        "ref_per_token_logps": -3 * torch.rand(N, T, generator=generator),
        "num_items_in_batch": mask.sum(),
    }
    if stale:
        found["old_per_token_logps"] = -3 * torch.rand(N, T, generator=generator)
    return found


def rewards() -> Tensor:
    """(N, 1) of one function."""
    found = torch.rand(N, 1, generator=torch.Generator().manual_seed(6)).round()
    found[UNKNOWN] = torch.nan
    return found


def feed(patch: pytest.MonkeyPatch, batch: dict[str, Tensor]) -> None:
    """Let TRL's trainers take `batch` for what they have sampled."""

    def sampled(self: Any, inputs: Any) -> dict[str, Tensor]:
        self._calculate_rewards()
        size = N // self.accelerator.num_processes
        own = slice(first := self.accelerator.process_index * size, first + size)
        return {name: x[own] if x.ndim else x for name, x in batch.items()}

    patch.setattr(GRPOTrainer, "_generate_and_score_completions", sampled)
    patch.setattr(GRPOTrainer, "_calculate_rewards", lambda self: rewards())


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    """Of a FlowRLConfig; plain gradient descent, so that a step shows the gradient's size."""
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": N,
        "num_generations": G,
        "max_completion_length": T,
        "max_steps": 1,
        "logging_steps": 1,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "optim": "sgd",
        "report_to": [],
        "save_strategy": "no",
        "use_cpu": True,
        "bf16": False,
        "seed": 0,
        "disable_tqdm": True,
    } | changes


def trainer(folder: Path, model: Any = None, **changes: Any) -> FlowRLTrainer:
    """On the built-in model, or another."""
    if model is None:
        model = AutoModelForCausalLM.from_pretrained(BUILT_IN, dtype=torch.float32)
    return FlowRLTrainer(
        model,
        lambda completions, **columns: [0.0] * len(completions),
        FlowRLConfig(**settings(folder, **changes)),
        Dataset.from_list([{"prompt": "1 2"}] * N),
        processing_class=AutoTokenizer.from_pretrained(BUILT_IN),
    )


def take_a_step(folder: Path, **changes: Any) -> dict[str, Any]:
    """The weights after one step on the rollout, and what was logged."""
    with pytest.MonkeyPatch.context() as patch:
        feed(patch, rollout())
        learned = trainer(folder, **changes)
        learned.train()
    model = learned.accelerator.unwrap_model(learned.model)
    return {"weights": model.state_dict(), "logged": learned.state.log_history[0]}


def take_steps_in_one_of(
    rank: int, world: int, folder: Path, runs: dict[str, dict[str, Any]]
) -> None:
    """A process of several, on gloo: a step of each run; the first writes what came of them."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": (folder / "port").read_text(),
    }
    torch.set_num_threads(1)
    found = {name: take_a_step(folder / "out", **changes) for name, changes in runs.items()}
    if rank == 0:
        torch.save(found, folder / "found.pt")
    torch.distributed.destroy_process_group()

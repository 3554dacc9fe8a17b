"""The numbers of what was sampled, by name; docs/diagnose.md says how to read them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from evenflow.bounds import is_right
from evenflow.rewards import RewardResult
from evenflow.rollout.experience import Experience


def rollout_metrics(experience: Experience, result: RewardResult, right: float) -> dict[str, float]:
    """What was sampled and how it was rewarded. Lengths in tokens, entropy in nats a token."""
    totals = torch.tensor(result.total)
    rewards = totals[~totals.isnan()]
    groups: dict[str, set[float]] = {}
    for prompt, total in zip(experience.prompts, totals.tolist(), strict=True):
        if not math.isnan(total):
            groups.setdefault(prompt.key, set()).add(total)
    parts = {
        f"reward/{name}": nan_mean(torch.tensor(values)) for name, values in result.parts.items()
    }
    lengths = experience.mask.sum(1).float()
    return {
        "reward/mean": rewards.mean().item(),
        "reward/std": (rewards - rewards.mean()).square().mean().sqrt().item(),
        **(parts if len(parts) > 1 else {}),
        "reward/unknown": totals.isnan().float().mean().item(),
        "reward/equal_groups": nan_mean(
            torch.tensor([float(len(values) == 1) for values in groups.values()])
        ),
        "accuracy": is_right(rewards, right).float().mean().item(),
        "answer/length": lengths.mean().item(),
        "answer/cut_off": (~experience.finished).float().mean().item(),
        # −log π of sampled tokens: an unbiased estimate of the policy's entropy per token
        "policy/entropy": -(experience.logprobs.sum() / lengths.sum()).item(),
    }


def nan_mean(values: Tensor) -> float:
    """The mean of what is known; NaN if nothing is."""
    return values[~values.isnan()].mean().item()

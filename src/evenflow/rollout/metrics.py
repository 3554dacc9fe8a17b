"""The numbers of what was sampled, by name; docs/diagnose.md says how to read them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from evenflow.bounds import is_right
from evenflow.rollout.group import Group


def rollout_metrics(groups: Sequence[Group], right: float) -> dict[str, float]:
    """What was sampled and how it was rewarded. Lengths in tokens, entropy in nats a token."""
    totals = torch.tensor([total for group in groups for total in group.total])
    rewards = totals[~totals.isnan()]
    spread = [len(set(group.known.total)) for group in groups]
    results = [group.rewards for group in groups if group.rewards is not None]
    parts = {
        f"reward/{name}": nan_mean(
            torch.tensor([value for result in results for value in result.parts[name]])
        )
        for name in results[0].parts
    }
    lengths = torch.tensor([len(ids) for group in groups for ids in group.answers]).float()
    finished = torch.tensor([ended for group in groups for ended in group.finished])
    logprobs = torch.tensor([t for group in groups for row in group.logprobs for t in row])
    return {
        "reward/mean": rewards.mean().item(),
        "reward/std": (rewards - rewards.mean()).square().mean().sqrt().item(),
        **(parts if len(parts) > 1 else {}),
        "reward/unknown": totals.isnan().float().mean().item(),
        "reward/equal_groups": nan_mean(
            torch.tensor([float(values == 1) for values in spread if values])
        ),
        "accuracy": is_right(rewards, right).float().mean().item(),
        "answer/length": lengths.mean().item(),
        "answer/cut_off": (~finished).float().mean().item(),
        # −log π of sampled tokens: an unbiased estimate of the policy's entropy per token
        "policy/entropy": -(logprobs.sum() / lengths.sum()).item(),
    }


def nan_mean(values: Tensor) -> float:
    """The mean of what is known; NaN if nothing is."""
    return values[~values.isnan()].mean().item()

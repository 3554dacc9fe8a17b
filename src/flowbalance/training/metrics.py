"""The numbers of a step, by name; docs/diagnose.md says how to read them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowbalance.rewards import RewardResult, is_right
from flowbalance.rollout.experience import Experience
from flowbalance.training.learning import Learned

LEAST_SPREAD = 1e-6  # of returns: below it a variance is rounding


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


def learning_metrics(learned: Learned) -> dict[str, Any]:
    """What was learned: averages over the step's answers, mini-batches and epochs; numbers, and
    where weights differ from 1 their `weight/histogram`, a list."""
    of = {name: torch.cat(values).float() for name, values in learned.answers.items()}
    metrics: dict[str, Any] = {
        "loss": fmean(learned.losses),
        **{f"grad_norm/{name}": fmean(norms) for name, norms in learned.grad_norms.items()},
        "optimizer/skipped": float(learned.skipped),
        "kl/old": of["kl_old"].mean().item(),
    }
    if "kl_ref" in of:
        metrics["kl/reference"] = of["kl_ref"].mean().item()
    if "sampler_gap" in of:
        metrics["sampler/gap"] = of["sampler_gap"].max().item()
    # As they are before truncation: what was cut off is what one wants to see.
    ratio = of["log_weight"].exp() if "log_weight" in of else of.get("ratio")
    if ratio is not None:
        cut = of.get("truncated", of.get("clipped"))
        # torch.quantile refuses more than 2^24 values.
        low, high = np.quantile(ratio.double().cpu().numpy(), [0.01, 0.99]).tolist()
        metrics |= {
            "weight/mean": ratio.mean().item(),
            "weight/p01": low,
            "weight/p99": high,
        }
        if cut is not None:
            metrics["weight/truncated"] = cut.mean().item()
        if bool((ratio != 1).any()):
            metrics["weight/histogram"] = weight_histogram(ratio)
    if "residual" in of:
        metrics |= {
            "residual/mean": of["residual"].mean().item(),
            "residual/abs": of["residual"].abs().mean().item(),
            "log_z/used": of["log_z"].mean().item(),
            "log_z/group": of["log_z_group"].mean().item(),
            "log_z/error": group_error(of["log_z"], of["log_z_group"], of["group"]),
        }
    if "entropy" in of:
        metrics["policy/entropy_exact"] = of["entropy"].mean().item()
    if "value_error" in of:
        error = of["value_error"].double().mean().item()
        spread = (of["return_square"].double().mean() - of["return"].double().mean() ** 2).item()
        metrics["value/error"] = error
        metrics["value/explained"] = 1 - error / spread if spread > LEAST_SPREAD else 0.0
    return metrics


def weight_histogram(weights: Tensor) -> list[int]:
    """How many importance weights lie around each of 2^(k/16), k = −64 … 64: between 1/16 and 16,
    sixteen bins to a factor of two, with 1 in the middle of its bin. The outer two hold all beyond.

    Weights that are not numbers are left out. (N,) -> 129 counts.
    """
    place = (16 * weights[~weights.isnan()].log2()).round().clamp(-64, 64) + 64
    return place.long().bincount(minlength=129).tolist()


def group_error(log_z: Tensor, estimate: Tensor, groups: Tensor) -> float:
    """Root mean square, over groups, of the log Z used minus the group's mean estimate: whether
    a head tells questions apart, which the two overall means cannot show."""
    _, index = groups.unique(return_inverse=True)
    count = index.bincount().to(log_z)
    gap = torch.zeros_like(count).index_add(0, index, log_z - estimate) / count
    return gap.square().mean().sqrt().item()


def nan_mean(values: Tensor) -> float:
    """The mean of what is known; NaN if nothing is."""
    return values[~values.isnan()].mean().item()


def shown(metrics: Mapping[str, float]) -> dict[str, str]:
    """The few that stand in the progress line."""
    names = {
        "reward": ("reward/mean", "{:.3f}"),
        "pass": ("accuracy", "{:.1%}"),
        "log Z": ("log_z/used", "{:.2f}"),
        "KL ref": ("kl/reference", "{:.3f}"),
        "tok/s": ("tokens_per_second", "{:.0f}"),
    }
    return {
        label: form.format(metrics[name])
        for label, (name, form) in names.items()
        if not math.isnan(metrics.get(name, math.nan))
    }

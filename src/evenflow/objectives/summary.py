"""A step's numbers from those of its answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def weighted_mean(values: Tensor, weights: Tensor) -> float:
    """Σ w·v / Σ w: (N,), (N,) -> a number."""
    values, weights = values.double(), weights.double()
    return ((values * weights).sum() / weights.sum()).item()


def divergence_metrics(metrics: Mapping[str, Tensor]) -> dict[str, float]:
    """How far the policy has moved, from `divergences` of all answers (N,): nats a token from the
    old policy, nats an answer from the reference."""
    found = {}
    if {"kl_old", "tokens"} <= metrics.keys():
        found["kl/old"] = weighted_mean(metrics["kl_old"], metrics["tokens"])
    if "kl_ref" in metrics:
        found["kl/reference"] = metrics["kl_ref"].mean().item()
    return found


def summarise_weights(weights: Tensor, truncated: float) -> dict[str, Any]:
    """Mean, quantiles and, where any differs from 1, the histogram of importance weights (N,)."""
    # torch.quantile refuses more than 2^24 values.
    low, high = np.quantile(weights.double().cpu().numpy(), [0.01, 0.99]).tolist()
    found: dict[str, Any] = {
        "weight/mean": weights.mean().item(),
        "weight/p01": low,
        "weight/p99": high,
        "weight/truncated": truncated,
    }
    if bool((weights != 1).any()):
        found["weight/histogram"] = weight_histogram(weights)
    return found


def weight_histogram(weights: Tensor) -> list[int]:
    """How many importance weights lie around each of 2^(k/16), k = −64 … 64: between 1/16 and 16,
    sixteen bins to a factor of two, with 1 in the middle of its bin. The outer two hold all beyond.

    Weights that are not numbers are left out. (N,) -> 129 counts.
    """
    place = (16 * weights[~weights.isnan()].log2()).round().clamp(-64, 64) + 64
    return place.long().bincount(minlength=129).tolist()


def group_error(log_z: Tensor, estimate: Tensor, groups: Tensor) -> float:
    """Root mean square, over groups, of the mean log Z used minus the group's own estimate: whether
    a head tells questions apart, which the two overall means cannot show."""
    _, index = groups.unique(return_inverse=True)
    count = index.bincount().to(log_z)
    gap = torch.zeros_like(count).index_add(0, index, log_z - estimate) / count
    return gap.square().mean().sqrt().item()

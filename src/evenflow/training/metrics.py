"""The numbers of a step, by name; docs/diagnose.md says how to read them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evenflow.objectives import Balance
from evenflow.objectives.log_z import group_log_z
from evenflow.training.learning import Learned, Objective

LEAST_SPREAD = 1e-6  # of returns: below it a variance is rounding


def learning_metrics(learned: Learned, objective: Objective | None = None) -> dict[str, Any]:
    """What was learned: averages over the step's answers, mini-batches and epochs; numbers, and
    where weights differ from 1 their `weight/histogram`, a list.

    What is said of tokens is a mean over tokens, what is said of δ and log Z one over answers as
    the loss weighs them (share·w), and the rest one over answers. `objective` is what was learned
    by, without which a group's log Z is that of the square.
    """
    of = {name: torch.cat(values) for name, values in learned.answers.items()}
    groups = of.pop("group", None)  # stay whole numbers: a float32 has 24 bits for them
    of = {name: values.float() for name, values in of.items()}
    tokens = of.get("tokens", torch.ones_like(of["kl_old"]))
    metrics: dict[str, Any] = {
        "loss": fmean(learned.losses),
        **{f"grad_norm/{name}": fmean(norms) for name, norms in learned.grad_norms.items()},
        "optimizer/skipped": float(learned.skipped),
        "kl/old": weighted_mean(of["kl_old"], tokens),
    }
    if "kl_ref" in of:
        metrics["kl/reference"] = of["kl_ref"].mean().item()
    if "sampler_gap" in of:
        metrics["sampler/gap"] = of["sampler_gap"].max().item()
    # As they are before truncation: what was cut off is what one wants to see.
    ratio = of["log_weight"].exp() if "log_weight" in of else of.get("ratio")
    if ratio is not None:
        # torch.quantile refuses more than 2^24 values.
        low, high = np.quantile(ratio.double().cpu().numpy(), [0.01, 0.99]).tolist()
        metrics |= {
            "weight/mean": ratio.mean().item(),
            "weight/p01": low,
            "weight/p99": high,
        }
        if "clipped" in of:
            metrics["weight/truncated"] = weighted_mean(of["clipped"], tokens)
        elif "truncated" in of:
            by_token = isinstance(objective, Balance) and objective.importance == "token"
            of_each = tokens if by_token else torch.ones_like(tokens)
            metrics["weight/truncated"] = weighted_mean(of["truncated"], of_each)
        if bool((ratio != 1).any()):
            metrics["weight/histogram"] = weight_histogram(ratio)
    if "residual" in of:
        log_omega = of.get("log_omega", torch.zeros_like(of["residual"]))
        omega = (log_omega - log_omega.max()).exp()  # only ratios count
        metrics |= {
            "residual/mean": weighted_mean(of["residual"], omega),
            "residual/abs": weighted_mean(of["residual"].abs(), omega),
            "log_z/used": weighted_mean(of["log_z"], omega),
            "log_z/group": weighted_mean(of["log_z_group"], omega),
        }
        if groups is not None:
            regression, alpha = "square", 1.0
            if isinstance(objective, Balance):
                regression, alpha = objective.regression, objective.linex_alpha
            estimate = group_log_z(-of["log_z_group"], groups, log_omega, regression, alpha)
            metrics["log_z/error"] = group_error(of["log_z"], estimate, groups)
    if "entropy" in of:
        metrics["policy/entropy_exact"] = weighted_mean(of["entropy"], tokens)
    if "value_error" in of:
        error, mean, square = (
            weighted_mean(of[name], tokens) for name in ("value_error", "return", "return_square")
        )
        spread = square - mean**2
        metrics["value/error"] = error
        metrics["value/explained"] = 1 - error / spread if spread > LEAST_SPREAD else 0.0
    return metrics


def weighted_mean(values: Tensor, weights: Tensor) -> float:
    """Σ w·v / Σ w: (N,), (N,) -> a number."""
    values, weights = values.double(), weights.double()
    return ((values * weights).sum() / weights.sum()).item()


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

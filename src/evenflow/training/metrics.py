"""The numbers of a step, by name; docs/diagnose.md says how to read them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from evenflow.errors import UserError
from evenflow.imports import ask, named
from evenflow.objectives import Objective
from evenflow.objectives.exponentials import LARGEST
from evenflow.objectives.summary import divergence_metrics, weighted_mean
from evenflow.training.learning import ALGORITHM, Learned


def learning_metrics(learned: Learned, objective: Objective) -> dict[str, Any]:
    """What was learned: averages over the step's answers, mini-batches and epochs, and what the
    objective says of them; numbers, and lists where the objective has a histogram.

    What is said of tokens is a mean over tokens.
    """
    of = {name: torch.cat(values) for name, values in learned.answers.items()}
    # A group's number stays whole: a float32 has 24 bits for it.
    of = {name: values if name == "group" else values.float() for name, values in of.items()}
    metrics: dict[str, Any] = {
        "loss": fmean(learned.losses),
        **{f"grad_norm/{name}": fmean(norms) for name, norms in learned.grad_norms.items()},
        "optimizer/skipped": float(learned.skipped),
        **divergence_metrics(of),
    }
    if "sampler_gap" in of:
        metrics["sampler/gap"] = of["sampler_gap"].max().item()
        tokens = of["sampler_gap_tokens"].sum()
        metrics["sampler/gap_mean"] = (of["sampler_gap_sum"].sum() / tokens).item()
    if "correction" in of:
        count = of["correction_count"]
        metrics["correction/mean"] = weighted_mean(of["correction"], count)
        metrics["correction/limited"] = weighted_mean(of["correction_limited"], count)
        metrics["correction/largest"] = math.exp(min(of["correction_log_ratio"].max(), LARGEST))
    if "staleness" in of:
        metrics |= staleness_metrics(of)
    said = ask(ALGORITHM, objective, "summarise", of, gives=dict)
    for name, value in said.items():
        if not (isinstance(name, str) and isinstance(value, int | float | list)):
            raise UserError(
                f"{named(ALGORITHM, objective, 'summarise')} gave {type(value).__name__} for "
                f"{name!r}; it must be a number, or a list of numbers"
            )
        # NumPy's float64 is a float, which a checkpoint could not be loaded with.
        metrics[name] = [*map(plain, value)] if isinstance(value, list) else plain(value)
    return metrics


def plain(number: float) -> float:
    """A number of Python's own."""
    return int(number) if isinstance(number, int) else float(number)


BUCKETS = (0, 1, 2, 4, 8, 16, 32)
"""From how many optimiser steps on a bucket of staleness reaches, up to the next."""


def staleness_metrics(of: Mapping[str, Tensor]) -> dict[str, float]:
    """How many optimiser steps the policy has taken since it sampled an answer, when it learns from
    it, and by that the mean importance weight, where there is one."""
    stale = of["staleness"]
    found = {"staleness/mean": stale.mean().item(), "staleness/max": stale.max().item()}
    weights = of["log_weight"].exp() if "log_weight" in of else of.get("ratio")
    if weights is None or found["staleness/max"] == 0:
        return found
    for low, high in pairwise((*BUCKETS, math.inf)):
        inside = (stale >= low) & (stale < high)
        if bool(inside.any()):
            found[f"weight/stale_{low}"] = weights[inside].mean().item()
    return found


def shown(metrics: Mapping[str, float]) -> dict[str, str]:
    """The few that stand in the progress line."""
    names = {
        "reward": ("reward/mean", "{:.3f}"),
        "pass": ("accuracy", "{:.1%}"),
        "log Z": ("log_z/used", "{:.2f}"),
        "KL ref": ("kl/reference", "{:.3f}"),
        "tok/s sampling": ("tokens_per_second/sampling", "{:.0f}"),
        "whole step": ("tokens_per_second", "{:.0f}"),
    }
    values = {
        label: form.format(metrics[name])
        for label, (name, form) in names.items()
        if not math.isnan(metrics.get(name, math.nan))
    }
    if metrics.get("kl/reference", 0.0) < 0:
        values["KL ref"] += " (a mean over samples: noise takes it below 0)"
    return values

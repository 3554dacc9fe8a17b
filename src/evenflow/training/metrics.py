"""The numbers of a step, by name; docs/diagnose.md says how to read them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean
from typing import Any

import torch

from evenflow.errors import UserError
from evenflow.imports import ask, named
from evenflow.objectives import Objective
from evenflow.objectives.summary import weighted_mean
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
    }
    if {"kl_old", "tokens"} <= of.keys():
        metrics["kl/old"] = weighted_mean(of["kl_old"], of["tokens"])
    if "kl_ref" in of:
        metrics["kl/reference"] = of["kl_ref"].mean().item()
    if "sampler_gap" in of:
        metrics["sampler/gap"] = of["sampler_gap"].max().item()
    said = ask(ALGORITHM, objective, "summarise", of, gives=dict)
    for name, value in said.items():
        if not (isinstance(name, str) and isinstance(value, int | float | list)):
            raise UserError(
                f"{named(ALGORITHM, objective, 'summarise')} gave {type(value).__name__} for "
                f"{name!r}; it must be a number, or a list of numbers"
            )
    return metrics | said


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

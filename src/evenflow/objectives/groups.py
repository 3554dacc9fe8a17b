"""Sums, maxima and normalised rewards over the answers to one question: (N,) -> (N,)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Normalisation = Literal["raw", "centred", "group", "leave-one-out"]
STD_FLOOR = 1e-6


def group_sum(values: Tensor, groups: Tensor) -> Tensor:
    """Σ_{j in the group of i} values_j."""
    ids, row = torch.unique(groups, return_inverse=True)
    return values.new_zeros(len(ids)).index_add(0, row, values)[row]


def group_max(values: Tensor, groups: Tensor) -> Tensor:
    """max_{j in the group of i} values_j."""
    ids, row = torch.unique(groups, return_inverse=True)
    lowest = values.new_full((len(ids),), -torch.inf)
    return lowest.scatter_reduce(0, row, values, "amax")[row]


def group_size(groups: Tensor, like: Tensor) -> Tensor:
    """G, the number of answers in the group of i."""
    return group_sum(torch.ones_like(like), groups)


def normalise_rewards(rewards: Tensor, groups: Tensor, how: Normalisation) -> Tensor:
    """Reward normalised within its group of G answers.

    raw            r
    centred        r − mean
    group          (r − mean) / (std + 1e-6), std with G − 1 in the denominator
    leave-one-out  r − mean of the others = (r − mean)·G/(G − 1)

    Equal rewards, and a group of one answer, give exactly 0 (except for raw).

    Shapes: rewards (N,), groups (N,) -> (N,).
    """
    if how == "raw":
        return rewards
    size = group_size(groups, rewards)
    # The largest reward goes first: rounding in the mean of equal rewards, divided by a std of
    # rounding errors, would otherwise be a signal.
    shifted = rewards - group_max(rewards, groups)
    centred = shifted - group_sum(shifted, groups) / size
    others = (size - 1).clamp(min=1)
    if how == "centred":
        return centred
    if how == "leave-one-out":
        return centred * size / others
    return centred / ((group_sum(centred**2, groups) / others).sqrt() + STD_FLOOR)

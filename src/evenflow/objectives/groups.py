"""Sums, maxima and normalised rewards over the answers to one question: (N,) -> (N,)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from evenflow.errors import UserError

Normalisation = Literal["raw", "centred", "group", "leave-one-out", "relative"]
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


def shares_of(groups: Sequence[int], tokens: Sequence[Sequence[int]]) -> Tensor:
    """1 / how often each answer, as token ids, occurs in its group."""
    rows = list(zip(groups, map(tuple, tokens), strict=True))
    copies = Counter(rows)
    return torch.tensor([1 / copies[row] for row in rows])


def normalise_rewards(rewards: Tensor, groups: Tensor, how: Normalisation) -> Tensor:
    """Reward normalised within its group of G answers.

    raw            r
    centred        r − mean
    group          (r − mean) / (std + 1e-6), std with G − 1 in the denominator
    leave-one-out  r − mean of the others = (r − mean)·G/(G − 1)
    relative       (r − mean) / mean; 0 where the mean is not above 0 (MaxRL, arXiv 2602.02710)

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
    if how == "relative":
        mean = group_sum(rewards, groups) / size
        return torch.where(mean > 0, centred / torch.where(mean > 0, mean, 1.0), 0.0)
    return centred / ((group_sum(centred**2, groups) / others).sqrt() + STD_FLOOR)


def refuse_negative(rewards: Tensor, choice: str) -> None:
    """UserError where a reward is below 0: `choice: relative` divides by a mean that is above."""
    if bool((rewards < 0).any()):
        raise UserError(
            f"{choice}: relative divides by a group's mean reward, and a reward is below 0; give "
            "rewards of 0 and more, 0 and 1 best"
        )


def gain_of_best(rewards: Tensor, groups: Tensor, k: int) -> Tensor:
    """k·mean over all sets S of k − 1 other answers of the group of [r − max_S r]₊; r for k = 1.

    What an answer adds to the best of k, whose mean over answers times ∇log π is an unbiased
    gradient of the expected best of k, pass@k for rewards of 0 and 1 (PKPO, arXiv 2505.15201, with
    the baseline of the other k − 1). In a group of fewer than k answers, k is their number; a
    single one teaches nothing then.

    With the rewards in ascending order and C for the binomial coefficient the best of S is the
    j-th with probability C(j − 1, k − 2)/C(G − 1, k − 1). Shapes: rewards, groups (N,) -> (N,).
    """
    if k == 1:
        return rewards
    found = torch.zeros_like(rewards)
    shifted = rewards - group_max(rewards, groups)  # so that equal rewards give exactly 0
    for group in torch.unique(groups):
        rows = (groups == group).nonzero()[:, 0]
        values, order = shifted[rows].sort()
        size, best_of = len(rows), min(k, len(rows))
        if size == 1:
            continue
        sets = math.comb(size - 1, best_of - 1)
        chance = values.new_tensor([math.comb(j, best_of - 2) / sets for j in range(size)])
        below, best = chance.cumsum(0) - chance, (chance * values).cumsum(0) - chance * values
        found[rows[order]] = best_of * (below * values - best)
    return found

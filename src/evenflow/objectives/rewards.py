"""Reward normalisation within a group: r̃ of the balance family, the surrogate's advantage."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from evenflow.objectives.groups import group_max, group_size, group_sum

Normalisation = Literal["raw", "centred", "group", "leave-one-out"]
STD_FLOOR = 1e-6


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

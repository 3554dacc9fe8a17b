"""How much an answer counts, by how hard its question is and how rare it is among the right ones.

Weights without gradient and above 0, (N,) -> (N,). `right` says which answers are right, `share` is
1 / how often an answer occurs in its group where copies count once, else 1.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from evenflow.objectives.groups import group_max, group_size, group_sum

QuestionWeight = Literal["none", "inverse", "root"]


def question_weight(right: Tensor, groups: Tensor, share: Tensor, how: QuestionWeight) -> Tensor:
    """1/p̂ (inverse) or 1/√p̂ (root) of each answer's question, with mean 1 over the batch.

    p̂ is the share of right answers in the group, 1/G where none is: a question of which nothing is
    known but that it is hard counts as one right answer would let it. 1/p̂ is the weight with which
    the likelihood of a right answer, Σ log p, has its gradient instead of accuracy, Σ p (MaxRL,
    arXiv 2602.02710).
    """
    if how == "none":
        return torch.ones_like(share)
    size = group_size(groups, share)
    rate = (group_sum(right.to(share), groups) / size).clamp(min=1 / size)
    weight = 1 / (rate if how == "inverse" else rate.sqrt())
    return weight * share.sum() / (share * weight).sum()


def rarity_weight(
    mean_logprob: Tensor, right: Tensor, groups: Tensor, share: Tensor, rarity: float
) -> Tensor:
    """n·[(1 − τ)/n + τ·q⁻¹/Σ q⁻¹] of the n right answers of a group, 1 of the others.

    q is the softmax of the right answers' mean log π_old a token, τ = `rarity`: the share of their
    weight that is dealt out by how unlikely they are. Their mean weight stays 1. (UCPO, arXiv
    2605.00365.) mean_logprob (N,).
    """
    if rarity == 0:
        return torch.ones_like(share)
    # Only ratios of q⁻¹ count: the rarest of each group is set to 1.
    lowest = -group_max(torch.where(right, -mean_logprob, -torch.inf), groups)
    inverse = torch.where(right, (lowest - mean_logprob).exp(), 0.0)
    count = group_sum(torch.where(right, share, 0.0), groups)
    mean = group_sum(share * inverse, groups) / count
    return torch.where(right, 1 - rarity + rarity * inverse / mean, 1.0)

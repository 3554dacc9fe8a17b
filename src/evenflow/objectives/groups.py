"""Sums and maxima over the answers to one question, given back to each answer: (N,) -> (N,)."""

from __future__ import annotations

import torch
from torch import Tensor


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

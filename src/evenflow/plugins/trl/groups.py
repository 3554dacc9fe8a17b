"""A rollout batch of whole groups, gathered from all processes.

TRL divides a rollout batch among its processes and then, shuffled, among its steps, so that the
answers of a group part. What depends on the whole group is computed here, once a rollout; every
process does so for all groups, and keeps its own rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from evenflow.objectives import Answers, Balance, Memory
from evenflow.objectives.groups import group_sum

OF_GROUP = ("groups", "signal", "prior", "emphasis", "log_z", "share")
"""Fields of `Answers` that are known of each answer once its group was seen."""


@dataclass(frozen=True)
class Groups:
    """N answers, what is known of each from its group, and which of them count."""

    counts: Tensor
    """(N,) whether an answer has tokens and a known reward: the others are left out of their group
    as well."""
    rows: dict[str, Tensor]
    """(N,) each of `OF_GROUP` that there is; 0 where an answer does not count."""
    total: float
    """The denominator of the loss of all N."""
    numbers: dict[str, float]
    """To be reported."""


def shares_of(ids: Tensor, mask: Tensor, groups: Tensor) -> Tensor:
    """1 / how often an answer occurs in its group: ids and mask (N, T), groups (N,) -> (N,)."""
    rows = torch.cat([groups[:, None], ids.masked_fill(~mask.bool(), -1)], dim=1)
    _, place, count = torch.unique(rows, dim=0, return_inverse=True, return_counts=True)
    return 1 / count[place].float()


def prepare_groups(
    choices: Balance, answers: Answers, memory: Memory | None, keys: Sequence[str]
) -> Groups:
    """What the objective makes of whole groups; `rewards` are NaN where unknown, and old log-probs
    are read where the objective needs them. `keys` (N,) of the questions, for a `memory`.

    log Z of a group is that of the old policy, which is the current one at the first step.
    """
    counts = answers.mask.bool().any(1) & answers.rewards.isfinite()
    left_out = group_sum((~counts).float(), answers.groups) > 0
    numbers = {
        "answers/left_out": float((~counts).sum()),
        "groups/incomplete": float(answers.groups[left_out].unique().numel()),
    }
    rows, total = {"groups": answers.groups}, 0.0
    if bool(counts.any()):
        index = counts.nonzero()[:, 0]
        known = choices.prepare(answers[index])
        if memory is not None:
            known, said = memory.fill(known, [keys[int(i)] for i in index])
            numbers |= said
        known = choices.estimate(known.old_logprobs, known)
        total = float(choices.total(known))
        for name in OF_GROUP[1:]:
            values = getattr(known, name)
            if values is not None:
                rows[name] = values.new_zeros(len(counts)).index_copy(0, index, values)
    return Groups(counts, rows, total, numbers)

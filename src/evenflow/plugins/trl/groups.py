"""A rollout batch of whole groups, gathered from all processes.

TRL divides a rollout batch among its processes and then, shuffled, among its steps, so that the
answers of a group part. What depends on the whole group is computed here, once a rollout; every
process does so for all groups, and keeps its own rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from evenflow.objectives import Answers, Balance, Memory
from evenflow.objectives.groups import group_sum, shares_of

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


def prepare_groups(
    choices: Balance,
    answers: Answers,
    tokens: Sequence[Sequence[int]],
    memory: Memory | None,
    keys: Sequence[str],
) -> Groups:
    """What the objective makes of whole groups; `rewards` are NaN where unknown, and old log-probs
    are read where the objective needs them. `tokens` (N,) tell copies of an answer, `keys` (N,) the
    questions, for a `memory`. A copy that is left out does not count as one.

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
        places: list[int] = index.tolist()
        known = answers[index]
        if choices.needs.shares:
            share = shares_of(known.groups.tolist(), [tokens[i] for i in places])
            known = known.replace(share=share.to(known.mask.device))
        known = choices.prepare(known)
        if memory is not None:
            known, said = memory.fill(known, [keys[i] for i in places])
            numbers |= said
        known = choices.estimate(known.old_logprobs, known)
        total = float(choices.total(known))
        for name in OF_GROUP[1:]:
            values = getattr(known, name)
            if values is not None:
                rows[name] = values.new_zeros(len(counts)).index_copy(0, index, values)
    return Groups(counts, rows, total, numbers)

"""Between verl's batches and the objective's answers.

    trainer, once a rollout   rewards, old and reference log-probs → what δ is made of, an answer
    worker, each micro-batch  that, and the policy's log-probs → the loss

What the trainer finds goes with the batch, one number an answer, as fields whose names begin with
`evenflow_`; verl carries them through its mini-batches, micro-batches and packing as they are.

Shapes: N answers of at most T tokens.
"""

# verl has an environment of its own.
# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from evenflow.bounds import is_right
from evenflow.objectives import Answers, Balance, Memory, Scores
from evenflow.objectives.answers import PER_ANSWER
from evenflow.objectives.groups import group_max, group_size, shares_of
from evenflow.objectives.summary import weighted_mean

PREFIX = "evenflow_"
HANDED = tuple(name for name in PER_ANSWER if name != "groups")
"""Fields of `Answers` that are handed over, beside the number of the group."""
GROUPS, TOTAL = f"{PREFIX}groups", f"{PREFIX}total"
NO_PART = -1
"""The group of a row that takes no part: padding, an answer of which no token is left, or one whose
reward is unknown."""


def hand_over(
    objective: Balance,
    answers: Answers,
    part: Tensor,
    tokens: Sequence[Sequence[int]] = (),
    memory: Memory | None = None,
    keys: Sequence[str] = (),
) -> dict[str, Tensor]:
    """What the worker's loss reads of each answer of a rollout batch, by field, (N,) each.

    `part` (N,): which rows take part; the others belong to no group, and are no copies. `tokens`
    (N,) tell copies of an answer, for `duplicates: once`; `memory` is the objective's, by `keys`
    (N,) of the questions. log Z of a group is that of the old log-probs.
    """
    fields = {GROUPS: torch.where(part, answers.groups, NO_PART)}
    if not part.any():
        return fields
    rows: list[int] = part.nonzero()[:, 0].tolist()
    mine = answers[part]
    if objective.needs.shares:
        mine = mine.replace(share=shares_of(mine.groups.tolist(), [tokens[row] for row in rows]))
    mine = objective.prepare(mine)
    if objective.needs.whole_groups:
        mine = objective.estimate(mine.old_logprobs, mine)
    if memory is not None:
        mine, _ = memory.fill(mine, [keys[row] for row in rows])
    for name in HANDED:
        values = getattr(mine, name)
        if values is not None:
            fields[PREFIX + name] = torch.zeros(len(answers)).masked_scatter(part, values.float())
    return fields


def rollout_metrics(
    answers: Answers,
    part: Tensor,
    unknown: Tensor,
    real: Tensor,
    count: int,
    right: float,
    is_correct: Tensor | None = None,
) -> dict[str, float]:
    """What was sampled, under the names of the embedded trainer. `part`, `unknown` and `real` (all
    but padding) are (N,); `count`: the answers that a whole group has. `is_correct` (N,) is what
    the reward said before a penalty for overlong answers; None: rewards from `right` on are."""
    metrics = {"reward/unknown": unknown[real].float().mean().item()}
    asked = answers.groups[real].unique().numel()
    mine = answers[part]
    if not len(mine):
        return metrics | {"groups/incomplete": float(asked)}
    size = group_size(mine.groups, mine.rewards)
    known = is_right(answers.rewards, right) if is_correct is None else is_correct
    whole = mine.groups[size >= count].unique().numel()
    spread = group_max(mine.rewards, mine.groups) + group_max(-mine.rewards, mine.groups)
    return metrics | {
        "groups/incomplete": float(asked - whole),
        "reward/equal_groups": weighted_mean((spread == 0).float(), 1 / size),
        "reward/mean": mine.rewards.mean().item(),
        "accuracy": known[part].float().mean().item(),
    }


def micro_answers(data: Any) -> tuple[Answers, Tensor]:
    """The answers of verl's micro-batch (a TensorDict), and which rows take part, (N,)."""

    def tokens(name: str) -> Tensor:
        return torch.nested.to_padded_tensor(data[name], 0.0)

    old, groups = tokens("old_log_probs"), data[GROUPS]
    given = {name: data[PREFIX + name] for name in HANDED if PREFIX + name in data}
    answers = Answers(
        mask=tokens("response_mask").bool(),
        groups=groups,
        old_logprobs=old,
        ref_logprobs=tokens("ref_log_prob") if "ref_log_prob" in data else None,
        correction=tokens("rollout_is_weights") if "rollout_is_weights" in data else None,
        **{"rewards": torch.zeros_like(old[:, 0]), **given},
    )
    return answers, groups != NO_PART


@dataclass(frozen=True)
class BalanceLoss:
    """The objective as a loss of verl's, (model_output, data, dp_group) → loss, metrics.

    verl adds up the losses of the micro-batches and takes the mean over the ranks: `evenflow_total`
    in the data is the objective's total of the mini-batch over all of them (`Learner`). Metrics are
    lists with one number an answer.
    """

    objective: Balance

    def __call__(
        self, model_output: dict[str, Any], data: Any, dp_group: Any = None
    ) -> tuple[Tensor, dict[str, list[float]]]:
        from verl.workers.utils.padding import no_padding_2_padding

        del dp_group
        logprobs = no_padding_2_padding(model_output["log_probs"], data)
        log_z = model_output.get("log_z")
        answers, part = micro_answers(data)
        if not part.any():  # the other ranks wait for the gradient of each weight
            nothing = logprobs.sum() if log_z is None else logprobs.sum() + log_z.sum()
            return 0.0 * nothing, {}
        scores = Scores(logprobs[part], None if log_z is None else log_z[part])
        loss, metrics = self.objective.loss(scores, answers[part], data[TOTAL])
        metrics |= {"group": answers.groups[part]}
        return data["dp_size"] * loss, {PREFIX + k: v.tolist() for k, v in metrics.items()}

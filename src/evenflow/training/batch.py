"""A rollout batch as the objective wants to see it."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from evenflow.objectives import Answers
from evenflow.rollout.experience import Experience


def to_answers(
    experience: Experience,
    rewards: Tensor,
    *,
    old_logprobs: Tensor,
    ref_logprobs: Tensor | None,
    values: Tensor | None = None,
) -> Answers:
    """The tensors that an objective works on; groups are numbered by question.

    The log-probs as sampled go beside the old ones, which in lower precision are the trainer's.
    """
    numbers: dict[str, int] = {}
    groups = [numbers.setdefault(prompt.key, len(numbers)) for prompt in experience.prompts]
    copies = Counter(zip(groups, map(tuple, experience.answers), strict=True))
    share = [
        1 / copies[group, tuple(answer)]
        for group, answer in zip(groups, experience.answers, strict=True)
    ]
    device = experience.mask.device
    return Answers(
        mask=experience.mask,
        rewards=rewards.to(device),
        groups=torch.tensor(groups, device=device),
        old_logprobs=old_logprobs,
        ref_logprobs=ref_logprobs,
        share=torch.tensor(share, device=device),
        values=values,
        sampled_logprobs=experience.logprobs,
    )

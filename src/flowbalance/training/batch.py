"""A rollout batch as the objective wants to see it."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from flowbalance.objectives import Answers
from flowbalance.rewards import RewardResult
from flowbalance.rollout.experience import Experience


def known(experience: Experience, result: RewardResult) -> tuple[Experience, Tensor]:
    """Only the answers whose reward is known, and these rewards (N,)."""
    totals = torch.tensor(result.total)
    keep = (~totals.isnan()).nonzero()[:, 0]
    rows = keep.tolist()
    if len(rows) == len(totals):
        return experience, totals
    on_device = keep.to(experience.mask.device)
    return Experience(
        prompts=[experience.prompts[i] for i in rows],
        answers=[experience.answers[i] for i in rows],
        texts=[experience.texts[i] for i in rows],
        logprobs=experience.logprobs[on_device],
        mask=experience.mask[on_device],
        finished=experience.finished[on_device],
    ), totals[keep]


def to_answers(
    experience: Experience,
    rewards: Tensor,
    *,
    old_logprobs: Tensor,
    ref_logprobs: Tensor | None,
) -> Answers:
    """The tensors that an objective works on; groups are numbered by question."""
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
    )

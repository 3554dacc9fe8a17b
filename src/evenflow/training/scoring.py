"""Everything an objective wants to know of sampled answers before it learns from them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.nn.functional import pad

from evenflow.config import TrainConfig
from evenflow.objectives import Answers, Needs
from evenflow.policy.policy import Policy
from evenflow.rollout.experience import Experience
from evenflow.training.batch import to_answers


def score(
    experience: Experience,
    rewards: Tensor,
    policy: Policy,
    needs: Needs,
    config: TrainConfig,
    phase: Callable[[str], AbstractContextManager[None]],
) -> Answers:
    """Old log-probs, as sampled where that is exact, the reference's, and the critic's values."""
    budget, width = config.train.micro_batch_tokens, experience.mask.shape[1]
    ids = experience.prompt_ids, experience.answers
    old, reference, values = experience.logprobs, None, None

    def widen(scores: Tensor) -> Tensor:
        return pad(scores, (0, width - scores.shape[1]))

    # In lower precision sampler and trainer differ. With a single step a batch the training
    # forward gives the old log-probs itself, unless they are read before it.
    in_forward = config.on_policy and not needs.old_logprobs
    if policy.compute_dtype != torch.float32 and not in_forward:
        with phase("old log-probs"):
            old = widen(policy.score(*ids, budget=budget))
    if needs.reference or config.log.reference_kl:
        with phase("reference"):
            reference = widen(policy.score(*ids, budget=budget, reference=True))
    if needs.values:
        with phase("critic"):
            values = widen(policy.score_values(*ids, budget=budget))
    return to_answers(experience, rewards, old_logprobs=old, ref_logprobs=reference, values=values)

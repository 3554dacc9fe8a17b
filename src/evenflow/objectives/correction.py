"""Corrections for answers that another policy sampled: an engine whose arithmetic differs from the
trainer's, or the policy as it was some steps before.

    ρ = π_before / π_sampler, with π_before the learner before its first step on the answers
    loss_t ← ρ·loss_t of each token, ρ limited and without gradient

With it an expectation over the sampler's answers is one over the learner's. What the loss itself
then compares with is π_before: its ratio is π/π_before (decoupled PPO, arXiv 2110.00641; AReaL,
arXiv 2505.24298).

Shapes: N answers of at most T tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from evenflow.objectives.answers import Answers
from evenflow.objectives.exponentials import LARGEST

Kind = Literal[
    "token-truncate",
    "token-mask",
    "sequence-truncate",
    "sequence-mask",
    "geometric-truncate",
    "geometric-mask",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
USUAL: Kind = "sequence-mask"
"""TRL's default, with a limit of 3."""
LIMIT, LIMIT_OF_MEANS = 3.0, 1.05
"""Of a ratio, and of a geometric mean: 0.05 nats a token."""


@dataclass(frozen=True)
class Correction:
    """Which ratio is limited, to what, and how.

    token      ρ_t = π_before/π_sampler of each token
    sequence   ρ = Π_t ρ_t, one number an answer
    geometric  (Π_t ρ_t)^{1/|y|}, one number an answer (GSPO's ratio, arXiv 2507.18071)

    truncate   min(ρ, limit), and at least the floor
    mask       ρ within floor … limit, else 0

    Token and sequence, each truncated or masked, are TRL's (`vllm_importance_sampling_mode`), but
    that TRL leaves the KL to the reference as it is. min(ρ_t, C) is from "Your Efficient RL
    Framework Secretly Brings You Off-Policy RL Training" (Yao et al., 2025). A log-ratio counts as
    at most 20.
    """

    kind: Kind = USUAL
    limit: float = LIMIT
    """The largest ratio."""
    floor: float = 0.0
    """The smallest."""

    @property
    def level(self) -> str:
        """token, sequence or geometric."""
        return self.kind.partition("-")[0]

    @property
    def masks(self) -> bool:
        """Whether what lies outside is left out, rather than limited."""
        return self.kind.endswith("-mask")

    def weigh(self, before: Tensor, answers: Answers) -> tuple[Answers, dict[str, Tensor]]:
        """The answers with `correction`, and what is said of it, one number an answer: its mean
        weight, the share that a limit acts on, the largest log-ratio, and as how many it counts in
        means (its tokens, where these are weighed). `before` (N, T): log π_before."""
        if answers.sampled_logprobs is None:
            raise ValueError("a correction needs `sampled_logprobs`, those of the sampler")
        mask = answers.mask.bool()
        log_ratio = torch.where(mask, before.detach() - answers.sampled_logprobs, 0.0)
        if self.level != "token":
            log_ratio = log_ratio.sum(-1, keepdim=True)
        if self.level == "geometric":
            log_ratio = log_ratio / answers.lengths[:, None]
        low = math.log(self.floor) if self.floor > 0 else -math.inf
        high = min(math.log(self.limit), LARGEST)
        outside = (log_ratio < low) | (log_ratio > high)
        weights = log_ratio.clamp(low, high).exp()
        if self.masks:
            weights = weights.masked_fill(outside, 0.0)
        weights, outside, log_ratio = (x.expand_as(mask) for x in (weights, outside, log_ratio))
        tokens = mask.to(weights).sum(-1)
        said = {
            "correction": answers.token_mean(weights),
            "correction_limited": answers.token_mean(outside.to(weights)),
            "correction_log_ratio": log_ratio.masked_fill(~mask, -math.inf).amax(-1),
            "correction_count": tokens if self.level == "token" else torch.ones_like(tokens),
        }
        return answers.replace(correction=torch.where(mask, weights, 1.0)), said

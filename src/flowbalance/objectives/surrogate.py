"""The clipped surrogate: raise the log-probability of answers better than their group.

    loss_t = −min(ρ_t·A, clip(ρ_t, 1 − ε, 1 + ε_high)·A) + c·KL_t
    loss   = aggregate of loss_t over tokens and answers

PPO's surrogate (arXiv 1707.06347, eq. 7) with a group's advantage in place of a critic's: GRPO
(arXiv 2402.03300, eq. 3). Advantage, ratio, clip and aggregation are independent choices. Shapes:
N answers of at most T tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowbalance.objectives.answers import Answers, divergences, require_shape
from flowbalance.objectives.rewards import normalise_rewards

if TYPE_CHECKING:
    from flowbalance.objectives.choices import Surrogate


def prepare(answers: Answers, choices: Surrogate) -> Answers:
    """Fill `signal` with the advantage A."""
    answers.require_rewards()
    if choices.needs.reference and answers.ref_logprobs is None:
        raise ValueError("kl_coefficient above 0 needs `ref_logprobs`; give them or set it to 0")
    rewards = answers.rewards.to(answers.old_logprobs.dtype)
    return answers.replace(signal=normalise_rewards(rewards, answers.groups, choices.advantage))


def log_ratio(logprobs: Tensor, answers: Answers, choices: Surrogate) -> Tensor:
    """log ρ, (N, T): of each token (token), or the answer's mean at each token (geometric)."""
    per_token = torch.where(answers.mask.bool(), logprobs - answers.old_logprobs, 0.0)  # (N, T)
    if choices.ratio == "geometric":
        return (per_token.sum(-1) / answers.lengths)[:, None].expand_as(per_token)
    return per_token


def clipped_surrogate(ratio: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    """−min(ρ·A, clip(ρ, 1 − low, 1 + high)·A). Shapes broadcast."""
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage)


def reference_kl(logprobs: Tensor, answers: Answers, estimator: str) -> Tensor:
    """(N, T) an estimate of KL(π ‖ π_ref) at each token, from d = log π_ref − log π.

    k2  ½·d²          its gradient is that of the KL on-policy
    k3  e^d − d − 1   unbiased in value, never negative (http://joschu.net/blog/kl-approx.html)
    """
    if answers.ref_logprobs is None:
        raise ValueError("kl_coefficient above 0 needs `ref_logprobs`; give them or set it to 0")
    d = torch.where(answers.mask.bool(), answers.ref_logprobs - logprobs, 0.0)
    return d**2 / 2 if estimator == "k2" else d.expm1() - d


def row_scale(answers: Answers, choices: Surrogate) -> Tensor:
    """(N,) what an answer's summed token losses are multiplied by before the division by total."""
    ones = torch.ones_like(answers.old_logprobs[:, 0])
    return ones / answers.lengths if choices.aggregation == "sequence-mean" else ones


def total(answers: Answers, choices: Surrogate) -> Tensor | float:
    """The mini-batch's denominator: its tokens, its answers, or its answers times L."""
    if choices.aggregation == "token-mean":
        return answers.lengths.sum()
    length = choices.aggregation_length if choices.aggregation == "constant" else None
    return float(len(answers)) * (1.0 if length is None else length)


def loss(
    logprobs: Tensor, answers: Answers, total: Tensor | float, choices: Surrogate
) -> tuple[Tensor, dict[str, Tensor]]:
    """Σ over answers of row_scale·Σ_t loss_t, divided by total; and its parts, per answer.

    The losses of the micro-batches of a mini-batch add up to its loss when `total` is the
    mini-batch's.
    """
    require_shape("logprobs", logprobs, tuple(answers.mask.shape))
    if answers.signal is None:
        raise ValueError("`signal` is not filled: call prepare(answers) first")
    advantage = answers.signal[:, None]  # (N, 1)
    ratio = log_ratio(logprobs, answers, choices).exp()  # (N, T)
    high = choices.epsilon if choices.epsilon_high is None else choices.epsilon_high
    per_token = clipped_surrogate(ratio, advantage, choices.epsilon, high)  # (N, T)
    # The clip acts, and the gradient is 0, only where it lowers ρ·A.
    clipped = torch.where(advantage > 0, ratio > 1 + high, ratio < 1 - choices.epsilon)
    clipped = clipped & (advantage != 0)
    if choices.needs.reference:
        kl = reference_kl(logprobs, answers, choices.kl_estimator)
        per_token = per_token + choices.kl_coefficient * kl
    value = (row_scale(answers, choices) * answers.token_sum(per_token)).sum() / total
    metrics = {
        "advantage": answers.signal,
        "ratio": answers.token_sum(ratio.detach()) / answers.lengths,
        "clipped": answers.token_sum(clipped.to(ratio)).detach() / answers.lengths,
    }
    return value, metrics | divergences(logprobs, answers)

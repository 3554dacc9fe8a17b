"""The algebra of the clipped surrogate: ratio, clip, KL, value loss, aggregation.

Shapes: N answers of at most T tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from evenflow.objectives.answers import Answers, divergences, require_shape
from evenflow.objectives.exponentials import exponential, exponential_minus_one

if TYPE_CHECKING:
    from evenflow.objectives.surrogate import Surrogate


def token_log_ratio(logprobs: Tensor, answers: Answers) -> Tensor:
    """(N, T) log π − log π_old of each token, 0 on padding."""
    return torch.where(answers.mask.bool(), logprobs - answers.old_logprobs, 0.0)


def log_ratio(logprobs: Tensor, answers: Answers, level: str) -> Tensor:
    """log ρ at each token, (N, T).

    token            log π/π_old of the token
    geometric        the answer's mean of these: one number an answer (GSPO, arXiv 2507.18071)
    geometric-token  the same value, with the gradient of the token's own log π (GSPO-token)
    none             0, with the gradient of log π: what is on-policy has no ratio (REINFORCE)
    """
    if level == "none":
        return token_log_ratio(logprobs, answers.replace(old_logprobs=logprobs.detach()))
    per_token = token_log_ratio(logprobs, answers)
    if level == "token":
        return per_token
    mean = answers.token_mean(per_token)[:, None].expand_as(per_token)
    return mean if level == "geometric" else mean.detach() + per_token - per_token.detach()


def limit_tokens(
    per_token: Tensor, advantages: Tensor, low: float, high: float
) -> tuple[Tensor, Tensor]:
    """GMPO's clip: log-ratios at most `high` where A > 0, at least −`low` where A < 0; and where
    it acts. (arXiv 2507.20673)"""
    limited = torch.where(advantages > 0, per_token.clamp(max=high), per_token.clamp(min=-low))
    return limited, (limited != per_token) & (advantages != 0)


def policy_loss(logprobs: Tensor, answers: Answers, choices: Surrogate) -> tuple[Tensor, ...]:
    """The policy's loss at each token, ρ before any limit, and where the clip acts, which is
    nowhere where A = 0; each (N, T).

    ratio      −min(ρA, clip(ρ, 1 − ε, 1 + ε_high)·A)                          (PPO)
    log-token  −A·exp(mean_t m_t), m the tokens' log-ratios, limited            (GMPO)
    weight     −stopgrad(min(ρ, 1 + ε_high))·A·log π: no token loses its gradient (CISPO)
    none       −ρA

    exp is continued linearly above 20: where no limit acts, the gradient goes on as well.
    """
    assert answers.advantages is not None
    advantages, low, high = answers.advantages, choices.epsilon, choices.upper
    if choices.clip == "log-token":
        # The ratio's value is that of the limited tokens: a limited one has no gradient.
        free = token_log_ratio(logprobs, answers)
        per_token, acts = limit_tokens(free, advantages, low, high)
        limited, ratio = (
            exponential(answers.token_mean(part))[:, None].expand_as(part)
            for part in (per_token, free)
        )
        return -limited * advantages, ratio, acts
    ratio = exponential(log_ratio(logprobs, answers, choices.ratio))
    if choices.clip == "weight":
        acts = (ratio > 1 + high) & (advantages != 0)
        return -ratio.detach().clamp(max=1 + high) * advantages * logprobs, ratio, acts
    if choices.clip == "none":
        return -ratio * advantages, ratio, torch.zeros_like(answers.mask, dtype=torch.bool)
    clipped = ratio.clamp(1 - low, 1 + high)
    # It acts, and the gradient is 0, only where it lowers ρ·A.
    acts = torch.where(advantages > 0, ratio > 1 + high, ratio < 1 - low) & (advantages != 0)
    return -torch.minimum(ratio * advantages, clipped * advantages), ratio, acts


def reference_kl(logprobs: Tensor, answers: Answers, estimator: str) -> Tensor:
    """(N, T) an estimate of KL(π ‖ π_ref) at each token, from d = log π_ref − log π.

    k2  ½·d²          its gradient is that of the KL on-policy
    k3  e^d − d − 1   unbiased in value, never negative (http://joschu.net/blog/kl-approx.html);
                      e^d is continued linearly above d = 20, so that no token loses its gradient
    """
    if answers.ref_logprobs is None:
        raise ValueError("kl_coefficient above 0 needs `ref_logprobs`; give them or set it to 0")
    d = torch.where(answers.mask.bool(), answers.ref_logprobs - logprobs, 0.0)
    return d**2 / 2 if estimator == "k2" else exponential_minus_one(d) - d


def value_loss(values: Tensor, answers: Answers, epsilon: float | None) -> Tensor:
    """(N, T) ½·max((V − R)², (clip(V, V_old ± ε) − R)²): PPO's clipped value loss."""
    if answers.returns is None or answers.values is None:
        raise ValueError("`returns` is not filled: call prepare(answers) with `values` first")
    values = torch.where(answers.mask.bool(), values, answers.returns)
    error = (values - answers.returns) ** 2
    if epsilon is None:
        return error / 2
    near = answers.values + (values - answers.values).clamp(-epsilon, epsilon)
    return torch.maximum(error, (near - answers.returns) ** 2) / 2


def row_scale(answers: Answers, choices: Surrogate) -> Tensor:
    """(N,) what an answer's summed token losses are multiplied by before the division by total."""
    ones = torch.ones_like(answers.old_logprobs[:, 0])
    return ones / answers.lengths if choices.aggregation == "sequence-mean" else ones


def total(answers: Answers, choices: Surrogate) -> Tensor | float:
    """The mini-batch's denominator: its tokens, its answers, or its answers times L."""
    if choices.aggregation == "token-mean":
        return answers.mask.bool().sum().clamp(min=1).to(answers.old_logprobs.dtype)
    if choices.aggregation == "sequence-mean":
        return float(len(answers))
    if choices.aggregation_length is None:
        raise ValueError("aggregation: constant needs aggregation_length, the longest answer")
    return len(answers) * choices.aggregation_length


def loss(
    logprobs: Tensor,
    answers: Answers,
    total: Tensor | float,
    choices: Surrogate,
    values: Tensor | None = None,
    entropy: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Σ over answers of row_scale·Σ_t loss_t, divided by total; and its parts, per answer.

    A `correction` multiplies all of loss_t; an answer whose correction is 0 still counts in total.

    The losses of the micro-batches of a mini-batch add up to its loss when `total` is the
    mini-batch's. `values` are the critic's, with gradient; `entropy` is the policy's at each token,
    with gradient; both (N, T), and only where the choices ask for them.
    """
    require_shape("logprobs", logprobs, tuple(answers.mask.shape))
    if answers.advantages is None:
        raise ValueError("`advantages` is not filled: call prepare(answers) first")
    per_token, ratio, clipped = policy_loss(logprobs, answers, choices)  # (N, T)
    metrics = {
        "advantage": answers.token_mean(answers.advantages),
        "ratio": answers.token_mean(ratio.detach()),
        "clipped": answers.token_mean(clipped.to(ratio)).detach(),
    }
    if choices.kl_in == "loss" and choices.kl_coefficient > 0:
        kl = reference_kl(logprobs, answers, choices.kl_estimator)
        per_token = per_token + choices.kl_coefficient * kl
    if choices.needs.entropy:
        if entropy is None:
            raise ValueError("entropy_bonus above 0 needs `entropy`, the policy's at each token")
        per_token = per_token - choices.entropy_bonus * entropy
        metrics["entropy"] = answers.token_mean(entropy.detach())
    if choices.needs.values:
        if values is None:
            raise ValueError("advantage: gae needs `values`, the critic's with gradient")
        per_token = per_token + value_loss(values, answers, choices.value_epsilon)
        assert answers.returns is not None
        metrics["value_error"] = answers.token_mean((values.detach() - answers.returns) ** 2)
        metrics["return"] = answers.token_mean(answers.returns)
        metrics["return_square"] = answers.token_mean(answers.returns**2)
    if answers.correction is not None:
        per_token = per_token * answers.correction
    value = (row_scale(answers, choices) * answers.token_sum(per_token)).sum() / total
    return value, metrics | divergences(logprobs, answers)

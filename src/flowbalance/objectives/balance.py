"""The balance family: regress the policy's log-probability onto the reward's.

    δ(x, y) = log Z(x) + s·[log π(y|x) − γ·log π_ref(y|x)] − β·r̃(x, y)
    loss    = mean over answers of w·g(δ)

FlowRL (arXiv 2509.15207), trajectory balance (arXiv 2201.13259), relative trajectory
balance (arXiv 2405.20971), TBA (arXiv 2503.18929): one equation, different choices, and
`docs/objective.md` derives what each of them does. Shapes: N answers of at most T tokens; all
values of an answer are (N,).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowbalance.objectives.answers import Answers, divergences, require_shape
from flowbalance.objectives.groups import group_max
from flowbalance.objectives.log_z import group_log_z, leave_one_out_log_z
from flowbalance.objectives.rewards import normalise_rewards
from flowbalance.rewards import is_right

if TYPE_CHECKING:
    from flowbalance.objectives.choices import Balance

LINEAR_FROM = 20.0
"""Exponents above this are continued linearly: a float32 overflows at 88."""


def prepare(answers: Answers, choices: Balance) -> Answers:
    """Fill `signal` (r̃) and, where the objective has a prior, `prior` (log π_ref, lifted)."""
    answers.require_rewards()
    if choices.needs.shares and answers.share is None:
        raise ValueError("duplicates: once needs `share`, 1 / how often each answer occurs")
    rewards = answers.rewards.to(answers.old_logprobs.dtype)
    answers = answers.replace(signal=normalise_rewards(rewards, answers.groups, choices.reward))
    if not choices.needs.reference:
        return answers
    if answers.ref_logprobs is None:
        raise ValueError("reference_weight above 0 needs `ref_logprobs`; give them or set it to 0")
    prior = answers.token_sum(answers.ref_logprobs)
    right = is_right(rewards, choices.right_reward)
    return answers.replace(prior=lift_prior(prior, right, answers.groups, choices.prior_lift))


def lift_prior(prior: Tensor, right: Tensor, groups: Tensor, lift: float) -> Tensor:
    """log π_ref(y) + λ·(max over right y' of log π_ref(y') − log π_ref(y)) for right y.

    A wrong answer keeps log π_ref(y).

    λ = 1 is MARA (arXiv 2510.20817): all right answers of a group have one target.
    """
    best = group_max(torch.where(right, prior, -torch.inf), groups)
    return torch.where(right, prior + lift * (best - prior), prior)


def rest(logprobs: Tensor, answers: Answers, choices: Balance) -> Tensor:
    """δ without log Z: s·(log π − γ·log π_ref) − β·r̃. (N, T) -> (N,)."""
    if answers.signal is None:
        raise ValueError("`signal` is not filled: call prepare(answers) first")
    s = length_scale(answers, choices)  # (N,) or a number
    log_pi = answers.token_sum(logprobs)  # (N,)
    prior = 0.0 if answers.prior is None else choices.reference_weight * answers.prior
    return s * (log_pi - prior) - choices.inverse_temperature * answers.signal


def length_scale(answers: Answers, choices: Balance) -> Tensor | float:
    """s: 1/|y| (mean), 1 (sum) or 1/L (constant)."""
    if choices.scale == "mean":
        return 1 / answers.lengths
    return 1.0 if choices.scale_length is None else 1 / choices.scale_length


def importance(
    logprobs: Tensor, answers: Answers, choices: Balance
) -> tuple[Tensor, Tensor, Tensor]:
    """log w, w and whether w was truncated, all without gradient.

    sequence   w = Π_t π/π_old, one number an answer
    geometric  w = (Π_t π/π_old)^{1/|y|}
    token      w_t = π/π_old, one number a token

    Shapes: (N, T) -> three of (N,), or of (N, T) for token.
    """
    log_ratio = torch.where(answers.mask.bool(), logprobs.detach() - answers.old_logprobs, 0.0)
    log_w = {
        "none": lambda: torch.zeros_like(log_ratio[:, 0]),
        "sequence": lambda: log_ratio.sum(-1),
        "geometric": lambda: log_ratio.sum(-1) / answers.lengths,
        "token": lambda: log_ratio,
    }[choices.importance]()
    raw = log_w.exp()
    if choices.truncation == "symmetric":
        w = raw.clamp(1 - choices.epsilon, 1 + choices.epsilon)
    elif choices.truncation == "upper":
        w = raw.clamp(max=choices.cap)
    else:
        w = raw
    return log_w, w, w != raw


def exp_minus_one(x: Tensor) -> Tensor:
    """e^x − 1, continued linearly above 20 with the slope e^20."""
    slope = torch.tensor(LINEAR_FROM, dtype=x.dtype).exp().to(x.device)
    return x.clamp(max=LINEAR_FROM).expm1() + slope * (x - LINEAR_FROM).clamp(min=0)


def regress(delta: Tensor, regression: str, linex_alpha: float) -> Tensor:
    """g(δ), with g(0) = g'(0) = 0 and g''(0) = 2.

    square  δ²
    linex   2(e^{αδ} − αδ − 1)/α²
    cosh    2(cosh δ − 1)
    """
    if regression == "linex":
        return 2 * (exp_minus_one(linex_alpha * delta) - linex_alpha * delta) / linex_alpha**2
    if regression == "cosh":
        return exp_minus_one(delta) + exp_minus_one(-delta)
    return delta**2


def shares(answers: Answers, choices: Balance) -> Tensor:
    """(N,) the part of an answer that a row stands for: 1, or 1/k if it was sampled k times."""
    if choices.duplicates == "once" and answers.share is not None:
        return answers.share.to(answers.old_logprobs.dtype)
    return torch.ones_like(answers.old_logprobs[:, 0])


def estimate(logprobs: Tensor, answers: Answers, choices: Balance) -> Answers:
    """Fill `log_z` with the group's minimiser of Σ ω·g(δ), ω = share·w; whole groups only.

    Token weights act on the gradient alone, so that there ω = share.
    """
    if choices.needs.log_z != "group":
        return answers
    own = rest(logprobs.detach(), answers, choices)  # (N,)
    share = shares(answers, choices)
    w = importance(logprobs, answers, choices)[1]
    w = torch.ones_like(share) if choices.importance == "token" else w  # (N,)
    if choices.log_z == "leave-one-out":
        log_z = leave_one_out_log_z(own, answers.groups, w, share)
    else:
        log_z = group_log_z(own, answers.groups, share * w, choices.regression, choices.linex_alpha)
    return answers.replace(log_z=log_z)


def loss(
    logprobs: Tensor,
    answers: Answers,
    total: Tensor | float,
    choices: Balance,
    log_z: Tensor | None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Σ share·w·g(δ) / total, and what it is made of, one number an answer.

    The losses of the micro-batches of a mini-batch add up to its loss when `total` is the
    mini-batch's. `log_z` is the head's value with its gradient; every other log Z comes with the
    answers. With token weights the value is that of w = 1 and w_t multiplies each ∇log π_t.
    """
    require_shape("logprobs", logprobs, tuple(answers.mask.shape))
    z = known_log_z(answers, choices, log_z)  # (N,)
    log_w, w, truncated = importance(logprobs, answers, choices)
    row_weight = shares(answers, choices)
    if choices.importance == "token":
        fixed = logprobs.detach()
        logprobs = fixed + w * (logprobs - fixed)  # (N, T) same value, gradient w_t·∇log π_t
        log_w, w, truncated = (
            answers.token_sum(x.to(fixed)) / answers.lengths for x in (log_w, w, truncated)
        )
    else:
        row_weight = row_weight * w
    own = rest(logprobs, answers, choices)
    delta = z + own
    value = (row_weight * regress(delta, choices.regression, choices.linex_alpha)).sum() / total
    metrics = {
        "residual": delta.detach(),
        "log_weight": log_w,
        "weight": w,
        "truncated": truncated.to(w),
        "log_z": z.detach(),
        "log_z_group": -own.detach(),
    }
    return value, metrics | divergences(logprobs, answers)


def known_log_z(answers: Answers, choices: Balance, log_z: Tensor | None) -> Tensor:
    """(N,) the log Z that the choices ask for, or a refusal that says where it should come from."""
    if choices.log_z == "none":
        return torch.zeros_like(answers.old_logprobs[:, 0])
    log_z = answers.log_z if log_z is None else log_z
    if log_z is None:
        source = {
            "head": "the head's value for each answer's question",
            "running": "RunningLogZ.lookup",
            "offline": "offline_log_z of reference samples",
        }.get(choices.log_z, "estimate(logprobs, answers) over the whole mini-batch")
        raise ValueError(f"log_z: {choices.log_z} needs `log_z` (N,): {source}")
    require_shape("log_z", log_z, tuple(answers.rewards.shape))
    return log_z

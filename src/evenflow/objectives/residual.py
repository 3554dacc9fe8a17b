"""The algebra of the balance family, δ = log Z + s·(log π − γ·log π_ref) − β·r̃ and w·g(δ).

Shapes: N answers of at most T tokens; all values of an answer are (N,)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from evenflow.bounds import is_right
from evenflow.objectives.answers import Answers, divergences, require_shape
from evenflow.objectives.exponentials import LARGEST, exponential_minus_one
from evenflow.objectives.groups import group_max, normalise_rewards
from evenflow.objectives.log_z import group_log_z, leave_one_out_log_z

if TYPE_CHECKING:
    from evenflow.objectives.balance import Balance


def prepare(answers: Answers, choices: Balance) -> Answers:
    """Fill `signal` (r̃) and, where the objective has a prior, `prior` (log π_ref, lifted)."""
    answers.require_whole()
    if choices.needs.shares:
        if answers.share is None:
            raise ValueError("duplicates: once needs `share`, 1 / how often each answer occurs")
        if not bool(((answers.share > 0) & (answers.share <= 1)).all()):
            raise ValueError("share must be 1 / how often an answer occurs: above 0, at most 1")
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
    """log w before and after truncation, and where that acts, all without gradient.

    sequence   w = Π_t π/π_old, one number an answer
    geometric  w = (Π_t π/π_old)^{1/|y|}
    token      w_t = π/π_old, one number a token

    A log w counts as at most 20, whatever the truncation; `none` has nothing to truncate.
    Shapes: (N, T) -> three of (N,), or of (N, T) for token.
    """
    log_ratio = torch.where(answers.mask.bool(), logprobs.detach() - answers.old_logprobs, 0.0)
    log_w = {
        "none": lambda: torch.zeros_like(log_ratio[:, 0]),
        "sequence": lambda: log_ratio.sum(-1),
        "geometric": lambda: log_ratio.sum(-1) / answers.lengths,
        "token": lambda: log_ratio,
    }[choices.importance]()
    truncation = "none" if choices.importance == "none" else choices.truncation
    low, high = -math.inf, LARGEST
    if truncation == "symmetric":
        low, high = math.log1p(-choices.epsilon), math.log1p(choices.epsilon)
    elif truncation == "upper":
        high = min(high, math.log(choices.cap))
    truncated = log_w.clamp(low, high)
    return log_w.clamp(max=LARGEST), truncated, truncated != log_w


def regress(delta: Tensor, regression: str, linex_alpha: float) -> Tensor:
    """g(δ), with g(0) = g'(0) = 0 and g''(0) = 2.

    square  δ²
    linex   2(e^{αδ} − αδ − 1)/α²
    cosh    2(cosh δ − 1)
    """
    if regression == "linex":
        x = linex_alpha * delta
        return 2 * (exponential_minus_one(x) - x) / linex_alpha**2
    if regression == "cosh":
        return exponential_minus_one(delta) + exponential_minus_one(-delta)
    return delta**2


def shares(answers: Answers, choices: Balance) -> Tensor:
    """(N,) the part of an answer that a row stands for: 1, or 1/k if it was sampled k times."""
    if choices.duplicates == "once" and answers.share is not None:
        return answers.share.to(answers.old_logprobs.dtype)
    return torch.ones_like(answers.old_logprobs[:, 0])


def estimate(logprobs: Tensor, answers: Answers, choices: Balance) -> Answers:
    """Fill `log_z` with the group's minimiser of Σ ω·g(δ), ω = share·w; whole groups only."""
    if not choices.needs.whole_groups:
        return answers
    own = rest(logprobs.detach(), answers, choices)  # (N,)
    share = shares(answers, choices)
    log_w = log_answer_weight(importance(logprobs, answers, choices)[1], choices)
    if choices.log_z == "leave-one-out":
        log_z = leave_one_out_log_z(own, answers.groups, log_w, share)
    else:
        log_z = group_log_z(
            own, answers.groups, log_w, choices.regression, choices.linex_alpha, share
        )
    return answers.replace(log_z=log_z)


def log_answer_weight(log_w: Tensor, choices: Balance) -> Tensor:
    """(N,) the importance weight with which an answer enters the loss's value, as a logarithm.

    Token weights act on the gradient alone, so that there it is 0.
    """
    return torch.zeros_like(log_w[:, 0]) if choices.importance == "token" else log_w


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
    answers. With token weights the value is that of w = 1 and w_t multiplies each ∇log π_t, and
    what is said of an answer's weight is the mean over its tokens. `log_omega` is the logarithm of
    share·w, with which the answer enters the loss and its group's log Z; a `correction`, one number
    an answer, multiplies its loss alone.
    """
    require_shape("logprobs", logprobs, tuple(answers.mask.shape))
    z = known_log_z(answers, choices, log_z)  # (N,)
    free, log_w, truncated = importance(logprobs, answers, choices)
    w = log_w.exp()
    share, log_answer = shares(answers, choices), log_answer_weight(log_w, choices)
    row_weight = share * log_answer.exp()
    if answers.correction is not None:
        row_weight = row_weight * answers.token_mean(answers.correction)
    if choices.importance == "token":
        fixed = logprobs.detach()
        logprobs = fixed + w * (logprobs - fixed)  # (N, T) same value, gradient w_t·∇log π_t
        free = mean_log_weight(free, answers)
        w, truncated = (answers.token_mean(x.to(fixed)) for x in (w, truncated))
    own = rest(logprobs, answers, choices)
    delta = z + own
    value = (row_weight * regress(delta, choices.regression, choices.linex_alpha)).sum() / total
    metrics = {
        "residual": delta.detach(),
        "log_weight": free,
        "weight": w,
        "truncated": truncated.to(w),
        "log_omega": log_answer + share.log(),
        "log_z": z.detach(),
        "log_z_group": -own.detach(),
    }
    return value, metrics | divergences(logprobs, answers)


def mean_log_weight(log_w: Tensor, answers: Answers) -> Tensor:
    """The logarithm of an answer's mean weight over its tokens, 0 without any: (N, T) -> (N,)."""
    mask = answers.mask.bool()
    mean = torch.where(mask, log_w, -torch.inf).logsumexp(-1) - answers.lengths.log()
    return torch.where(mask.any(-1), mean, 0.0)


def known_log_z(answers: Answers, choices: Balance, log_z: Tensor | None) -> Tensor:
    """(N,) the log Z that the choices ask for, or a refusal that says where it should come from."""
    if log_z is not None and choices.log_z != "head":
        raise ValueError(
            f"log_z: {choices.log_z} takes no `log_z` beside the answers' own; leave it out, or "
            "choose log_z: head"
        )
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

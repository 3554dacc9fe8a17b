"""The algebra of the balance family, δ = log Z + s·(log π − γ·log π_ref) − β·r̃ and w·g(δ).

Shapes: N answers of at most T tokens; all values of an answer are (N,)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from evenflow.bounds import is_right
from evenflow.objectives import subtrajectory
from evenflow.objectives.answers import Answers, divergences, require_shape
from evenflow.objectives.emphasis import question_weight, rarity_weight
from evenflow.objectives.exponentials import LARGEST, exponential_minus_one
from evenflow.objectives.groups import group_max, normalise_rewards, refuse_negative
from evenflow.objectives.log_z import group_log_z, leave_one_out_log_z

if TYPE_CHECKING:
    from evenflow.objectives.balance import Balance


ROUNDING = 1e-6
"""Of a group's largest reward: as far off its mean counts as at it."""


def prepare(answers: Answers, choices: Balance) -> Answers:
    """Fill `signal` (r̃), `emphasis`, `prior` where the objective has one, and the group's `log_z`
    where that is π_old's."""
    answers.require_whole()
    if choices.needs.flows:
        answers.require_one_piece()
    if choices.needs.shares:
        if answers.share is None:
            raise ValueError("duplicates: once needs `share`, 1 / how often each answer occurs")
        if not bool(((answers.share > 0) & (answers.share <= 1)).all()):
            raise ValueError("share must be 1 / how often an answer occurs: above 0, at most 1")
    rewards = answers.rewards.to(answers.old_logprobs.dtype)
    right = is_right(rewards, choices.right_reward)
    if choices.reward == "relative":
        refuse_negative(rewards, "reward")
    signal = normalise_rewards(rewards, answers.groups, choices.reward)
    if choices.guidance > 0:
        signal = guided(signal, rewards, answers, choices)
    answers = answers.replace(signal=signal, emphasis=emphasis(answers, right, choices))
    if any(choices.gammas):
        if answers.ref_logprobs is None:
            raise ValueError(
                "reference_weight above 0 needs `ref_logprobs`; give them or set it to 0"
            )
        prior = answers.token_sum(answers.ref_logprobs)
        prior = lift_prior(prior, right, answers.groups, choices.prior_lift)
        answers = answers.replace(prior=prior_weight(answers, choices) * prior)
    if choices.own_group and choices.log_z_policy == "old":
        answers = answers.replace(log_z=own_log_z(answers.old_logprobs, answers, choices))
    return answers


def guided(signal: Tensor, rewards: Tensor, answers: Answers, choices: Balance) -> Tensor:
    """r̃ + (β_G/β)·sgn(r̃)·s·Σ_t [log π_ref(y_t | x, gold, y_<t) − log π_ref(y_t | x, y_<t)], (N,),
    each of the sum within ± guidance_clip.

    Where r̃ = 0, as in a group whose answers are alike in reward, nothing is added (FlowBalance,
    arXiv 2609.03241).
    """
    if answers.guide_logprobs is None or answers.ref_logprobs is None:
        raise ValueError(
            "guidance above 0 needs `ref_logprobs` and `guide_logprobs`, the reference's without "
            "and with the gold answer in its prompt; give them or set it to 0"
        )
    gain, bound = answers.guide_logprobs - answers.ref_logprobs, choices.guidance_clip
    gain = gain if bound is None else gain.clamp(-bound, bound)
    explained = length_scale(answers, choices) * answers.token_sum(gain)
    weight = choices.guidance / choices.inverse_temperature
    # A reward at its group's mean is off it by rounding, and that has a sign, too.
    how = "raw" if choices.reward == "raw" else "centred"
    offset = normalise_rewards(rewards, answers.groups, how)
    rounding = ROUNDING * group_max(rewards.abs(), answers.groups)
    sign = torch.where(offset.abs() > rounding, signal.sign(), 0.0)
    return signal + weight * sign * explained.to(signal)


def emphasis(answers: Answers, right: Tensor, choices: Balance) -> Tensor | None:
    """(N,) the weight of an answer's question times that of its rarity; None where both are 1."""
    if choices.question_weight == "none" and choices.rarity == 0:
        return None
    share, groups = shares(answers, choices), answers.groups
    old = answers.token_mean(answers.old_logprobs)
    return question_weight(right, groups, share, choices.question_weight) * rarity_weight(
        old, right, groups, share, choices.rarity
    )


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
    prior = 0.0 if answers.prior is None else answers.prior
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
    """Fill `log_z` with the group's own, where it is the current policy's; whole groups only."""
    if not choices.needs.whole_groups:
        return answers
    return answers.replace(log_z=own_log_z(logprobs, answers, choices))


def own_log_z(logprobs: Tensor, answers: Answers, choices: Balance) -> Tensor:
    """(N,) the group's minimiser of Σ ω·g(δ), ω = share·emphasis·w, with or without the answer."""
    own = rest(logprobs.detach(), answers, choices)  # (N,)
    share = shares(answers, choices)
    log_w = log_answer_weight(importance(logprobs, answers, choices)[1], choices)
    if answers.emphasis is not None:
        log_w = log_w + answers.emphasis.log()
    if choices.log_z == "leave-one-out":
        return leave_one_out_log_z(own, answers.groups, log_w, share)
    return group_log_z(own, answers.groups, log_w, choices.regression, choices.linex_alpha, share)


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
    flows: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Σ share·emphasis·w·g(δ) / total, and what it is made of, one number an answer.

    The losses of the micro-batches of a mini-batch add up to its loss when `total` is the
    mini-batch's. `log_z` is the head's value with its gradient; every other log Z comes with the
    answers. With token weights the value is that of w = 1 and w_t multiplies each ∇log π_t, and
    what is said of an answer's weight is the mean over its tokens. `log_omega` is the logarithm of
    share·emphasis·w, with which the answer enters the loss and its group's log Z; a `correction`,
    one number an answer, multiplies its loss alone. Where the residual is clipped, its value at
    π_old is moved to the bound, and δ with it: `residual` is δ before that.
    """
    require_shape("logprobs", logprobs, tuple(answers.mask.shape))
    if choices.log_z == "flow":
        if flows is None:
            raise ValueError("log_z: flow needs `values`, the log flow before each token")
        flows = log_flows(flows, answers, choices)
        log_z = torch.where(answers.mask[:, 0].bool(), flows[:, 0], 0.0)
    z = known_log_z(answers, choices, log_z)  # (N,)
    free, log_w, truncated = importance(logprobs, answers, choices)
    w = log_w.exp()
    share, log_answer = shares(answers, choices), log_answer_weight(log_w, choices)
    if answers.emphasis is not None:
        share = share * answers.emphasis
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
    excess = residual_excess(z.detach(), answers, choices)
    pull = delta if excess is None else delta - excess
    if flows is None:
        lost = regress(pull, choices.regression, choices.linex_alpha)
    else:
        lost = subtrajectory.balance(
            stretches(logprobs, flows, answers, choices), answers.mask, choices.flow_decay
        )
    value = (row_weight * lost).sum() / total
    metrics = {
        "residual": delta.detach(),
        "log_weight": free,
        "weight": w,
        "truncated": truncated.to(w),
        "log_omega": log_answer + share.log(),
        "log_z": z.detach(),
        "log_z_group": -own.detach(),
    }
    if excess is not None:
        metrics["residual_clipped"] = (excess != 0).to(w)
    return value, metrics | divergences(logprobs, answers)


def log_flows(values: Tensor, answers: Answers, choices: Balance) -> Tensor:
    """(N, T) log F before each token from what the critic says, which with `flow_base: group` is
    v_t in log F_t = log Z + β·v_t, v_0 = 0."""
    if choices.flow_base == "none":
        return values
    if answers.log_z is None:
        raise ValueError(
            "flow_base: group needs `log_z` (N,): estimate(logprobs, answers) over the whole "
            "mini-batch"
        )
    later = torch.arange(values.shape[1], device=values.device) > 0
    return answers.log_z[:, None] + torch.where(later, choices.inverse_temperature * values, 0.0)


def stretches(logprobs: Tensor, flows: Tensor, answers: Answers, choices: Balance) -> Tensor:
    """(N, T + 1) the potentials of `subtrajectory`, whose ends differ by δ."""
    assert answers.signal is not None
    s = length_scale(answers, choices)
    steps, end = logprobs, choices.inverse_temperature * answers.signal
    if answers.prior is not None and answers.ref_logprobs is not None:
        gamma = prior_weight(answers, choices)  # (N,)
        steps = steps - gamma[:, None] * answers.ref_logprobs
        end = end + s * (answers.prior - gamma * answers.token_sum(answers.ref_logprobs))
    return subtrajectory.potentials(flows, s * steps, end, answers)


def prior_weight(answers: Answers, choices: Balance) -> Tensor:
    """(N,) γ of each answer."""
    gamma, of_right = choices.gammas
    weight = torch.full_like(answers.old_logprobs[:, 0], gamma)
    weight[is_right(answers.rewards, choices.right_reward)] = of_right
    return weight


def residual_excess(log_z: Tensor, answers: Answers, choices: Balance) -> Tensor | None:
    """(N,) by how much δ at π_old leaves [−residual_low, residual_high]; None without bounds.

    A right answer that is too rare has δ < 0, so that `residual_low` bounds the pull upward, and
    `residual_high` the push downward (GFlowRL, arXiv 2607.13394).
    """
    low, high = choices.residual_low, choices.residual_high
    if low is None and high is None:
        return None
    before = log_z + rest(answers.old_logprobs, answers, choices)
    return before - before.clamp(None if low is None else -low, high)


def mean_log_weight(log_w: Tensor, answers: Answers) -> Tensor:
    """The logarithm of an answer's mean weight over its tokens, 0 without any: (N, T) -> (N,)."""
    mask = answers.mask.bool()
    mean = torch.where(mask, log_w, -torch.inf).logsumexp(-1) - answers.lengths.log()
    return torch.where(mask.any(-1), mean, 0.0)


def known_log_z(answers: Answers, choices: Balance, log_z: Tensor | None) -> Tensor:
    """(N,) the log Z that the choices ask for, or a refusal that says where it should come from."""
    if log_z is not None and choices.log_z not in ("head", "flow"):
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

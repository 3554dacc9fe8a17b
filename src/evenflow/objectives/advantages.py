"""Advantages of the clipped surrogate: how much better an answer, or a token, was than expected.

Rewards come at an answer's last token. Each is compared with its group's (GRPO, RLOO), with the
whole batch's (REINFORCE++) or with a critic's value (PPO). Shapes: N answers of at most T tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from evenflow.bounds import is_right
from evenflow.objectives.answers import Answers
from evenflow.objectives.emphasis import rarity_weight
from evenflow.objectives.groups import (
    Normalisation,
    gain_of_best,
    normalise_rewards,
    refuse_negative,
)

if TYPE_CHECKING:
    from evenflow.objectives.surrogate import Surrogate

VARIANCE_FLOOR = 1e-8

BASELINES: dict[str, Normalisation] = {
    "group": "group",
    "centred": "centred",
    "leave-one-out": "leave-one-out",
    "relative": "relative",
    "global": "raw",
}


def prepare(answers: Answers, choices: Surrogate) -> Answers:
    """Fill `advantages`, and with a critic `returns`."""
    answers.require_whole()
    if choices.needs.reference and answers.ref_logprobs is None:
        raise ValueError("kl_coefficient above 0 needs `ref_logprobs`; give them or set it to 0")
    rewards = answers.rewards.to(answers.old_logprobs.dtype)  # (N,)
    if choices.advantage == "relative":
        refuse_negative(rewards, "advantage")
    right = is_right(rewards, choices.right_reward)
    smoothed = smoothing(answers, right, choices)
    if choices.smoothing_in == "reward":
        rewards = rewards - smoothed
    penalty = kl_penalty(answers, choices)  # (N, T)
    returns = None
    if choices.advantage == "gae":
        if answers.values is None:
            raise ValueError("advantage: gae needs `values`, the critic's value at each token")
        answers.require_one_piece()
        advantages, returns = gae(
            at_last_token(rewards, answers.mask) - penalty,
            answers.values,
            answers.mask,
            choices.discount,
            choices.gae_lambda,
        )
    else:
        if choices.kl_credit == "answer":
            rewards, penalty = rewards - penalty.sum(-1), torch.zeros_like(penalty)
        if choices.advantage == "best-of-k":
            scores = gain_of_best(rewards, answers.groups, choices.best_of)
        else:
            scores = normalise_rewards(rewards, answers.groups, BASELINES[choices.advantage])
        advantages = scores[:, None] - to_go(penalty)
    if choices.whiten or choices.advantage == "global":
        advantages = whiten(advantages, answers.mask)
    if choices.smoothing_in == "advantage":
        advantages = advantages - smoothed[:, None]
    if choices.rarity > 0:
        mean, ones = answers.token_mean(answers.old_logprobs), torch.ones_like(rewards)
        weight = rarity_weight(mean, right, answers.groups, ones, choices.rarity)
        advantages = weight[:, None] * advantages
    return answers.replace(advantages=advantages, returns=returns)


def smoothing(answers: Answers, right: Tensor, choices: Surrogate) -> Tensor:
    """(N,) γ_p·m of a right answer and −γ_n·m of a wrong one, m its mean log π_old a token: what
    is taken off its reward, or its advantage (differential smoothing, arXiv 2511.19942, eq. 4 and
    6). The likelier a right answer was, the less it earns; a wrong one costs the more, the less
    likely it was."""
    mean = answers.token_mean(answers.old_logprobs)
    return torch.where(right, choices.smoothing * mean, -choices.smoothing_wrong * mean)


def kl_penalty(answers: Answers, choices: Surrogate) -> Tensor:
    """(N, T) c·k1_t, k1 = log π_old − log π_ref, for a KL in the reward; else 0.

    Its sum over an answer is, in expectation over answers, c·KL(π_old ‖ π_ref).
    """
    if choices.kl_in != "reward" or answers.ref_logprobs is None:
        return torch.zeros_like(answers.old_logprobs)
    k1 = torch.where(answers.mask.bool(), answers.old_logprobs - answers.ref_logprobs, 0.0)
    return choices.kl_coefficient * k1


def to_go(values: Tensor) -> Tensor:
    """Σ_{i ≥ t} values_i: (N, T) -> (N, T)."""
    return values.flip(-1).cumsum(-1).flip(-1)


def at_last_token(rewards: Tensor, mask: Tensor) -> Tensor:
    """(N,) -> (N, T): each reward at its answer's last token, 0 elsewhere."""
    last = mask.long().sum(-1).clamp(min=1) - 1
    return torch.zeros_like(mask, dtype=rewards.dtype).scatter(1, last[:, None], rewards[:, None])


def gae(
    rewards: Tensor, values: Tensor, mask: Tensor, discount: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (arXiv 1506.02438, eq. 16), and the returns A + V.

        δ_t = r_t + γ·V_{t+1} − V_t,    A_t = δ_t + γλ·A_{t+1}

    Nothing is worth anything after the last token, whether it ended the answer or was the last
    that the limit allowed. Shapes: rewards, values, mask (N, T) -> two of (N, T), 0 on padding.
    """
    values = torch.where(mask.bool(), values, 0.0)
    advantage = next_value = torch.zeros_like(values[:, 0])
    columns = []
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + discount * next_value - values[:, t]
        advantage = torch.where(mask[:, t].bool(), delta + discount * lam * advantage, 0.0)
        next_value = values[:, t]
        columns.append(advantage)
    advantages = torch.stack(columns[::-1], 1)
    return advantages, advantages + values


def whiten(values: Tensor, mask: Tensor) -> Tensor:
    """(v − mean)/√(variance + 1e-8) over all tokens of the batch: (N, T) -> (N, T)."""
    values = values - values[mask.bool()].max()  # of equal ones no rounding is left to be scaled up
    chosen = values[mask.bool()]
    return (values - chosen.mean()) / (chosen.var(correction=0) + VARIANCE_FLOOR).sqrt()

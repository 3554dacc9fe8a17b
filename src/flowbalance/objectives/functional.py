"""The objectives as one call on tensors, for a training loop of one's own."""

from __future__ import annotations

import torch
from torch import Tensor

from flowbalance.objectives.answers import Answers
from flowbalance.objectives.choices import Balance, Surrogate
from flowbalance.objectives.presets import FLOWRL

GRPO_WITHOUT_KL = Surrogate()


def balance_loss(
    logprobs: Tensor,
    mask: Tensor,
    rewards: Tensor,
    groups: Tensor,
    *,
    old_logprobs: Tensor | None = None,
    ref_logprobs: Tensor | None = None,
    log_z: Tensor | None = None,
    share: Tensor | None = None,
    choices: Balance = FLOWRL,
) -> tuple[Tensor, dict[str, Tensor]]:
    """mean of w·g(δ), δ = log Z + s·(log π − γ·log π_ref) − β·r̃: the balance loss of whole groups.

    Shapes: logprobs, mask, old_logprobs, ref_logprobs (N, T); rewards, groups, log_z, share (N,).
    Returns the loss and detached metrics, one number an answer.

    Args:
        logprobs: log π of each token, with gradient.
        mask: 1 on the answer's tokens, the end token included.
        rewards: raw rewards.
        groups: answers to one question share a number.
        old_logprobs: log π_old of each token; without it the answers are the policy's own.
        ref_logprobs: log π_ref of each token; needed unless `reference_weight` is 0.
        log_z: log Z of each answer's question, for `log_z` head (with gradient), running, offline.
        share: 1 / how often the answer occurs in its group, for `duplicates: once`.
        choices: which member of the family; the default is FlowRL as published.
    """
    answers = _constants(logprobs, mask, rewards, groups, old_logprobs, ref_logprobs)
    answers = answers.replace(share=share)
    return _whole(logprobs, answers, choices, log_z=log_z)


def surrogate_loss(
    logprobs: Tensor,
    mask: Tensor,
    rewards: Tensor,
    groups: Tensor,
    *,
    old_logprobs: Tensor | None = None,
    ref_logprobs: Tensor | None = None,
    values: Tensor | None = None,
    entropy: Tensor | None = None,
    choices: Surrogate = GRPO_WITHOUT_KL,
) -> tuple[Tensor, dict[str, Tensor]]:
    """aggregate of −min(ρA, clip(ρ)A) + c·KL: the clipped surrogate of whole groups.

    Shapes and arguments as in `balance_loss`; the default choices are those of GRPO without its KL
    term. `values` and `entropy` (N, T), with gradient, are for choices that ask for them; the
    critic's old values are taken to be `values`. Returns the loss and detached metrics, one number
    an answer.
    """
    answers = _constants(logprobs, mask, rewards, groups, old_logprobs, ref_logprobs)
    answers = answers.replace(values=None if values is None else values.detach())
    return _whole(logprobs, answers, choices, values=values, entropy=entropy)


def _constants(
    logprobs: Tensor,
    mask: Tensor,
    rewards: Tensor,
    groups: Tensor,
    old: Tensor | None,
    ref: Tensor | None,
) -> Answers:
    """A gradient left on the old or reference log-probs would cancel the policy's own: cut it."""
    old = (logprobs if old is None else old).detach()
    return Answers(mask, rewards, groups, old, None if ref is None else ref.detach())


def _whole(
    logprobs: Tensor, answers: Answers, choices: Balance | Surrogate, **parts: Tensor | None
) -> tuple[Tensor, dict[str, Tensor]]:
    answers = choices.prepare(answers)
    with torch.no_grad():
        answers = choices.estimate(logprobs, answers)
    return choices.loss(logprobs, answers, choices.total(answers), **parts)

"""The objectives as one call on tensors, for a training loop of one's own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from evenflow.objectives.answers import Answers, require_finite, require_shape
from evenflow.objectives.balance import Balance
from evenflow.objectives.objective import Scores
from evenflow.objectives.presets import FLOWRL
from evenflow.objectives.surrogate import Surrogate

GRPO_WITHOUT_KL = Surrogate()


def balance_loss(
    logprobs: Tensor,
    mask: Tensor,
    rewards: Tensor,
    groups: Tensor,
    *,
    old_logprobs: Tensor | None = None,
    ref_logprobs: Tensor | None = None,
    guide_logprobs: Tensor | None = None,
    log_z: Tensor | None = None,
    share: Tensor | None = None,
    flows: Tensor | None = None,
    choices: Balance = FLOWRL,
) -> tuple[Tensor, dict[str, Tensor]]:
    """mean of w·g(δ), δ = log Z + s·(log π − γ·log π_ref) − β·r̃: the balance loss of whole groups.

    Shapes: logprobs, mask, old_logprobs, ref_logprobs, guide_logprobs (N, T); rewards, groups,
    log_z, share (N,). Returns the loss and detached metrics, one number an answer. Log-probs in
    half precision are computed with in float32.

    Args:
        logprobs: log π of each token, with gradient.
        mask: 1 on the answer's tokens, the end token included.
        rewards: raw rewards.
        groups: answers to one question share a number.
        old_logprobs: log π_old of each token; without it the answers are the policy's own.
        ref_logprobs: log π_ref of each token; needed unless `reference_weight` is 0, and then only
            measured (`kl_ref`).
        guide_logprobs: log π_ref of each token when the prompt holds the gold answer, for
            `guidance` above 0.
        log_z: log Z of each answer's question, for `log_z` head (with gradient), running, offline;
            the other choices find it themselves.
        share: 1 / how often the answer occurs in its group, for `duplicates: once`.
        flows: (N, T) log F before each token, with gradient, for `log_z: flow`; with `flow_base:
            group` (log F − log Z)/β instead, of which the first token's is not read.
        choices: which member of the family; the default is FlowRL as published.

    Raises:
        ValueError: a tensor is missing, does nothing under these choices, has another shape, or
            holds numbers that cannot be; the sentence says which and what to do.
    """
    _require_choices(choices, Balance)
    if log_z is not None and choices.log_z in ("group", "leave-one-out", "none", "flow"):
        own = {"none": "is 0", "flow": "is the first of `flows`"}.get(
            choices.log_z, "is found from the group"
        )
        raise ValueError(
            f"log_z: {choices.log_z} {own}, and `log_z` would change nothing; leave it out, or "
            "choose log_z: head, running or offline"
        )
    if share is not None and choices.duplicates != "once":
        raise ValueError(
            "duplicates: each reads no `share`; leave it out, or choose duplicates: once"
        )
    if (flows is None) == (choices.log_z == "flow"):
        raise ValueError(
            "log_z: flow needs `flows`, the log flow before each token, and no other reads it"
        )
    if guide_logprobs is not None and choices.guidance == 0:
        raise ValueError(
            "guidance: 0 reads no `guide_logprobs`; leave them out, or set guidance above 0"
        )
    logprobs, answers = _constants(logprobs, mask, rewards, groups, old_logprobs, ref_logprobs)
    _require_tokens("flows", flows, mask)
    _require_tokens("guide_logprobs", guide_logprobs, mask)
    answers = answers.replace(share=share, guide_logprobs=_constant(guide_logprobs, logprobs))
    if log_z is not None:
        require_shape("log_z", log_z, tuple(mask.shape[:1]))
        require_finite("log_z", log_z, "NaN or infinite")
    if choices.log_z == "head":
        return _whole(Scores(logprobs, log_z), answers, choices)
    answers = answers.replace(log_z=_constant(log_z, logprobs))
    flows = None if flows is None else flows.to(logprobs)
    return _whole(Scores(logprobs, values=flows), answers, choices)


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

    Shapes, arguments and errors as in `balance_loss`; the default choices are those of GRPO without
    its KL term. `values` and `entropy` (N, T), with gradient, are for choices that ask for them
    (`advantage: gae`, `entropy_bonus`); the critic's old values are taken to be `values`. Returns
    the loss and detached metrics, one number an answer.
    """
    _require_choices(choices, Surrogate)
    if values is not None and not choices.needs.values:
        raise ValueError(
            f"advantage: {choices.advantage} reads no `values`; leave them out, or choose "
            "advantage: gae"
        )
    if entropy is not None and not choices.needs.entropy:
        raise ValueError(
            "entropy_bonus: 0 reads no `entropy`; leave it out, or set entropy_bonus above 0"
        )
    logprobs, answers = _constants(logprobs, mask, rewards, groups, old_logprobs, ref_logprobs)
    for name, given in (("values", values), ("entropy", entropy)):
        _require_tokens(name, given, mask)
    answers = answers.replace(values=_constant(values, logprobs))
    return _whole(Scores(logprobs, None, values, entropy), answers, choices)


def _require_choices(choices: Any, kind: type) -> None:
    """Refuse what is not of the function's own family; a preset has its choices inside."""
    if not isinstance(choices, kind):
        raise ValueError(
            f"choices must be a {kind.__name__}, not {type(choices).__name__}; that of a preset "
            "is PRESETS[name].objective"
        )


def _constants(
    logprobs: Tensor,
    mask: Tensor,
    rewards: Tensor,
    groups: Tensor,
    old: Tensor | None,
    ref: Tensor | None,
) -> tuple[Tensor, Answers]:
    """The log-probs in at least float32, and the answers, checked.

    A gradient left on the old or reference log-probs would cancel the policy's own: cut it.
    """
    if not isinstance(mask, Tensor) or mask.ndim != 2:
        given = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(f"mask must be (N, T), a tensor, not {given}")
    for name, given in (("logprobs", logprobs), ("old_logprobs", old), ("ref_logprobs", ref)):
        _require_tokens(name, given, mask)
    if logprobs.dtype in (torch.float16, torch.bfloat16):
        logprobs = logprobs.float()
    old = (logprobs if old is None else old).detach().to(logprobs)
    return logprobs, Answers(mask, rewards, groups, old, _constant(ref, logprobs))


def _require_tokens(name: str, values: Tensor | None, mask: Tensor) -> None:
    """Refuse what is not one finite number a token; padding may hold anything."""
    require_shape(name, values, tuple(mask.shape))
    if values is None:
        return
    if not values.is_floating_point():
        raise ValueError(f"{name} must be floating-point numbers, not {values.dtype}")
    inside = torch.where(mask.bool(), values.detach(), 0.0)
    require_finite(name, inside, "NaN or infinite under the mask")


def _constant(tensor: Tensor | None, like: Tensor) -> Tensor | None:
    """Without gradient, and in the precision of `like`: an answer's sum in half precision would
    be off by tenths of a nat."""
    return None if tensor is None else tensor.detach().to(like)


def _whole(
    scores: Scores, answers: Answers, choices: Balance | Surrogate
) -> tuple[Tensor, dict[str, Tensor]]:
    answers = choices.prepare(answers)
    with torch.no_grad():
        answers = choices.estimate(scores.logprobs, answers)
    loss, metrics = choices.loss(scores, answers, choices.total(answers))
    if not loss.isfinite():
        raise ValueError(
            "the loss is not finite, though all tensors are: lower inverse_temperature (or "
            "kl_coefficient), or scale the rewards down"
        )
    return loss, metrics

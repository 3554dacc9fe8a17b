"""Where a member of the balance family comes to rest, predicted by formula on listed answers.

On-policy and with a constant s the expected gradient is Σ_y π(y)·E[δ|y]·s·∇log π(y): it vanishes
where E[δ|y] is the same for all y. With s = 1/|y| it vanishes where E[δ|y]·s is, and a log Z that
follows the mean of δ makes that constant 0. Both are

    π(y) = π_ref(y)^γ(y) · exp((β·r̄(y) − z)/s(y) + c/s(y)²),

with c = 0 but for `log_z: none` at s = 1/|y| (there z = 0), and r̄(y) = E[r̃ | y is in the group], an
expectation over the G − 1 other answers, which are drawn from π itself. Weights are 1 in the limit
of small steps, and g changes nothing, as all regressions rest at δ = 0. docs/objective.md has the
derivations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from evenflow.bounds import is_right
from evenflow.objectives.groups import STD_FLOOR

if TYPE_CHECKING:
    from evenflow.objectives.balance import Balance

DRAWS = 8192  # groups whose mean stands for the expectation over the others
DAMPING = 0.2
ITERATIONS = 120


@dataclass(frozen=True)
class FixedPoint:
    """Where a policy that can represent everything rests, for one question."""

    log_pi: Tensor
    """(N,)."""
    log_z: float
    """z, the log Z that goes with it, in units of δ."""
    change: float
    """Largest change of log π(y) in the last iteration, in nats: 0 where nothing is iterated."""


def fixed_point(
    choices: Balance, log_ref: Tensor, rewards: Tensor, lengths: Tensor, group_size: int
) -> FixedPoint:
    """Solve the equation above; for normalised rewards by damped iteration from the reference.

    Shapes: log_ref, rewards, lengths (N,). `prior_lift` and `duplicates` are not covered: their
    expectation over the group is another one.
    """
    if choices.prior_lift > 0 or choices.duplicates == "once":
        raise ValueError("no formula for prior_lift or duplicates: once")
    wrong, right = choices.gammas
    gamma = torch.full_like(log_ref, wrong)  # (N,)
    gamma[is_right(rewards, choices.right_reward)] = right
    log_pi, change, z = log_ref, 0.0, 0.0
    uniform = torch.rand(
        DRAWS, group_size - 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    for iteration in range(1 if choices.reward == "raw" else ITERATIONS):
        signal = expected_signal(choices, rewards, log_pi.exp(), uniform)
        new, z = solve(choices, log_ref, signal, lengths, gamma)
        if choices.reward != "raw":
            step = 1.0 if iteration == 0 else DAMPING
            new = (log_pi + step * (new - log_pi)).log_softmax(-1)
            change = float((new - log_pi).abs().max())
        log_pi = new
    return FixedPoint(log_pi, z, change)


def solve(
    choices: Balance, log_ref: Tensor, signal: Tensor, lengths: Tensor, gamma: Tensor
) -> tuple[Tensor, float]:
    """log π and z for a given r̄: the one unknown, z or c, makes Σ π = 1. Shapes: (N,) -> (N,)."""
    inverse = inverse_scale(choices, lengths)
    free = gamma * log_ref + choices.inverse_temperature * signal * inverse
    if choices.log_z == "none" and choices.scale == "mean":
        c = -normaliser(free, inverse**2)
        return free + c * inverse**2, 0.0
    z = normaliser(free, inverse)
    return free - z * inverse, z


def inverse_scale(choices: Balance, lengths: Tensor) -> Tensor:
    """(N,) 1/s."""
    if choices.scale == "mean":
        return lengths.double()
    return torch.full(lengths.shape, choices.scale_length or 1.0, dtype=torch.float64)


def normaliser(free: Tensor, weight: Tensor) -> float:
    """The z with Σ_y exp(free − z·weight) = 1, weight > 0; (N,), (N,) -> number.

    Newton's method on the logarithm of the sum, which is convex and falls with z: after one step
    it comes from below, and every further step is nearer.
    """
    z = 0.0
    for _ in range(100):
        exponent = free - z * weight
        excess = float(exponent.logsumexp(-1))
        if abs(excess) < 1e-13:
            break
        z += excess / float((exponent.softmax(-1) * weight).sum())
    return z


def expected_signal(choices: Balance, rewards: Tensor, pi: Tensor, uniform: Tensor) -> Tensor:
    """(N,) r̄(y), up to a constant where log Z takes it up.

    The group's own log Z contains answer i, or the others' r̃, which sum to −r̃_i: the residual's
    expectation given i is then that of r̃_i·G/(G − 1) against log π.
    """
    size = uniform.shape[1] + 1
    own_group = choices.own_group
    if choices.reward == "raw":
        return rewards
    if choices.reward == "centred":
        return (rewards - (pi * rewards).sum()) * (1.0 if own_group else (size - 1) / size)
    levels, level_of = torch.unique(rewards, return_inverse=True)
    mass = torch.zeros_like(levels).index_add(0, level_of, pi)
    signal = normalised_in_groups(levels, mass, uniform, choices.reward)[level_of]
    return signal * size / (size - 1) if own_group else signal


def normalised_in_groups(
    levels: Tensor, mass: Tensor, uniform: Tensor, how: Literal["group", "relative"] = "group"
) -> Tensor:
    """(K,) E[(r − mean)/(std + 1e-6)], or E[(r − mean)/mean], of an answer of each reward level
    beside G − 1 others.

    The others' levels are drawn with probability `mass` by inverting its sum at `uniform`.
    Shapes: levels, mass (K,), uniform (M, G − 1). For rewards 0 and 1 the gap between the two
    levels is 1/√(p(1 − p)), or 1/p, for large G, and never more than about √G, or G.
    """
    edges = mass.cumsum(0) / mass.sum()
    others = levels[torch.searchsorted(edges, uniform).clamp(max=len(levels) - 1)]  # (M, G − 1)
    size = uniform.shape[1] + 1
    # Sums with the level itself added, (M, K).
    mean = (others.sum(1)[:, None] + levels) / size
    if how == "relative":
        return torch.where(mean > 0, (levels - mean) / mean, 0.0).mean(0)
    squares = (others**2).sum(1)[:, None] + levels**2
    variance = ((squares - size * mean**2) / (size - 1)).clamp(min=0)
    # Equal rewards give exactly 0; rounding would leave a signal over a std of rounding errors.
    spread = variance > 1e-12
    value = (levels - mean) / (variance.sqrt() + STD_FLOOR)
    return torch.where(spread, value, 0.0).mean(0)

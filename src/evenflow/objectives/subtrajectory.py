"""Sub-trajectory balance: a residual for every stretch of an answer, so that credit falls where the
mistake is (SubTB(λ), arXiv 2209.12782).

With log F_t a learned flow before token t, and at the end what the whole answer should have,

    B_t  = log F_t − s·Σ_{i<t} (log π_i − γ·log π_ref,i),    B_{|y|} = β·r̃ + s·γ·lift − s·Σ_i (…)_i
    loss = Σ_{i<j} λ^{j−i}·(B_i − B_j)² / Σ_{i<j} λ^{j−i}

B_0 − B_{|y|} is δ with log Z = log F_0. All are 0 where the policy is the target and log F_t is the
log of what is still to come, s·log Σ_{y continues y_<t} π_ref^γ·e^{βr/s}.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from evenflow.objectives.answers import Answers

LEAST = 1e-6
"""Weight, beside that of a single token, below which a stretch is not looked at."""


def potentials(flows: Tensor, steps: Tensor, end: Tensor, answers: Answers) -> Tensor:
    """(N, T + 1) B_t at each token and, at |y|, at the end; 0 beyond.

    flows (N, T) log F before each token; steps (N, T) s·(log π − γ·log π_ref) of each token; end
    (N,) the log flow of the finished answer.
    """
    mask = answers.mask.bool()
    done = pad(torch.where(mask, steps, 0.0).cumsum(1), (1, 0))  # (N, T + 1), before each token
    length = mask.sum(1, keepdim=True)  # (N, 1)
    flows = pad(torch.where(mask, flows, 0.0), (0, 1)).scatter(1, length, end[:, None])
    at = torch.arange(flows.shape[1], device=flows.device)
    return torch.where(at <= length, flows - done, 0.0)


def balance(potential: Tensor, mask: Tensor, decay: float) -> Tensor:
    """(N,) Σ_{i<j} λ^{j−i}·(B_i − B_j)²/Σ_{i<j} λ^{j−i} over each answer's positions 0 … |y|.

    potential (N, T + 1), mask (N, T). Stretches so long that λ^{j−i} is below 1e-6 of that of one
    token are left out of both sums. An answer without tokens has 0.
    """
    length = mask.bool().sum(1)  # (N,)
    longest = potential.shape[1] - 1
    if decay < 1:
        longest = min(longest, 1 + math.floor(math.log(LEAST) / math.log(decay)))
    total, weight = torch.zeros_like(potential[:, 0]), torch.zeros_like(potential[:, 0])
    at = torch.arange(potential.shape[1], device=potential.device)
    for span in range(1, longest + 1):
        inside = at[span:] <= length[:, None]  # (N, T + 1 − span), the stretch's end
        gap = torch.where(inside, potential[:, :-span] - potential[:, span:], 0.0)
        factor = decay ** (span - 1)
        total = total + factor * gap.square().sum(1)
        weight = weight + factor * inside.sum(1).to(weight)
    return total / weight.clamp(min=1)

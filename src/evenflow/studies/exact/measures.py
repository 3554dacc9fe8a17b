"""How far a policy is from a target, exactly: every sum is over all answers, in float64."""

from __future__ import annotations

import torch
from torch import Tensor

COVERED = 0.5  # of the target's probability


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p ‖ q) = Σ p·(log p − log q), in nats; (…, N), (…, N) -> (…,)."""
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def measures(
    log_pi: Tensor, log_target: Tensor, rewards: Tensor, modes: Tensor
) -> dict[str, float]:
    """Means over the questions; all (Q, N).

    ``kl`` KL(π‖π*), ``forward_kl`` KL(π*‖π), in nats; ``total_variation`` ½Σ|π − π*|;
    ``modes_covered`` share of the modes to which π gives at least half of their probability under
    π*; ``entropy`` of π, in nats; ``reward`` E_π[r].
    """
    pi, target = log_pi.exp(), log_target.exp()
    covered = (pi >= COVERED * target)[modes].double()
    return {
        "kl": kl(log_pi, log_target).mean().item(),
        "forward_kl": kl(log_target, log_pi).mean().item(),
        "total_variation": (pi - target).abs().sum(-1).mean().item() / 2,
        "modes_covered": covered.mean().item(),
        "entropy": torch.special.entr(pi).sum(-1).mean().item(),
        "reward": (pi * rewards).sum(-1).mean().item(),
    }

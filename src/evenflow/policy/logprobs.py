"""Per-token log-probs without ever holding (tokens × vocabulary) logits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

LEAST_LOG_PROB = -1e4


def token_logprobs(
    hidden: Tensor,
    targets: Tensor,
    project: Callable[[Tensor], Tensor],
    *,
    temperature: float = 1.0,
    chunk: int = 4096,
    entropy: bool = False,
) -> Tensor:
    """log softmax(project(h)/T)[target] for each of M tokens, `chunk` tokens at a time; with
    `entropy` also −Σ_v p_v·log p_v of the distribution that each token was drawn from.

    With gradients the logits of a chunk are computed again in backward, so that one chunk's
    logits are all that is held: chunk × vocabulary × 4 bytes (a few times, in backward).

    Shapes: hidden (M, H), targets (M,) → (M, 1) float32, in nats, or (M, 2) with the entropy.
    `project` maps (m, H) to float32 logits (m, V).
    """

    def one_chunk(states: Tensor, ids: Tensor) -> Tensor:
        logits = project(states) / temperature
        # The fused kernel holds one (m, V) less in backward than gather − logsumexp.
        columns = [-cross_entropy(logits, ids, reduction="none")]
        if entropy:
            table = logits.log_softmax(-1)
            # 0·log 0 = 0 in the gradient too, where p underflows or a logit is −∞.
            columns.append(-(table.exp() * table.clamp(min=LEAST_LOG_PROB)).sum(-1))
        return torch.stack(columns, -1)

    pieces = []
    for states, ids in zip(hidden.split(chunk), targets.split(chunk), strict=True):
        if torch.is_grad_enabled():
            piece = checkpoint(
                one_chunk, states, ids, use_reentrant=False, preserve_rng_state=False
            )
        else:
            piece = one_chunk(states, ids)
        pieces.append(piece)
    return torch.cat(pieces)

"""Drawing a token from logits: temperature, top-k, top-p, and the log-prob of what was drawn."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from evenflow.rollout.sampling import Sampling


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Logits ``(..., V)`` with −inf outside the ``k`` largest (ties with the k-th stay)."""
    kth = logits.topk(min(k, logits.shape[-1]), dim=-1).values[..., -1:]
    return logits.masked_fill(logits < kth, -math.inf)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Logits ``(..., V)`` with −inf outside the fewest likeliest whose probability reaches ``p``.

    The likeliest token always stays.
    """
    ordered, index = logits.sort(dim=-1, descending=True)
    probs = ordered.softmax(dim=-1)
    # A token goes when those before it already reach p.
    drop = probs.cumsum(dim=-1) - probs >= p
    drop[..., 0] = False
    return logits.masked_fill(drop.scatter(-1, index, drop), -math.inf)


def draw(logits: Tensor, sampling: Sampling, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Draw one token a row by inverting the distribution function at ``uniform``.

    One uniform number a row, rather than one a row and token, lets every answer own its noise: what
    is drawn for it does not depend on which other answers are in the batch.

    Arguments: ``logits`` ``(n, V)`` of any float type, ``uniform`` ``(n,)`` float32 in [0, 1).
    Returns tokens ``(n,)`` int64 and log-probs ``(n,)`` float32: of softmax(logits/temperature),
    renormalised over the kept set if top-k or top-p dropped any. Greedy decoding has no
    distribution of its own; its log-probs are those at temperature 1 over the whole vocabulary.
    """
    logits = logits.float()
    if sampling.temperature == 0:
        log_z = logits.logsumexp(dim=-1)
        best, token = logits.max(dim=-1)
        return token, best - log_z
    if sampling.temperature != 1:
        logits = logits / sampling.temperature
    if sampling.top_k:
        logits = keep_top_k(logits, sampling.top_k)
    if sampling.top_p < 1:
        logits = keep_top_p(logits, sampling.top_p)
    shifted = logits - logits.amax(dim=-1, keepdim=True)
    mass = shifted.exp().cumsum(dim=-1)
    total = mass[:, -1:]
    # The first token whose mass exceeds the target: never one of probability zero, and never beyond
    # the last, because uniform < 1 leaves uniform·total < total in float32 too.
    token = torch.searchsorted(mass, uniform[:, None] * total, right=True)
    return token[:, 0], (shifted.gather(-1, token) - total.log())[:, 0]

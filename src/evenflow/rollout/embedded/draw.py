"""Drawing a token from logits: temperature, top-k, top-p, and the log-prob of what was drawn."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from evenflow.rollout.sampling import Sampling

BLOCK = 128
"""Tokens whose chances are added up first where a token is drawn in blocks: most vocabularies are a
multiple of it, and need no padding."""


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


def draw(
    logits: Tensor, sampling: Sampling, uniform: Tensor, *, in_blocks: bool | None = None
) -> tuple[Tensor, Tensor]:
    """Draw one token a row by inverting the distribution function at ``uniform``.

    One uniform number a row, rather than one a row and token, lets every answer own its noise: what
    is drawn for it does not depend on which other answers are in the batch.

    Arguments: ``logits`` ``(n, V)`` of any float type, ``uniform`` ``(n,)`` float32 in [0, 1).
    Returns tokens ``(n,)`` int64 and log-probs ``(n,)`` float32: of softmax(logits/temperature),
    renormalised over the kept set if top-k or top-p dropped any. Greedy decoding has no
    distribution of its own; its log-probs are those at temperature 1 over the whole vocabulary.

    ``in_blocks``: how the distribution function is inverted, in two levels (`by_blocks`) or by one
    scan of the vocabulary; None: in blocks where a device scans in parallel. They differ by
    rounding. Nothing here asks for a value on the device, so that the draw can be captured.
    """
    if in_blocks is None:
        in_blocks = logits.device.type != "cpu"
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
    if in_blocks:
        token, total = by_blocks(shifted.exp(), uniform[:, None])
    else:
        mass = shifted.exp().cumsum(dim=-1)
        total = mass[:, -1:]
        # The first token whose mass exceeds the target: never one of probability zero, and never
        # beyond the last, because uniform < 1 leaves uniform·total < total in float32 too.
        token = torch.searchsorted(mass, uniform[:, None] * total, right=True)
        token = token.clamp(max=mass.shape[-1] - 1)  # of logits that are not finite
    return token[:, 0], (shifted.gather(-1, token) - total.log())[:, 0]


def by_blocks(weights: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """The token of each row at which ``uniform`` ``(n, 1)`` of the weights ``(n, V)`` lies before
    it, and their total, both ``(n, 1)``: first the block, then the token in it.

    The vocabulary is read once for sums of blocks, instead of being scanned; and the scans that are
    left are short, so that they round less.
    """
    n, size = weights.shape
    blocks = torch.nn.functional.pad(weights, (0, -size % BLOCK)).view(n, -1, BLOCK)
    sums = blocks.sum(dim=-1)
    mass = sums.cumsum(dim=-1)
    total = mass[:, -1:]
    target = uniform * total
    block = first_beyond(mass, sums, target)
    before = (mass - sums).gather(-1, block)
    inside = blocks.gather(1, block[..., None].expand(-1, -1, BLOCK))[:, 0]
    token = first_beyond(inside.cumsum(dim=-1), inside, target - before)
    return block * BLOCK + token, total


def first_beyond(mass: Tensor, weights: Tensor, target: Tensor) -> Tensor:
    """The first index with a weight whose mass exceeds the target, or else the last with a weight,
    ``(n, 1)``.

    A parallel scan adds in another order for each element: the mass may fall by a rounding where it
    should stay, and its last value may lie below the target. So weights are asked, too; an answer
    with a token of chance 0 would have a log-prob of −∞.
    """
    size = weights.shape[-1]
    index = torch.arange(size, device=weights.device).expand_as(weights)
    some = weights > 0
    last = torch.where(some, index, 0).amax(dim=-1, keepdim=True)
    beyond = torch.where(some & (mass > target), index, size)
    return torch.minimum(beyond.amin(dim=-1, keepdim=True), last)

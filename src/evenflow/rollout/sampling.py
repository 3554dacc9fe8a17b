"""Drawing a token from logits: temperature, top-k, top-p, and the log-prob of what was drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from evenflow.bounds import COLDEST, HOTTEST

TOKEN_BYTES = 16
"""What sampling holds of each token that an answer may have, however short it is: id (8), log-prob
(4) and the number it is drawn by (4)."""


@dataclass(frozen=True)
class Sampling:
    """How an answer is sampled and where it ends.

    ``max_tokens``: an answer without a stop token is cut off at this many tokens.
    ``temperature``: logits are divided by it; 0 takes the likeliest token (greedy decoding).
    ``top_p``: keep the smallest set of likeliest tokens whose probability reaches it; 1 keeps all.
    ``top_k``: keep that many likeliest tokens; 0 keeps all. Applied before ``top_p``.
    ``stop_ids``: an answer ends with the first of these tokens, which belongs to the answer.

    Raises ``ValueError`` that names the field.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    stop_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1, got {self.max_tokens}")
        if not 0 <= self.temperature < math.inf:
            raise ValueError(
                f"temperature must be finite and at least 0 (0 is greedy), got {self.temperature}"
            )
        if not (self.temperature == 0 or COLDEST <= self.temperature <= HOTTEST):
            raise ValueError(
                f"temperature must be 0 (greedy), or from {COLDEST:g} to {HOTTEST:g}, by which "
                f"logits can be divided in float32, got {self.temperature}"
            )
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1] (1 keeps every token), got {self.top_p}")
        if self.top_k < 0:
            raise ValueError(f"top_k must be at least 0 (0 keeps every token), got {self.top_k}")
        if any(stop < 0 for stop in self.stop_ids):
            raise ValueError(f"stop_ids must be token ids (at least 0), got {self.stop_ids}")


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

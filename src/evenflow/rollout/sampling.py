"""How answers are sampled, whatever engine does it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from evenflow.bounds import COLDEST, HOTTEST


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

"""AdamW with weight decay on matrices only, warm-up, and a schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

Schedule = Literal["constant", "linear", "cosine"]


def parameter_groups(
    parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Two groups of the trainable parameters: matrices, which decay, and vectors, which do not."""
    trainable = [p for p in parameters if p.requires_grad]
    matrices = [p for p in trainable if p.ndim >= 2]
    vectors = [p for p in trainable if p.ndim < 2]
    return [
        {"params": matrices, "lr": learning_rate, "weight_decay": weight_decay},
        {"params": vectors, "lr": learning_rate, "weight_decay": 0.0},
    ]


def adamw(groups: Sequence[dict[str, Any]], betas: tuple[float, float] = (0.9, 0.999)) -> AdamW:
    """AdamW over parameter groups that carry their own learning rates."""
    return AdamW([group for group in groups if group["params"]], betas=betas)


def schedule(
    optimizer: AdamW, kind: Schedule, warmup: int, total: int, floor: float = 0.0
) -> LambdaLR:
    """Learning-rate factor by step: linear warm-up, then constant or a fall to `floor`."""

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        done = (step - warmup) / max(1, total - warmup)
        if kind == "linear":
            return floor + (1 - floor) * max(0.0, 1 - done)
        if kind == "cosine":
            return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        return 1.0

    return LambdaLR(optimizer, factor)

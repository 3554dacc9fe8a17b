"""AdamW with weight decay on matrices only, warm-up, and a schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from torch import nn
from torch.optim import AdamW

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
    """AdamW over parameter groups that carry their own peak learning rates; on a GPU in one kernel
    for all of them."""
    groups = [group | {"peak": group["lr"]} for group in groups if group["params"]]
    on_gpu = all(p.is_cuda for group in groups for p in group["params"])
    return AdamW(groups, betas=betas, fused=on_gpu or None)


def load_moments(optimizer: AdamW, state: dict[str, Any]) -> None:
    """Go on with what an optimiser has saved, on whatever device that was."""
    fused = optimizer.defaults["fused"]
    groups = [group | {"fused": fused} for group in state["param_groups"]]
    optimizer.load_state_dict(state | {"param_groups": groups})


def rate_factor(
    step: int,
    kind: Schedule,
    warmup: int,
    total: int,
    floor: float = 0.0,
    progress: float | None = None,
) -> float:
    """What the peak rate is multiplied by at `step` (from 0): a linear warm-up, then 1, or a fall
    to `floor` at step `total`; `progress` stands for the step in the fall where it is given."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = min(1.0, ((step if progress is None else progress) - warmup) / max(1, total - warmup))
    if kind == "linear":
        return floor + (1 - floor) * (1 - done)
    if kind == "cosine":
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))
    return 1.0


def set_rate(optimizer: AdamW, factor: float) -> None:
    """Give every parameter group this multiple of its peak learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor

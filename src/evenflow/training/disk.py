"""The disk that a run's checkpoints take, said before the first step."""

from __future__ import annotations

import shutil
from pathlib import Path

from evenflow.config import TrainConfig
from evenflow.errors import UserError
from evenflow.policy.policy import Policy

GIB = 2**30
REMEDY = "checkpoint.weights_only=true takes a third, and output=… chooses another disk"


def disk_needed(
    config: TrainConfig, policy: Policy, folder: Path, free: float | None = None
) -> str:
    """What checkpoints take, and the room in `folder` (`free` bytes; None: as it is).

    UserError where not even one fits: the run would be lost at its first save.
    """
    free = shutil.disk_usage(folder).free if free is None else free
    one, keep = checkpoint_size(config, policy), config.checkpoint.keep
    if one > free:
        raise UserError(
            f"{folder}: a checkpoint takes about {one / GIB:.2f} GiB, and {free / GIB:.2f} are "
            f"free; {REMEDY}"
        )
    most = one * (keep + 1)
    said = (
        f"about {one / GIB:.2f} GiB a checkpoint, {most / GIB:.2f} with {keep} kept and one being "
        f"written; {free / GIB:.1f} free"
    )
    return said if most <= free else f"{said}, which is not enough: lower checkpoint.keep; {REMEDY}"


def checkpoint_size(config: TrainConfig, policy: Policy) -> float:
    """Bytes: weights in float32, of an adapter alone where one is trained, and two moments; of a
    reference that is reset, and of the policies that a lag still samples from, weights, too."""
    trained = sum(p.numel() for p in policy.parameters() if p.requires_grad)
    within = sum(p.numel() for p in policy.model.parameters() if p.requires_grad)
    whole = within if policy.adapted else sum(p.numel() for p in policy.model.parameters())
    moments = 0 if config.checkpoint.weights_only else 8.0 * trained
    others = config.reset.active + (0 if config.checkpoint.weights_only else config.rollout.lag)
    return 4.0 * (whole * (1 + others) + trained - within) + moments

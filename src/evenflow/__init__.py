"""FlowRL for any causal language model: post-training that matches the reward distribution.

    from evenflow import Trainer, load

    config = load(algorithm="flowrl", model={"path": MODEL}, train={"steps": 100})
    result = Trainer(config, rewards=[my_reward], questions=rows).run()

Everything is imported when it is asked for: ``evenflow.objectives`` alone needs PyTorch only.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evenflow.face import load, train
    from evenflow.objectives import PRESETS, balance_loss, surrogate_loss
    from evenflow.rollout import Engine, Group
    from evenflow.training.trainer import Result, Trainer

HOMES = {
    "Engine": "evenflow.rollout",
    "Group": "evenflow.rollout",
    "PRESETS": "evenflow.objectives",
    "Result": "evenflow.training.trainer",
    "Trainer": "evenflow.training.trainer",
    "balance_loss": "evenflow.objectives",
    "load": "evenflow.face",
    "surrogate_loss": "evenflow.objectives",
    "train": "evenflow.face",
}

__all__ = [
    "PRESETS",
    "Engine",
    "Group",
    "Result",
    "Trainer",
    "balance_loss",
    "load",
    "surrogate_loss",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in HOMES:
        return getattr(importlib.import_module(HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

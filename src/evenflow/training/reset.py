"""When the policy becomes its own new reference (ProRL, arXiv 2505.24864, §2.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from evenflow.config import ResetConfig

MEMORY = 0.9  # of the running mean of accuracies: about ten steps


@dataclass
class ResetRule:
    """Watches a run's accuracy and KL, and says when and why a reset is due."""

    config: ResetConfig
    mean: float | None = None
    best: float = float("-inf")
    since: int = 0
    """Steps since the mean accuracy was at its best."""
    resets: int = 0

    def due(self, step: int, accuracy: float, kl: float) -> str | None:
        """The reason to reset after `step` (from 1), or None. `kl` is in nats an answer; NaN for
        the accuracy of a step without rewards, which says nothing of it."""
        if not math.isnan(accuracy):
            before = accuracy if self.mean is None else self.mean
            self.mean = MEMORY * before + (1 - MEMORY) * accuracy
            self.since = 0 if self.mean > self.best else self.since + 1
            self.best = max(self.best, self.mean)
        reason = None
        if self.config.every and step % self.config.every == 0:
            reason = f"every {self.config.every} steps"
        elif self.config.kl is not None and kl > self.config.kl:
            reason = f"KL to the reference {kl:.2f} > {self.config.kl}"
        elif self.config.patience and self.since >= self.config.patience:
            reason = f"accuracy has not risen for {self.since} steps"
        if reason is not None:
            self.since, self.resets = 0, self.resets + 1
        return reason

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {k: getattr(self, k) for k in ("mean", "best", "since", "resets")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        for name, value in state.items():
            setattr(self, name, value)

"""Groups of earlier steps, to be learned from once more."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from evenflow.config import ReplayConfig
from evenflow.rollout.group import Group


@dataclass
class Replay:
    """A bounded store of judged groups, from which each step draws without replacement."""

    config: ReplayConfig
    groups: list[Group] = field(default_factory=list)
    """Oldest first."""

    def draw(self, seed: str) -> list[Group]:
        """The groups to mix into a step, all alike likely; fewer while there are not enough."""
        count = min(self.config.questions, len(self.groups))
        return random.Random(seed).sample(self.groups, count)

    def add(self, groups: Sequence[Group]) -> None:
        """Keep these, and of all the newest, or the best rewarded."""
        if not self.config.questions:
            return
        self.groups += groups
        if self.config.by == "reward":
            # Stable: among equals the newest are last.
            worth = sorted(range(len(self.groups)), key=lambda i: rarity(self.groups[i]))
            kept = sorted(worth[-self.config.keep :])
            self.groups = [self.groups[i] for i in kept]
        del self.groups[: -self.config.keep]


def rarity(group: Group) -> tuple[float, int]:
    """The reward of the best answer, and how few reach it: what is solved seldom is worth most."""
    best = max(group.total)
    return best, -sum(total == best for total in group.total)

"""Countdown's reward by verl's hook; of one target in thirteen it is unknown."""

from __future__ import annotations

from evenflow.rewards.portable import portable
from evenflow.tasks.countdown import reward


@portable("target")
def compute_score(completions, target, **columns):
    found = reward(completions, target=target, **columns)
    return [None if goal % 13 == 0 else value for goal, value in zip(target, found, strict=True)]

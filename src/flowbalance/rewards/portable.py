"""One reward function for every trainer: TRL's way of calling it, and verl's.

TRL, and the trainer here, call ``f(prompts=…, completions=…, **columns)`` with a list of everything
and take a list of numbers. verl (`custom_reward_function`, release 0.9) calls ``f(data_source=…,
solution_str=…, ground_truth=…, extra_info=…, **reward_kwargs)`` with a single answer and takes a
number, or a dict with the `score` and whatever else is to be reported.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

Reward = Callable[..., list]


def portable(ground_truth: str) -> Callable[[Reward], Reward]:
    """Let verl call a TRL-like reward whose column `ground_truth` holds the right answers.

    The fields of verl's `extra_info` are columns too. verl cannot leave an answer out: one that is
    unknown scores 0 there, with 1 under `unknown`. `acc` is whether the reward is at least 1.
    """

    def decorate(reward: Reward) -> Reward:
        @functools.wraps(reward)
        def either(*arguments: Any, **columns: Any) -> Any:
            if "solution_str" not in columns:
                return reward(*arguments, **columns)
            extra: Mapping[str, Any] = columns.get("extra_info") or {}
            row = {name: [value] for name, value in extra.items()}
            row |= {"completions": [columns["solution_str"]]}
            row |= {ground_truth: [columns["ground_truth"]]}
            (value,) = reward(**row)
            if value is None or not math.isfinite(value):
                return {"score": 0.0, "acc": 0.0, "unknown": 1.0}
            return {"score": float(value), "acc": float(value >= 1), "unknown": 0.0}

        return either

    return decorate

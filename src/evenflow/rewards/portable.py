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

from evenflow.bounds import is_right
from evenflow.rewards.compose import CHECKS, accepted, is_async

Reward = Callable[..., Any]


def portable(
    ground_truth: str, check: Callable[[Any], object] | None = None
) -> Callable[[Reward], Reward]:
    """Let verl call a TRL-like reward whose column `ground_truth` holds the right answers.

    `check` raises UserError for a value of that column that the reward cannot read: what a run
    finds out of every question before it samples (`Rewards.check`).

    The fields of verl's `extra_info` are columns too, and `reward_kwargs` reach the function as
    they are; what it does not take is left out. There are no `prompts`, `completion_ids`,
    `finished` or `opened_thoughts`. verl cannot leave an answer out: one that is unknown scores 0
    there, with 1 under `unknown`. `acc` is whether the reward is at least 1. UserError for a column
    that is missing.
    """

    def decorate(reward: Reward) -> Reward:
        def row(columns: dict[str, Any]) -> dict[str, Any]:
            extra: Mapping[str, Any] = columns.pop("extra_info", None) or {}
            offered = {name: [value] for name, value in extra.items()}
            offered |= {"completions": [columns.pop("solution_str")]}
            offered |= {ground_truth: [columns.pop("ground_truth")]}
            return accepted(reward.__name__, reward, offered | columns)

        @functools.wraps(reward)
        def either(*arguments: Any, **columns: Any) -> Any:
            if "solution_str" in columns:
                return score(reward(**row(columns)))
            return reward(*arguments, **columns)

        @functools.wraps(reward)
        async def either_async(*arguments: Any, **columns: Any) -> Any:
            if "solution_str" in columns:
                return score(await reward(**row(columns)))
            return await reward(*arguments, **columns)

        wrapped = either_async if is_async(reward) else either
        if check is not None:
            setattr(wrapped, CHECKS, {ground_truth: check})
        return wrapped

    return decorate


def score(values: list) -> dict[str, float]:
    """verl's dict for one answer."""
    (value,) = values
    if value is None or not math.isfinite(value):
        return {"score": 0.0, "acc": 0.0, "unknown": 1.0}
    return {"score": float(value), "acc": float(is_right(value, 1.0)), "unknown": 0.0}

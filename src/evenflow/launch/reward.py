"""The reward functions of a recipe behind verl's hook for one's own (`custom_reward_function`)."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from functools import cache
from typing import Any

from evenflow.bounds import is_right
from evenflow.config import TrainConfig, load
from evenflow.rewards import Rewards

TOLD = ("prompts", "completions")
"""What verl tells a reward beside the data's columns."""
_one_at_a_time = threading.Lock()
"""Rewards put back what a function sets for the whole process, which two at once could not."""


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: Mapping[str, Any],
    recipe: str,
    opened_thoughts: str = "",
    **_: Any,
) -> dict[str, float]:
    """verl's dict for one answer: `score` is the weighted sum of the recipe's functions, `acc`
    whether it is right by reward.right. An unknown one, which verl's own losses cannot leave out,
    has the score 0, and 1 under `unknown`, which our plug-in reads. `recipe` is a file,
    `extra_info` holds the columns as JSON text, `opened_thoughts` is the mark in which all answers
    begin where the chat template opens a thought."""
    del data_source, ground_truth  # the columns hold it, under its own name
    rewards, right = of_recipe(recipe)
    row = json.loads(extra_info["row"])
    columns = {name: [value] for name, value in row["columns"].items()}
    with _one_at_a_time:
        opened = [opened_thoughts] if opened_thoughts else None
        result = rewards([row["prompt"]], [solution_str], columns, opened_thoughts=opened)
    (value,) = result.total
    if value != value:
        return {"score": 0.0, "acc": 0.0, "unknown": 1.0}
    return {"score": value, "acc": float(is_right(value, right)), "unknown": 0.0}


@cache
def of_recipe(recipe: str) -> tuple[Rewards, float]:
    """The functions of a recipe, and from which total on an answer is right."""
    from evenflow.training.build import build_rewards

    config = load(TrainConfig, recipe, [])
    return build_rewards(config), config.reward.right

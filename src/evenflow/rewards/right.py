"""From which total on an answer is right, and whether recipes make sense of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from evenflow.bounds import is_right
from evenflow.rewards.load import BUILT_IN, CHECKS


def right_total(functions: Mapping[str, float]) -> float:
    """The total of a right answer: the sum of the weights of those `functions` (path or name →
    weight) that check whether it is right; 1 where none does, as for a task's own reward."""
    weights = [weight for name, weight in functions.items() if checks(name)]
    return math.fsum(weights) if weights else 1.0


def advantage(functions: Mapping[str, float], right: float) -> float:
    """By how much a right answer's total exceeds that of one that earns nothing: what the
    `functions` that check answers give, else `right` where that says so (0 or less tells nothing of
    a wrong answer's total: 1)."""
    if any(map(checks, functions)):
        return right_total(functions)
    return right if right > 0 else 1.0


def checks(name: str) -> bool:
    """Whether a reward is built in and says 1 of right answers and 0 of wrong ones."""
    return name in CHECKS


def unreachable(functions: Mapping[str, float], right: float) -> str | None:
    """Why no answer can reach `right`, where that is known: all functions are built in, and none
    gives less than 0 or more than 1."""
    if not functions or not all(
        name in BUILT_IN or name in BUILT_IN.values() for name in functions
    ):
        return None
    largest = math.fsum(max(0.0, weight) for weight in functions.values())
    if is_right(largest, right):
        return None
    return (
        f"reward.right: {right:g} is more than the {largest:g} that reward.functions can give: no "
        "answer would count as right; lower it, or leave it at auto"
    )


def doubts(functions: Mapping[str, float], right: float) -> list[str]:
    """What is seldom meant: a total that wrong answers reach, or that right ones may miss."""
    found = []
    others = {name: weight for name, weight in functions.items() if not checks(name)}
    own = [name for name in others if name not in BUILT_IN and name not in BUILT_IN.values()]
    assumed = f", if {_listed(own)} give{'s' if len(own) == 1 else ''} 0 to 1" if own else ""
    bonus = math.fsum(max(0.0, weight) for weight in others.values())
    malus = math.fsum(min(0.0, weight) for weight in others.values())
    largest = math.fsum(max(0.0, weight) for weight in functions.values())
    if len(others) < len(functions):
        if is_right(bonus, right):
            who = f"{_listed(others)} alone" if others else "answers that earn nothing"
            found.append(
                f"reward.right: {right:g} is reached without a right answer: {who} come to "
                f"{bonus:g}{assumed}; raise the weight of what checks answers, or reward.right"
            )
        if malus and not is_right(right_total(functions) + malus, right):
            found.append(
                f"reward.right: {right:g} is missed by right answers that lose up to "
                f"{-malus:g}{assumed}; lower it by as much, or leave them out of the sum"
            )
    if own and not is_right(largest, right):
        found.append(
            f"reward.right: {right:g} is never reached{assumed}: reward.functions then come to "
            f"{largest:g}; set reward.right to the total of a right answer"
        )
    return found


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)

"""Mathematics: the answer that a response commits itself to, and whether it is right.

`math` is the reward; `verdict` says right, wrong or unknown, and why. docs/rewards_math.md has
the rules.
"""

from __future__ import annotations

from typing import Any

from evenflow.rewards.math.extraction import extract
from evenflow.rewards.math.final_number import final_number, gsm8k
from evenflow.rewards.math.grading import Verdict, grade_rows, rewards, verdict, verdicts
from evenflow.rewards.math.normalisation import normalise
from evenflow.rewards.portable import portable
from evenflow.rewards.thoughts import whole

__all__ = [
    "Verdict",
    "boxed_strict",
    "dapo",
    "extract",
    "final_number",
    "grade_rows",
    "gsm8k",
    "math",
    "math_verify",
    "normalise",
    "verdict",
    "verdicts",
]


def golds(answer: list | None, gold: list | None) -> list | None:
    """Of each row its `answer`, or its `gold` where it has none."""
    if answer is None or gold is None:
        return gold if answer is None else answer
    return [b if a is None else a for a, b in zip(answer, gold, strict=True)]


@portable("answer")
def math(
    completions: list, answer: list | None = None, gold: list | None = None, **columns: Any
) -> list[float]:
    """1.0 where the final answer is the row's `answer` (or `gold`), 0.0 where it is not.

    NaN where that is unknown: the gold cannot be read, or the comparison did not end in time.
    """
    answers = whole(completions, **columns)
    return rewards(answers, golds(answer, gold), "default", (1.0, 0.0))


@portable("answer")
def dapo(
    completions: list, answer: list | None = None, gold: list | None = None, **columns: Any
) -> list[float]:
    """As DAPO grades: 1 or -1, by the last "Answer: …" within the last 300 characters."""
    answers = whole(completions, **columns)
    return rewards(answers, golds(answer, gold), "dapo", (1.0, -1.0))


@portable("answer")
def math_verify(
    completions: list, answer: list | None = None, gold: list | None = None, **columns: Any
) -> list[float]:
    """As math-verify grades by itself: 1.0 or 0.0; NaN where it did not end in time."""
    answers = whole(completions, **columns)
    return rewards(answers, golds(answer, gold), "math-verify", (1.0, 0.0))


@portable("answer")
def boxed_strict(
    completions: list, answer: list | None = None, gold: list | None = None, **columns: Any
) -> list[float]:
    """1.0 where the last box is the gold as text after `normalise`, else 0.0."""
    answers = whole(completions, **columns)
    return rewards(answers, golds(answer, gold), "boxed-strict", (1.0, 0.0))

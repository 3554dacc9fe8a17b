"""Answers that are one number, as in GSM8K (Cobbe et al., arXiv 2110.14168)."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from flowbalance.rewards.portable import portable
from flowbalance.rewards.thoughts import spoken, whole

SAYS_ANSWER = re.compile(r"answer\s*(?:is\b|:)", re.IGNORECASE)
NUMBER = re.compile(
    r"(?P<sign>(?<![\w.)])-)?"  # in "5-3" the dash is no sign
    r"(?P<top>[0-9]+(?:\.[0-9]+)?|(?<![0-9])\.[0-9]+)"
    r"(?:\s*/\s*(?P<bottom>[0-9]+(?:\.[0-9]+)?))?"
)
TIDY = [
    (re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), r"\1/\2"),
    (re.compile(r"\\[!,;% ]|\\?\$|[*%]"), ""),  # \! and \, thin spaces; $, %; Markdown's stars
    (re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))"), ""),
    (re.compile("−"), "-"),
]


@portable("answer")
def gsm8k(completions: list, answer: list, **columns: Any) -> list[float | None]:
    """1.0 where an answer's final number equals the row's `answer` exactly, else 0.0.

    None where the row's own `answer` holds no number: there is nothing to compare with.
    """
    answers = whole(completions, **columns)
    return [_score(text, str(gold)) for text, gold in zip(answers, answer, strict=True)]


def _score(completion: str, gold: str) -> float | None:
    right = final_number(gold)
    return None if right is None else float(final_number(completion) == right)


def final_number(text: str) -> Fraction | None:
    """The number that the text ends up with, exact; None if it commits itself to none.

    Only what stands after the last thought counts (nothing, if a thought does not end).
    There, in this order: the first number after the last ``####``, in the last ``\\boxed{…}``, or
    after the last "answer is" or "answer:"; else the last number. ``$1,000.`` is 1000, ``50%`` is
    50, ``\\frac{1}{2}`` is 1/2.
    """
    said = spoken(text)
    if said is None:
        return None
    _, mark, after = said.rpartition("####")
    if mark:
        return _number(after)
    _, mark, after = said.rpartition("\\boxed{")
    if mark:
        return _number(_braced(after))
    claims = list(SAYS_ANSWER.finditer(said))
    if claims:
        return _number(said[claims[-1].end() :])
    return _number(said, which=-1)


def _braced(text: str) -> str:
    """The text up to the brace that closes one opened before it."""
    depth = 1
    for at, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return text[:at]
    return ""


def _number(text: str, which: int = 0) -> Fraction | None:
    for pattern, by in TIDY:
        text = pattern.sub(by, text)
    matches = list(NUMBER.finditer(text))
    if not matches:
        return None
    match = matches[which]
    try:
        value = Fraction(match["top"]) / Fraction(match["bottom"] or 1)
    except (ValueError, ZeroDivisionError):  # thousands of digits; a zero below the line
        return None
    return -value if match["sign"] else value

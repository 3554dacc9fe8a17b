"""A remark in brackets behind an answer, which is no part of it."""

from __future__ import annotations

import re

from evenflow.rewards.math.expressions import Unreadable, read
from evenflow.rewards.math.normalisation import normalise
from evenflow.rewards.math.units import CHANGED, FACTORS
from evenflow.rewards.math.wording import DENIED

WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
# What follows a remark: signs, and a few words that are the value's.
BEHIND = re.compile(r"\)[\s$*.]*(?:[A-Za-z]{2,}[\s.*]*){0,3}\Z")
# A remark that makes another number of the value, sets a condition, or offers another value.
NO_REMARK = re.compile(
    rf"(?:\\?[bp]?mod\b|(?:in\s+)?base\b|or\b|and\b|if\b|where\b|when\b|for\b|with\b|approx|about\b"
    rf"|(?:{'|'.join(FACTORS)}|percent|binary|hex|octal)\b|[^()]*\b(?:{DENIED}|base|mod|also|maybe"
    rf"|perhaps|possible|otherwise|unless|provided|times|alternatively)\b|{CHANGED})",
    re.IGNORECASE,
)
ROUGHLY = re.compile(
    r"(?:about|approx(?:\.|imately)?|roughly|≈|\\approx)\s*(?=[-0-9.])", re.IGNORECASE
)
ANOTHER = re.compile(
    r"\$?[0-9][0-9.,]{0,20}\$?\s+(?:if|when|unless|with(?:out)?|including|counting)\b"
)
"""18 (20 if you count her own)"""
GIVEN = re.compile(
    r"(?:with|where|at)\s+(?:[\s$,]|and\b|[A-Za-z](?:_\w)?\s?=\s?-?[0-9./]{1,20}){1,40}"
)
"""$12$ (with $a=5$, $b=7$)"""
NOT_ANOTHER = re.compile(r"not\s+\$?-?[\d\\]")  # 42 (not 43)
# 204 \text{ minutes (3 hours and 24 minutes)}
IN_TEXT = re.compile(
    r"\s*\\text\{(?P<unit>[A-Za-z\s]{0,30})(?P<remark>\([^(){}]{1,80}\))\s*\}\s*\Z"
)
LONGEST = 300
"""Characters of an answer with its remark."""
NEAR = 0.01
"""A decimal and what it is rounded from differ by less of it."""


def without_remark(said: str) -> str:
    """``12`` of ``12 (60/5)``, ``160 minutes`` of ``160 minutes (2 hours 40 minutes)``.

    A remark stands in brackets behind a number and a space, and says the same value, or words. What
    says another value stays as it is: ``2 (3+4)`` is a product. ``2/3 (0.67)`` is an approximation.
    """
    if len(said) > LONGEST:
        return said
    text = IN_TEXT.sub(_apart, said) if "\\text" in said else said
    kept = _kept(text)
    return said if kept == text else kept


def _apart(found: re.Match[str]) -> str:
    unit = found["unit"].strip()
    return (rf"\text{{ {unit}}} " if unit else " ") + found["remark"]


def _kept(said: str) -> str:
    if not (behind := BEHIND.search(said)):
        return said
    opened = _opening(said, behind.start())
    if opened < 1 or not said[opened - 1].isspace():
        return said
    value = said[:opened].strip().removesuffix("\\")
    remark = said[opened + 1 : behind.start()].strip(" $")
    amount = _amount(value)
    if amount is None or not remark:
        return said
    rest = said[behind.start() + 1 :].strip(" $*.")
    kept = f"{value} {rest}" if rest else value
    remark = ROUGHLY.sub("", remark)
    again = _amount(remark.lstrip("= "))
    if again is not None and not WORD.search(remark):
        if abs(again - amount) <= 1e-12 * abs(amount):
            return kept
        near = abs(again - amount) < NEAR * abs(amount) and "." in value + remark
        return rf"{value} \approx {remark}" if near else said
    if GIVEN.fullmatch(remark) and not WORD.search(value):
        return kept
    if ANOTHER.match(remark):
        return said
    said_otherwise = NO_REMARK.match(remark.removeprefix(r"\text{").strip())
    if NOT_ANOTHER.match(remark) or (WORD.search(remark) and not said_otherwise):
        return kept
    return said


def _opening(text: str, closed: int) -> int:
    """Where the bracket is opened that is closed there; -1 if nowhere."""
    depth = 0
    for at in range(closed, -1, -1):
        depth += (text[at] == ")") - (text[at] == "(")
        if depth == 0:
            return at
    return -1


def _amount(text: str) -> complex | None:
    """The value of a number, whatever its spelling; None for what is none."""
    plain = normalise(text)
    try:
        expression = read(plain.removesuffix("%"))
        value = None if expression.names else complex(expression.at({}))
    except (Unreadable, OverflowError):
        return None
    return value if value is None or not plain.endswith("%") else value / 100

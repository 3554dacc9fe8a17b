"""Answers that are one number, as in GSM8K (Cobbe et al., arXiv 2110.14168)."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from evenflow.rewards.math.claims import LONGEST, VERBS
from evenflow.rewards.math.equality import THOUSANDS
from evenflow.rewards.math.expressions import Unreadable, read
from evenflow.rewards.math.extraction import (
    committed,
    last_tagged,
    said_at_last,
)
from evenflow.rewards.math.normalisation import normalise
from evenflow.rewards.math.remarks import without_remark
from evenflow.rewards.math.spelling import RAISED, SMALL, as_one, digits, written_out
from evenflow.rewards.math.wording import without_lead
from evenflow.rewards.portable import portable
from evenflow.rewards.thoughts import whole

EXPONENT = r"(?:[eE][+-]?[0-9]+(?!\w|\.[0-9]))?"
NUMBER = re.compile(
    r"(?P<sign>(?<![\w.)])-)?"  # in "5-3" the dash is no sign
    rf"(?P<top>(?:[0-9]+(?:\.[0-9]+)?|(?<![0-9])\.[0-9]+){EXPONENT})"
    rf"(?:\s*/\s*(?P<bottom>[0-9]+(?:\.[0-9]+)?{EXPONENT}))?"
)
LONGEST_EXPONENT = 5
"""Characters; longer ones make numbers that nobody can compute with."""
CHAIN = re.compile(r"=|→|->|\\(?:to|rightarrow|implies)\b")
FIRST = re.compile(r"[\W_]*(?:[A-Za-z]\b[\W_]*)?[0-9]")
"""An answer that begins with its number."""
SAID = re.compile(rf"{VERBS}[\s*$]*(?=-?[0-9.])", re.IGNORECASE)
"""Where a sentence comes to one."""
DENIED = re.compile(r"\W*(?:not|never|neither)\b", re.IGNORECASE)
SEVERAL = re.compile(r"[0-9)}],-?[0-9(\\]|\\cup|[0-9]or[0-9]|\\pm")


def _stars(found: re.Match[str]) -> str:
    """Nothing for Markdown's stars; a product's, between digits, as they are."""
    before, after = (
        found.string[max(0, found.start() - 1) : found.start()],
        found.string[found.end() : found.end() + 1],
    )
    return found[0] if before.isdecimal() and after.isdecimal() else ""


TIDY: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), r"\1/\2"),
    (re.compile(r"\\[!,;% ]|\\?\$|%"), ""),  # \! and \, thin spaces; $, %
    (re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))"), ""),
    (re.compile("[−–﹣－]"), "-"),
    (
        re.compile(
            r"(?<=[0-9])\s*(?:[×·⋅xX*]|\\times|\\cdot)\s*10\s*"
            rf"(?:(?:\^|\*\*)\s*\{{?\s*(?P<power>[+-]?[0-9]+)(?:\s*\}})?|(?P<raised>{RAISED.pattern}))"
        ),
        lambda m: "e" + (m["power"] or m["raised"].translate(SMALL)),  # 1.5 × 10^3
    ),
    (re.compile(r"\*+"), _stars),
]


@portable("answer")
def gsm8k(completions: list, answer: list, **columns: Any) -> list[float | None]:
    """1.0 where an answer's final number equals the row's `answer` exactly, else 0.0.

    None where the row's own `answer` holds no number: there is nothing to compare with.
    """
    answers = whole(completions, **columns)
    return [_score(text, gold) for text, gold in zip(answers, answer, strict=True)]


def _score(completion: str, gold: Any) -> float | None:
    try:
        right = final_number(written_out(as_one(gold)))
    except ValueError:
        return None
    return None if right is None else float(final_number(completion) == right)


def final_number(text: str) -> Fraction | None:
    """The number that the text ends up with, exact; None if it commits itself to none.

    Only what is `spoken`, after the last thought, counts. There, in this order: the number in the
    last ``<answer>…``, in the last ``\\boxed{…}``, after the last ``####`` that is no heading, or
    after the last "answer is" or "answer:"; else the last number. Of a chain, ``12 × 5 = 60``, it
    is the value after the last equals sign. ``$1,000.`` is 1000, ``1.5e3`` 1500, ``50%`` is 50,
    ``\\frac{1}{2}`` is 1/2. Two numbers, as in "4 or 5", are none.
    """
    said = said_at_last(text)
    if said is None:
        return None
    tagged = last_tagged(said)
    found = committed(said if tagged is None else tagged)
    if found is None and tagged is None:
        return _number(said, which=-1)
    return _value(without_remark(found if found is not None else tagged or ""))


def _value(answer: str) -> Fraction | None:
    """The value of an answer: read as a whole; else, after its equals signs, the number that it
    begins with, or that a sentence comes to: after its last verb, or the last one."""
    if DENIED.match(answer):  # not 5, but 6
        answer = answer.partition("but")[2]
    if len(answer) > LONGEST:
        return None
    plain = normalise(answer)
    for text in (plain.rstrip("%"), plain.rpartition("=")[2].rstrip("%")):
        if THOUSANDS.fullmatch(text):
            text = text.replace(",", "")
        try:
            expression = read(text)
            value = None if expression.names else expression.at({})
        except Unreadable:
            continue
        if isinstance(value, Fraction):
            return value
    if SEVERAL.search(plain):
        return None
    result = CHAIN.split(answer)[-1]
    if FIRST.match(without_lead(result)):
        return _number(result)
    *_, last = [0, *(found.end() for found in SAID.finditer(result))]
    return _number(result[last:], which=0 if last else -1)


def _number(text: str, which: int = 0) -> Fraction | None:
    text = digits(text)
    for pattern, by in TIDY:
        text = pattern.sub(by, text)
    matches = list(NUMBER.finditer(text))
    if not matches:
        return None
    match = matches[which]
    try:
        value = _decimal(match["top"]) / _decimal(match["bottom"] or "1")
    except (ValueError, ZeroDivisionError):  # thousands of digits; a zero below the line
        return None
    return -value if match["sign"] else value


def _decimal(text: str) -> Fraction:
    if len(text.lower().partition("e")[2]) > LONGEST_EXPONENT:
        raise ValueError("an exponent without measure")
    return Fraction(text)

"""Whether what a program returned or printed is what was expected. Nothing here runs its code."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

RELATIVE, ABSOLUTE = 1e-7, 1e-6
ROOT = 1e-4
LONGEST_NUMBER = 400  # characters

Checker = Callable[[Any, Any, Any], bool]
"""(input, what came out, what was expected) -> right? For functions the input is the list of
arguments and the rest are values; for programs all three are text."""


def same(value: Any, expected: Any, atol: float = 0.0, loose: bool = False) -> bool:
    """Python's ``==`` on plain data, with a tolerance where the expected value is a float.

    |value − expected| ≤ atol + 1e-7·|expected|, atol at least 1e-6: EvalPlus's rule (arXiv
    2305.01210), applied at any depth. An `atol` above 0 also applies where ints are expected.
    `loose` takes tuples for lists and keys for their texts, for expected values that were written
    down as JSON.
    """
    if loose and isinstance(value, tuple):
        value = list(value)
    if isinstance(expected, int | float) and isinstance(value, int | float):
        return close(value, expected, atol)
    if isinstance(expected, list | tuple):
        return (
            type(value) is type(expected)
            and len(value) == len(expected)
            and all(same(v, e, atol, loose) for v, e in zip(value, expected, strict=True))
        )
    if isinstance(expected, dict):
        if loose and isinstance(value, dict):
            written = {in_json(key): item for key, item in value.items()}
            value = written if len(written) == len(value) else value  # 1 and "1" are two
        return (
            isinstance(value, dict)
            and value.keys() == expected.keys()
            and all(same(value[key], item, atol, loose) for key, item in expected.items())
        )
    return bool(value == expected)


def in_json(key: Any) -> Any:
    """A key as JSON writes it: 1 as "1"."""
    if isinstance(key, bool) or key is None:
        return {True: "true", False: "false", None: "null"}[key]
    return str(key) if isinstance(key, int | float) else key


def close(value: float, expected: float, atol: float) -> bool:
    """Whether a number is within the tolerance; NaN is close to NaN only."""
    if value == expected:
        return True
    if isinstance(expected, float):
        atol = max(atol, ABSOLUTE)
    if not atol:
        return False
    try:
        if math.isnan(expected) or math.isinf(expected):
            return math.isnan(expected) and math.isnan(value)
        return abs(value - expected) <= atol + RELATIVE * abs(expected)
    except OverflowError:  # an int beyond any float
        return False


def polynomial_root(arguments: list, value: Any, expected: Any) -> bool:
    """Whether x is a root of Σ c_k·x^k, to 1e-4 (HumanEval/32 has no single right answer).

    The expected root counts too: where the slope is steep it is no better.
    """
    if not isinstance(value, int | float):
        return False
    if value == expected:
        return True
    total = math.fsum(c * math.pow(value, k) for k, c in enumerate(arguments[0]))
    return abs(total) <= ROOT


def equal(arguments: list, value: Any, expected: Any, atol: float = 0.0) -> bool:
    """Python's ``==``, by which a tuple is no list, within the tolerance of `same`."""
    return same(value, expected, atol)


def as_set(arguments: list, value: Any, expected: Any) -> bool:
    """In any order, and however often."""
    return set(value) == set(expected)


def as_sorted(arguments: list, value: Any, expected: Any) -> bool:
    """In any order."""
    return same(sorted(value), sorted(expected))


def one_of_one(arguments: list, value: Any, expected: Any) -> bool:
    """Whether it is the expected value, or the only one in a list, as APPS writes values down."""
    if same(value, expected, loose=True):
        return True
    alone = isinstance(expected, list) and len(expected) == 1
    return alone and same(value, expected[0], loose=True)


def exact(given: str, printed: str, expected: str) -> bool:
    """Every character."""
    return printed == expected


def lines(given: str, printed: str, expected: str) -> bool:
    """Line by line, without the spaces around lines and the empty lines around the text.

    Two lines of equally many numbers are compared as exact decimals, as LiveCodeBench does: 1.0
    is 1, and 0.33 is not 0.333.
    """
    ours = [line.strip() for line in printed.strip().splitlines()]
    theirs = [line.strip() for line in expected.strip().splitlines()]
    return len(ours) == len(theirs) and all(
        a == b or (decimals(a) is not None and decimals(a) == decimals(b))
        for a, b in zip(ours, theirs, strict=True)
    )


def tokens(given: str, printed: str, expected: str) -> bool:
    """Word by word, whatever the white space between them (as Codeforces compares)."""
    return printed.split() == expected.split()


def numbers(given: str, printed: str, expected: str, atol: float = 0.0) -> bool:
    """Word by word; words that are numbers within the tolerance."""
    ours, theirs = printed.split(), expected.split()
    return len(ours) == len(theirs) and all(
        a == b or within(a, b, atol) for a, b in zip(ours, theirs, strict=True)
    )


def within(text: str, expected: str, atol: float) -> bool:
    """Whether two words are numbers close to each other."""
    if max(len(text), len(expected)) > LONGEST_NUMBER:
        return False
    try:
        return close(float(text), float(expected), atol)
    except ValueError:
        return False


def decimals(line: str) -> list[Decimal] | None:
    """A line's numbers; None if some word is none."""
    words = line.split()
    if any(len(word) > LONGEST_NUMBER for word in words):
        return None
    try:
        return [Decimal(word) for word in words]
    except InvalidOperation:
        return None


OF_VALUES: dict[str, Checker] = {
    "polynomial_root": polynomial_root,
    "one_of_one": one_of_one,
    "as_set": as_set,
    "as_sorted": as_sorted,
}
OF_TEXT: dict[str, Checker] = {"exact": exact, "lines": lines, "tokens": tokens}

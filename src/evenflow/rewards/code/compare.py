"""Whether what a program returned or printed is what was expected. Nothing here runs its code."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

RELATIVE, ABSOLUTE = 1e-7, 1e-6
ROOT = 1e-4
NEARLY = math.nextafter(1e-5, 0)
LONGEST_NUMBER = 400  # characters
INTEGER = re.compile(r"[+-]?[0-9]+")
# No zeros before it: "0101" for "101" is another text, and so are the minutes of "9 05".
NUMERAL = re.compile(
    r"[+-]?(?:(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?|inf(?:inity)?|nan)",
    re.IGNORECASE,
)

Checker = Callable[[Any, Any, Any], bool]
"""(input, what came out, what was expected) -> right? For functions the input is the list of
arguments and the rest are values; for programs all three are text."""


def same(
    value: Any,
    expected: Any,
    atol: float = 0.0,
    loose: bool = False,
    rtol: float | None = None,
) -> bool:
    """Python's ``==`` on plain data, with a tolerance where the expected value is a float.

    |value − expected| ≤ atol + 1e-7·|expected|, atol at least 1e-6: EvalPlus's rule (arXiv
    2305.01210), applied at any depth. An `atol` above 0 also applies where ints are expected; of
    two integers nothing but `atol`. With `rtol` the tolerance is atol + rtol·|expected| and no
    more, whatever is expected. `loose` takes tuples for lists and keys for their texts, for
    expected values that were written down as JSON.
    """
    if loose and isinstance(value, tuple):
        value = list(value)
    if loose and isinstance(expected, tuple):
        expected = list(expected)
    if isinstance(expected, int | float) and isinstance(value, int | float):
        return close(value, expected, atol, rtol)
    if isinstance(expected, set | frozenset) and isinstance(value, set | frozenset):
        ours, theirs = in_order(value), in_order(expected)
        return value == expected or (bool(ours) and same(ours, theirs, atol, loose, rtol))
    if isinstance(expected, list | tuple):
        return (
            type(value) is type(expected)
            and len(value) == len(expected)
            and all(same(v, e, atol, loose, rtol) for v, e in zip(value, expected, strict=True))
        )
    if isinstance(expected, dict):
        if loose and isinstance(value, dict):
            value, expected = as_in_json(value), as_in_json(expected)
        return (
            isinstance(value, dict)
            and value.keys() == expected.keys()
            and all(same(value[key], item, atol, loose, rtol) for key, item in expected.items())
        )
    return bool(value == expected)


def in_order(values: set | frozenset) -> list | None:
    """The numbers of a set from the least on; None if it has other values, for which ``==`` is
    enough."""
    return sorted(values) if all(isinstance(v, int | float) for v in values) else None


def as_in_json(values: dict) -> dict:
    """A dictionary with its keys as JSON writes them, unless two become one: 1 and "1" are two."""
    written = {in_json(key): item for key, item in values.items()}
    return written if len(written) == len(values) else values


def in_json(key: Any) -> Any:
    """A key as JSON writes it: 1 as "1"."""
    if isinstance(key, bool) or key is None:
        return {True: "true", False: "false", None: "null"}[key]
    return str(key) if isinstance(key, int | float) else key


def close(value: float, expected: float, atol: float, rtol: float | None = None) -> bool:
    """Whether a number is within the tolerance; NaN is close to NaN only."""
    if value == expected:
        return True
    if rtol is None:
        if isinstance(expected, float):
            atol = max(atol, ABSOLUTE)
        if not atol:
            return False
        rtol = 0.0 if is_integer(value) and isinstance(expected, int) else RELATIVE
    try:
        if isinstance(expected, float) and not math.isfinite(expected):
            return math.isnan(expected) and math.isnan(value)
        return abs(value - expected) <= atol + (rtol and rtol * abs(expected))
    except OverflowError:  # an int beyond any float
        return False


def is_integer(value: float) -> bool:
    """Whether it is one, exactly: floats are up to 2⁵³."""
    return isinstance(value, int) or (value.is_integer() and abs(value) < 2**53)


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


def as_set(arguments: list, value: Any, expected: Any) -> bool:
    """In any order, and however often; where lists are in it, as JSON writes them, tuples are
    lists."""
    if any(isinstance(item, list | dict) for item in expected):
        return set(map(frozen, value)) == set(map(frozen, expected))
    return set(value) == set(expected)


def frozen(value: Any) -> Any:
    """A list or dictionary as what a set can hold."""
    if isinstance(value, list | tuple):
        return tuple(map(frozen, value))
    if isinstance(value, dict):
        return frozenset((key, frozen(item)) for key, item in value.items())
    return value


def as_sorted(arguments: list, value: Any, expected: Any) -> bool:
    """In any order; where lists are in it, as JSON writes them, tuples are lists."""
    if any(isinstance(item, list) for item in expected):
        value, expected = map(frozen, value), map(frozen, expected)
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


def caseless(given: str, printed: str, expected: str) -> bool:
    """Word by word, whatever the case; numbers less than 1e-5 apart, integers equal (as
    CodeContests compares)."""
    ours, theirs = printed.lower().split(), expected.lower().split()
    return len(ours) == len(theirs) and all(
        a == b or within(a, b, NEARLY, 0.0) for a, b in zip(ours, theirs, strict=True)
    )


def allclose(given: str, printed: str, expected: str) -> bool:
    """As `lines`, but numbers within 1e-8 + 1e-5·|expected| where one with a decimal point or an
    exponent is expected (as APPS compares at last, by NumPy's rule)."""
    if lines(given, printed, expected):
        return True
    ours = [line.split() for line in printed.strip().splitlines()]
    theirs = [line.split() for line in expected.strip().splitlines()]
    return list(map(len, ours)) == list(map(len, theirs)) and all(
        a == b or (within(a, b, 0.0, 0.0) if INTEGER.fullmatch(b) else within(a, b, 1e-8, 1e-5))
        for line, wanted in zip(ours, theirs, strict=True)
        for a, b in zip(line, wanted, strict=True)
    )


def numbers(
    given: str, printed: str, expected: str, atol: float = 0.0, rtol: float | None = None
) -> bool:
    """Word by word; words that are numbers within the tolerance, integers within `atol`."""
    ours, theirs = printed.split(), expected.split()
    return len(ours) == len(theirs) and all(
        a == b or within(a, b, atol, rtol) for a, b in zip(ours, theirs, strict=True)
    )


def within(text: str, expected: str, atol: float, rtol: float | None = None) -> bool:
    """Whether two words are numbers close to each other."""
    value, wanted = number(text), number(expected)
    if value is None or wanted is None:
        return False
    if isinstance(wanted, int) and is_integer(value):
        return close(value, wanted, atol, 0.0)
    try:
        return close(value, float(wanted), atol, rtol)
    except OverflowError:  # an integer beyond any float
        return False


def number(word: str) -> float | None:
    """The number that a word is, in ASCII; None for any other word."""
    if len(word) > LONGEST_NUMBER or not NUMERAL.fullmatch(word):
        return None
    return int(word) if INTEGER.fullmatch(word) else float(word)


def decimals(line: str) -> list[Decimal] | None:
    """A line's numbers; None if some word is none."""
    words = line.split()
    if any(len(word) > LONGEST_NUMBER or not NUMERAL.fullmatch(word) for word in words):
        return None
    try:
        return [Decimal(word) for word in words]
    except InvalidOperation:  # an exponent beyond any
        return None


OF_VALUES: dict[str, Checker] = {
    "polynomial_root": polynomial_root,
    "one_of_one": one_of_one,
    "as_set": as_set,
    "as_sorted": as_sorted,
}
OF_TEXT: dict[str, Checker] = {
    "exact": exact,
    "lines": lines,
    "tokens": tokens,
    "caseless": caseless,
    "allclose": allclose,
}

"""Whether two expressions have one value: exactly, to rounding, or at a few points."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache

from evenflow.rewards.math.arithmetic import (
    NATURAL,
    PRECISE,
    Value,
    precise,
)
from evenflow.rewards.math.expressions import (
    SCIENTIFIC,
    Expression,
    OutOfRange,
    Unreadable,
    read,
)

RELATIVE = 1e-9
"""Of inexact values: what rounding in floating point leaves between two ways to the same number."""
DIGITS = 6
"""Significant digits from which a decimal stands for the number that it is rounded from."""
ROUGH = 0.05
"""A relative distance that no approximation without decimals makes."""
FAR = 1e-3
"""A relative distance that no rounding makes."""
SMALL = 1e-6
"""Below it floating point may be left with nothing but its errors: sin π is 1.2e-16."""
PLACES = 320
"""Digits of values that floating point cannot tell apart."""
LOST = 10**250
"""How much smaller a difference that is 0 is found to be than the values: 70 digits may cancel."""
NOTHING: Mapping[str, Value] = {}
LONG_DECIMAL = re.compile(r"[0-9]\.[0-9]{8,}|[0-9]{2}\.[0-9]{7,}|[0-9]{4}\.[0-9]{5,}")
MODULO = re.compile(r"(?P<value>.+?)\\pmod\{(?P<modulus>[^{}]+)\}")
EULER = re.compile(r"(?<![A-Za-z\\])e(?![A-Za-z0-9])")
DECIMAL = re.compile(r"-?(?P<whole>[0-9]+)\.(?P<part>[0-9]+)")
POINTS = [
    *[(0.6, 2.9, "+")] * 3,
    *[(0.6, 2.9, "-"), (0.6, 2.9, "±"), (0.6, 2.9, "±"), (0.1, 0.9, "+"), (0.1, 0.9, "±")],
    *[(3, 12, "±"), (3, 12, "±"), (30, 200, "±"), (30, 200, "±"), *[(5, 20, None)] * 3],
]
"""The range of a point's values, and their signs; None: whole numbers."""


def same_ratios(gold: list[str], said: list[str]) -> bool | None:
    """3:4:5 and 6:8:10: as many parts, and each pair of them in one proportion."""
    if len(gold) != len(said):
        return False
    answers = [
        same_values(f"({a})({said[0]})", f"({b})({gold[0]})")
        for a, b in zip(gold[1:], said[1:], strict=True)
    ]
    return None if None in answers else False not in answers


def same_residues(gold: str, said: str) -> bool | None:
    """5 and 12 modulo 7 are the same, and a gold of 5 is answered by 5 modulo 7. None where there
    is no modulus, or where it cannot be told."""
    a, b = MODULO.fullmatch(gold), MODULO.fullmatch(said)
    if b and not a:
        return _same_remainder(gold, b["value"], b["modulus"])
    if not (a and b):
        return None
    if a["modulus"] != b["modulus"]:
        return False
    try:
        x, y, n = (read(t).at({}) for t in (a["value"], b["value"], a["modulus"]))
    except (Unreadable, KeyError):
        return same_values(a["value"], b["value"])
    if not all(isinstance(each, Fraction) and each.denominator == 1 for each in (x, y, n)):
        return same_values(a["value"], b["value"])
    return x == y or (n != 0 and (x - y) % n == 0)


def _same_remainder(gold: str, value: str, modulus: str) -> bool | None:
    """Whether a number is what is left of a value: 2 of 17 modulo 5, which is not 17."""
    try:
        x, y, n = (read(text).at({}) for text in (gold, value, modulus))
    except (Unreadable, KeyError):
        return same_values(gold, value)
    if not all(isinstance(each, Fraction) and each.denominator == 1 for each in (x, y, n)) or not n:
        return same_values(gold, value)
    return x == y % n or (x == y and abs(x) < abs(n))


def is_number(text: str) -> bool:
    """Whether it is read as a number, and has a value."""
    try:
        expression = read(text)
        return not expression.names and expression.at({}) is not None
    except Unreadable:
        return False


def far_apart(a: str, b: str) -> bool:
    """Whether both are numbers of which neither is about the other."""
    try:
        x, y = (complex(read(text).at({})) for text in (a, b))
    except (Unreadable, KeyError, OverflowError):
        return False
    gap = abs(x - y)
    if a.isdigit() or b.isdigit():
        return gap > 0.5 + SMALL
    shown = [(len(d["part"]), abs(v)) for t, v in ((a, x), (b, y)) if (d := DECIMAL.fullmatch(t))]
    if not shown:
        return gap > ROUGH * max(abs(x), abs(y))
    places, rounded = min(shown)
    cut_off = max(abs(x), abs(y)) > rounded
    return gap > (1.0 if cut_off else 0.5) * 10.0**-places * (1 + SMALL)


def same_values(gold: str, said: str) -> bool | None:
    """Whether both are one value. 2e-5 is 2·10⁻⁵, unless the other side has Euler's number."""
    if SCIENTIFIC.fullmatch(gold) and not SCIENTIFIC.fullmatch(said) and EULER.search(said):
        gold = gold.replace("e", r"\cdot e")
    elif SCIENTIFIC.fullmatch(said) and not SCIENTIFIC.fullmatch(gold) and EULER.search(gold):
        said = said.replace("e", r"\cdot e")
    try:
        a, b = read(gold), read(said)
        if not a.ambiguous and not b.ambiguous:
            return _same_values(gold, a, said, b)
        # Both of \log's readings are meant by somebody; both sides by the same.
        readings = [_same_values(gold, a, said, b, reading) for reading in ({}, {NATURAL: 1})]
    except Unreadable:
        return None
    return True if True in readings else None if None in readings else False


def _same_values(
    gold: str, a: Expression, said: str, b: Expression, reading: Mapping[str, Value] = NOTHING
) -> bool | None:
    if not a.names and not b.names:
        approximate = LONG_DECIMAL.search(gold) or LONG_DECIMAL.search(said)
        return _equal(a, b, reading, bool(approximate)) or _rounded(gold, a, said, b, reading)
    compared = 0
    for at in points(tuple(sorted(a.names | b.names))):
        at = {**at, **reading}
        try:
            x, y = a.at(at), b.at(at)
        except Unreadable:
            continue
        if not (_near(x, y) or (_close(x, y) and _near_in_digits(a, b, at))):
            return False
        compared += 1
    return True if compared >= 2 else None


def _equal(a: Expression, b: Expression, reading: Mapping[str, Value], approximate: bool) -> bool:
    """Exactly equal, where both are rationals; else in as many digits as there are.

    Floating point only says that two values are far apart: it holds 1 - e^{-50} for 1, both
    e^{-800} and e^{-801} for 0, and sin π for 1e-16. `approximate`: one of them is a decimal of
    many digits, which need not agree further than to a relative 1e-9.
    """
    try:
        x, y = a.at(reading), b.at(reading)
        if isinstance(x, Fraction) and isinstance(y, Fraction):
            return x == y
        gap, size = abs(complex(x) - complex(y)), max(abs(complex(x)), abs(complex(y)))
        if gap > FAR * size and size > SMALL:
            return False
        if approximate and gap <= RELATIVE * size:
            return True
    except (OutOfRange, OverflowError):
        pass
    gap, size = _gap(a, b, reading, PLACES)
    if (gap <= RELATIVE * size) if approximate else (gap * LOST <= size):
        return True
    # What is 0, and not only small, comes nearer to it with every digit.
    return bool(size * LOST <= 1 and _gap(a, b, reading, 2 * PLACES)[0] * LOST <= gap)


def _gap(
    a: Expression, b: Expression, reading: Mapping[str, Value], digits: int
) -> tuple[Value, Value]:
    """The distance of two values, and how large they are."""
    numbers = precise(digits)
    x, y = (numbers.convert(one.at({**reading, PRECISE: digits})) for one in (a, b))
    return abs(x - y), max(abs(x), abs(y))


@lru_cache(maxsize=1024)
def points(names: tuple[str, ...]) -> list[dict[str, Value]]:
    """Where expressions in these names are compared: rationals, so that polynomials are exact.

    Near 1, where most functions have values; all negative, for ``\\sqrt{x^2}`` is x elsewhere; of
    either sign and up to 200, for ``|x-50|`` has one sign before 50; and whole, for factorials.
    """
    draw = random.Random(20)
    found: list[dict[str, Value]] = []
    for low, high, signs in POINTS:
        sizes = [Fraction(draw.randrange(int(1000 * low), int(1000 * high)), 997) for _ in names]
        if signs is None:
            sizes = [Fraction(int(size)) for size in sizes]
        turned = [
            -size if signs == "-" or (signs == "±" and (place + len(found)) % 2) else size
            for place, size in enumerate(sizes)
        ]
        found.append(dict(zip(names, turned, strict=True)))
    return found


def _near(a: Value, b: Value) -> bool:
    """Exactly equal where both are exact; else up to what floating point leaves."""
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a == b
    try:
        x, y = complex(a), complex(b)
    except OverflowError:
        return False
    return abs(x - y) <= max(RELATIVE * max(abs(x), abs(y)), 1e-12 * (a == 0 or b == 0))


def _close(a: Value, b: Value) -> bool:
    """So near that it may be what floating point lost of larger numbers, as in e^{40}+1-e^{40}."""
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return False
    try:
        x, y = complex(a), complex(b)
    except OverflowError:
        return False
    return abs(x - y) <= SMALL * max(1.0, abs(x), abs(y))


def _near_in_digits(a: Expression, b: Expression, at: Mapping[str, Value]) -> bool:
    try:
        gap, size = _gap(a, b, at, PLACES)
    except Unreadable:
        return False
    return bool(gap <= RELATIVE * size)


def _rounded(
    gold: str, a: Expression, said: str, b: Expression, reading: Mapping[str, Value]
) -> bool:
    """One is a decimal of enough digits, rounded from the other, and the gold is no integer."""
    if not DECIMAL.fullmatch(said) and not DECIMAL.fullmatch(gold):
        return False
    try:
        exact = a.at(reading)
    except OutOfRange:
        return False
    if isinstance(exact, Fraction) and exact.denominator == 1:
        return False
    for text, shown, other in ((said, b, a), (gold, a, b)):
        number = DECIMAL.fullmatch(text)
        if number and len((number["whole"] + number["part"]).lstrip("0")) >= DIGITS:
            half = Fraction(1, 2 * 10 ** len(number["part"]))
            try:
                x, y = shown.at(reading), other.at(reading)
                if isinstance(x, Fraction) and isinstance(y, Fraction):
                    return abs(x - y) <= half
                return abs(complex(x) - complex(y)) <= float(half) * (1 + 1e-9)
            except (OutOfRange, OverflowError):  # an exact number of hundreds of digits
                return False
    return False

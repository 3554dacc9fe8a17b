"""Whether two expressions have one value: exactly, to rounding, or at a few points."""

from __future__ import annotations

import random
import re
from fractions import Fraction
from functools import lru_cache

from flowbalance.rewards.math.arithmetic import Value
from flowbalance.rewards.math.expressions import Expression, Unreadable, read

RELATIVE = 1e-9
"""Of inexact values: what rounding in floating point leaves between two ways to the same number."""
DIGITS = 6
"""Significant digits from which a decimal stands for the number that it is rounded from."""
POINTS = 4
DECIMAL = re.compile(r"-?(?P<whole>[0-9]+)\.(?P<part>[0-9]+)")


def proportional(gold: list[str], said: list[str]) -> bool | None:
    """Two equations: their differences of sides are the same up to a factor other than 0."""
    try:
        a, b = (read(f"({sides[0]})-({sides[-1]})") for sides in (gold, said))
    except Unreadable:
        return None
    pairs = _values(a, b)
    if len(pairs) < 2 or any(x == 0 for x, _ in pairs):
        return None
    ratios = [complex(y) / complex(x) for x, y in pairs]
    return ratios[0] != 0 and all(abs(r - ratios[0]) <= RELATIVE * abs(ratios[0]) for r in ratios)


def same_values(gold: str, said: str) -> bool | None:
    try:
        a, b = read(gold), read(said)
        if not a.names and not b.names:
            return _near(a.at({}), b.at({})) or _rounded(gold, a, said, b)
    except Unreadable:
        return None
    pairs = _values(a, b)
    if any(not _near(x, y) for x, y in pairs):
        return False
    return True if len(pairs) >= 2 else None


def _values(a: Expression, b: Expression) -> list[tuple[Value, Value]]:
    """Both values at points drawn once and for all, where both have one."""
    pairs = []
    for point in _points(tuple(sorted(a.names | b.names))):
        try:
            pairs.append((a.at(point), b.at(point)))
        except Unreadable:
            continue
    return pairs


@lru_cache(maxsize=1024)
def _points(names: tuple[str, ...]) -> list[dict[str, Value]]:
    """The last one has negative values, too: \\sqrt{x^2} is x elsewhere."""
    draw = random.Random(20)
    points = [{name: draw.uniform(0.6, 2.9) for name in names} for _ in range(POINTS)]
    points[-1] = {name: -value for name, value in points[-1].items()}
    return points  # type: ignore[return-value]


def _near(a: Value, b: Value) -> bool:
    """Exactly equal where both are exact; else up to what floating point leaves."""
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a == b
    try:
        x, y = complex(a), complex(b)
    except OverflowError:
        return False
    return abs(x - y) <= max(RELATIVE * max(abs(x), abs(y)), 1e-12 * (a == 0 or b == 0))


def _rounded(gold: str, a: Expression, said: str, b: Expression) -> bool:
    """One is a decimal of enough digits, rounded from the other, and the gold is no integer."""
    exact = a.at({})
    if isinstance(exact, Fraction) and exact.denominator == 1:
        return False
    for text, shown, other in ((said, b, a), (gold, a, b)):
        number = DECIMAL.fullmatch(text)
        if number and len((number["whole"] + number["part"]).lstrip("0")) >= DIGITS:
            half = 0.5 * 10.0 ** -len(number["part"])
            try:
                return abs(complex(shown.at({})) - complex(other.at({}))) <= half * (1 + 1e-9)
            except OverflowError:  # an exact number of hundreds of digits
                return False
    return False

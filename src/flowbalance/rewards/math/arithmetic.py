"""Functions of a point, put together: sums, products, powers, roots of what is read.

Numbers stay exact rationals as long as they can, and every operation is bounded: a power whose
exact value would be larger than `MOST_BITS` is refused, not computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction

Value = Fraction | float | complex
Point = Mapping[str, Value]
Node = Callable[[Point], Value]

MOST_BITS = 40_000
"""Of an exact number; 2^{4950} is a gold of MATH, 9^{9^9} is an attack."""
REAL = "real numbers only"
"""In a point: a root of a negative number has no value there, as where x is real in \\sqrt{x}."""


def constant(value: Value) -> Node:
    return lambda point: value


def negative(a: Node) -> Node:
    return lambda point: -a(point)


def add(a: Node, b: Node) -> Node:
    return lambda point: a(point) + b(point)


def times(a: Node, b: Node) -> Node:
    return lambda point: a(point) * b(point)


def divide(a: Node, b: Node) -> Node:
    return lambda point: a(point) / b(point)


def mapped(function: Callable, a: Node) -> Node:
    return lambda point: function(a(point))


def power(a: Node, b: Node) -> Node:
    def value(point: Point) -> Value:
        base, exponent = a(point), b(point)
        if isinstance(base, Fraction) and isinstance(exponent, Fraction):
            if exponent.denominator == 1:
                bits = max(base.numerator.bit_length(), base.denominator.bit_length())
                if bits * abs(exponent.numerator) > MOST_BITS:
                    raise OverflowError("too large")
                return base**exponent.numerator
            return _real_power(base, exponent, point)
        if isinstance(exponent, Fraction):
            if exponent.denominator == 1:
                return base**exponent.numerator
            if not isinstance(base, complex):
                return _real_power(base, exponent, point)
            exponent = float(exponent)
        if REAL in point and not isinstance(base, complex) and base < 0:
            raise ValueError("a root of a negative number")
        return base**exponent

    return value


def root(a: Node, degree: Node) -> Node:
    def value(point: Point) -> Value:
        inner, n = a(point), degree(point)
        if not isinstance(n, Fraction) or n.denominator != 1 or not 1 < n < 1000:
            raise ValueError("a root of no whole degree")
        if isinstance(inner, complex):
            return inner ** (1 / int(n))
        return _real_power(inner, 1 / n, point)

    return value


def _real_power(base: Fraction | float, exponent: Fraction, point: Point) -> Value:
    """base^exponent; odd roots of negative numbers are real, as \\sqrt[3]{-8} is meant."""
    if base >= 0:
        return float(base) ** float(exponent)
    if exponent.denominator % 2:
        return (-1) ** exponent.numerator * (-float(base)) ** float(exponent)
    if REAL in point:
        raise ValueError("a root of a negative number")
    return complex(base) ** float(exponent)


def factorial(a: Node) -> Node:
    def value(point: Point) -> Value:
        return Fraction(math.factorial(_whole(a(point))))

    return value


def binomial(a: Node, b: Node) -> Node:
    return lambda point: Fraction(math.comb(_whole(a(point)), _whole(b(point))))


def _whole(value: Value) -> int:
    if not isinstance(value, Fraction) or value.denominator != 1 or not 0 <= value <= 2000:
        raise ValueError("not a small whole number")
    return int(value)

"""Functions of a point, put together: sums, products, powers, roots of what is read.

Numbers stay exact rationals as long as they can, and every operation is bounded: a power whose
exact value would be larger than `MOST_BITS` is refused, not computed.
"""

from __future__ import annotations

import cmath
import functools
import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

Value = Any
"""Fraction | float | complex, or mpmath's numbers in a point that is `PRECISE`."""
Point = Mapping[str, Value]
Node = Callable[[Point], Value]

MOST_BITS = 40_000
"""Of an exact number; 2^{4950} is a gold of MATH, 9^{9^9} is an attack."""
REAL = "real numbers only"
"""In a point: a root of a negative number has no value there, as where x is real in \\sqrt{x}."""


PRECISE = "digits"
"""In a point: values that are no rationals have so many digits, and exponents of any size."""
NATURAL = "natural logarithms"
"""In a point: \\log without a base is the natural one, not that of base 10."""
TINY = 1e-290
"""Below, floating point loses digits, and then the whole value."""
NEAR_WHOLE = 1e-6
LARGEST_ARGUMENT = 1e9
"""Of a function: beyond it a floating-point sine says nothing, an exponential takes for ever."""


@functools.lru_cache
def precise(digits: int) -> Any:
    """mpmath (which PyTorch brings along) with so many digits; imported where it is needed."""
    import mpmath

    context = mpmath.mp.clone()
    context.dps = digits
    return context


def constant(value: Value) -> Node:
    return lambda point: value


def irrational(name: str) -> Node:
    """The constant `name` of `math`."""
    rough = getattr(math, name)
    return lambda point: getattr(precise(point[PRECISE]), name) + 0 if PRECISE in point else rough


def imaginary(point: Point) -> Value:
    return precise(point[PRECISE]).mpc(0, 1) if PRECISE in point else 1j


def negative(a: Node) -> Node:
    return lambda point: -a(point)


def add(a: Node, b: Node) -> Node:
    return lambda point: _bounded(a(point) + b(point))


def times(a: Node, b: Node) -> Node:
    def value(point: Point) -> Value:
        x, y = a(point), b(point)
        return _bounded(x * y, x and y)

    return value


def divide(a: Node, b: Node) -> Node:
    def value(point: Point) -> Value:
        x, y = a(point), b(point)
        if PRECISE in point and not isinstance(y, Fraction):
            x = precise(point[PRECISE]).convert(x)
        return _bounded(x / y, x)

    return value


def mapped(function: Callable, a: Node) -> Node:
    return lambda point: function(a(point))


def whole(function: Callable[[Any], int], a: Node) -> Node:
    """The next whole number below or above; no value for one that rounding may have moved there."""

    def value(point: Point) -> Value:
        x = a(point)
        if not isinstance(x, Fraction):
            if abs(complex(x).imag) > 0 or abs(x - round(complex(x).real)) < NEAR_WHOLE:
                raise ValueError("no whole part that is certain")
            x = complex(x).real
        return Fraction(function(x))

    return value


def applied(name: str, a: Node) -> Node:
    """The function `name` of `FUNCTIONS`."""
    rough, fine = FUNCTIONS[name]

    def value(point: Point) -> Value:
        x = a(point)
        if abs(x) > LARGEST_ARGUMENT and name not in LOGARITHMS:
            raise OverflowError("too large an argument")
        if PRECISE in point:
            return getattr(precise(point[PRECISE]), fine)(x)
        return _bounded(rough(x), name == r"\exp")

    return value


def common_logarithm(a: Node) -> Node:
    """\\log without a base: 10 to some, e to others."""
    natural, ten = applied(r"\ln", a), applied(r"\ln", constant(Fraction(10)))
    return lambda point: natural(point) if NATURAL in point else natural(point) / ten(point)


def _bounded(value: Any, not_zero: Any = False) -> Value:
    """The value; OverflowError for one with too many digits, or too small for floating point."""
    if isinstance(value, Fraction):
        if max(value.numerator.bit_length(), value.denominator.bit_length()) > 2 * MOST_BITS:
            raise OverflowError("too large")
    elif not_zero and isinstance(value, float | complex) and abs(value) < TINY:
        raise OverflowError("too small")
    return value


def power(a: Node, b: Node) -> Node:
    def value(point: Point) -> Value:
        base, exponent = a(point), b(point)
        if isinstance(exponent, Fraction) and exponent.denominator == 1:
            if isinstance(base, Fraction):
                bits = max(base.numerator.bit_length(), base.denominator.bit_length())
                if bits * abs(exponent.numerator) > MOST_BITS:
                    raise OverflowError("too large")
                return base**exponent.numerator
            exponent = exponent.numerator
        elif isinstance(exponent, Fraction) and not _is_complex(base):
            return _real_power(base, exponent, point)
        if REAL in point and not isinstance(exponent, int) and not _is_complex(base) and base < 0:
            raise ValueError("a root of a negative number")
        return _plain_power(base, exponent, point)

    return value


def root(a: Node, degree: Node) -> Node:
    def value(point: Point) -> Value:
        inner, n = a(point), degree(point)
        if not isinstance(n, Fraction) or n.denominator != 1 or not 1 < n < 1000:
            raise ValueError("a root of no whole degree")
        power = _plain_power if _is_complex(inner) else _real_power
        return power(inner, 1 / n, point)

    return value


def _is_complex(value: Value) -> bool:
    return isinstance(value, complex) or hasattr(value, "_mpc_")


def _real_power(base: Value, exponent: Fraction, point: Point) -> Value:
    """base^exponent; odd roots of negative numbers are real, as \\sqrt[3]{-8} is meant."""
    if base < 0 and exponent.denominator % 2:
        return (-1) ** exponent.numerator * _plain_power(-base, exponent, point)
    if base < 0 and REAL in point:
        raise ValueError("a root of a negative number")
    return _plain_power(base, exponent, point)


def _plain_power(base: Value, exponent: Value, point: Point) -> Value:
    if PRECISE not in point:
        base = base if _is_complex(base) else float(base)
        exponent = exponent if isinstance(exponent, int | complex) else float(exponent)
        return _bounded(base**exponent, base)
    numbers = precise(point[PRECISE])
    base, exponent = numbers.convert(base), numbers.convert(exponent)
    if base and abs(exponent) * (1 + abs(numbers.mag(base))) > LARGEST_ARGUMENT:
        raise OverflowError("too large")
    return base**exponent


def factorial(a: Node, step: int = 1) -> Node:
    """n(n − step)(n − 2·step)…, of which a step of 2 is the double factorial."""

    def value(point: Point) -> Value:
        n = _whole(a(point))
        if math.lgamma(n + 1) > MOST_BITS * math.log(2):
            raise OverflowError("too large")
        return Fraction(math.factorial(n) if step == 1 else math.prod(range(n, 0, -step)))

    return value


def binomial(a: Node, b: Node) -> Node:
    def value(point: Point) -> Value:
        n, k = _whole(a(point)), _whole(b(point))
        if min(k, abs(n - k)) * math.log2(n + 1) > MOST_BITS:
            raise OverflowError("too large")
        return Fraction(math.comb(n, k))

    return value


def _whole(value: Value) -> int:
    if not isinstance(value, Fraction) or value.denominator != 1 or not 0 <= value <= 10**9:
        raise ValueError("not a whole number")
    return int(value)


FUNCTIONS: dict[str, tuple[Callable[[complex], complex], str]] = {
    r"\sin": (cmath.sin, "sin"),
    r"\cos": (cmath.cos, "cos"),
    r"\tan": (cmath.tan, "tan"),
    r"\cot": (lambda x: 1 / cmath.tan(x), "cot"),
    r"\sec": (lambda x: 1 / cmath.cos(x), "sec"),
    r"\csc": (lambda x: 1 / cmath.sin(x), "csc"),
    r"\arcsin": (cmath.asin, "asin"),
    r"\arccos": (cmath.acos, "acos"),
    r"\arctan": (cmath.atan, "atan"),
    r"\sinh": (cmath.sinh, "sinh"),
    r"\cosh": (cmath.cosh, "cosh"),
    r"\tanh": (cmath.tanh, "tanh"),
    r"\ln": (cmath.log, "ln"),
    r"\exp": (cmath.exp, "exp"),
    r"\cis": (lambda x: cmath.exp(1j * x), "expj"),
}
"""Each in floating point, and its name in mpmath."""
LOGARITHMS = (r"\ln", r"\arctan")

r"""A reader of LaTeX expressions: exact rationals where it can, floating point elsewhere.

    sum     = [±] product (± product)*
    product = power ((\cdot | / | :)? power)*
    power   = atom (^ argument | ! | !! | ^\circ)*
    atom    = number | name | ( sum ) | |sum| | \lfloor sum \rfloor
            | \frac{}{} | \sqrt[]{} | \binom{}{} | \sin …

Names stand for unknown numbers; i, e and \pi for what they are. \log without a base has two
readings (`arithmetic.NATURAL`). Anything else raises `Unreadable`:
it is better to leave an expression to a computer-algebra system than to guess.
"""

from __future__ import annotations

import cmath
import math
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from evenflow.rewards.math.arithmetic import (
    FUNCTIONS,
    MOST_BITS,
    PRECISE,
    REAL,
    Node,
    Point,
    Value,
    add,
    applied,
    binomial,
    common_logarithm,
    constant,
    divide,
    factorial,
    imaginary,
    irrational,
    mapped,
    negative,
    power,
    root,
    times,
    whole,
)

REPEATING = re.compile(r"(?P<whole>[0-9]+)\.(?P<once>[0-9]*)\\overline\{(?P<again>[0-9]+)\}")
TOKEN = re.compile(
    r"(?P<number>[0-9]+\.[0-9]*\\overline\{[0-9]+\}|[0-9]+(?:\.[0-9]+)?(?:[eE][0-9]+)?)|"
    r"(?P<command>\\[A-Za-z]+)|(?P<other>\S)"
)
# A number by itself: beside anything else the e of 2e-5 is Euler's.
SCIENTIFIC = re.compile(r"(?P<sign>-?)(?P<number>[0-9]+(?:\.[0-9]+)?[eE][-+][0-9]+)")
DEPTH = 40
WHOLE = {r"\lfloor": (r"\rfloor", math.floor), r"\lceil": (r"\rceil", math.ceil)}
CLOSING = tuple(closing for closing, _ in WHOLE.values())
GREEK = re.compile(
    r"\\(?:alpha|beta|gamma|delta|epsilon|theta|lambda|mu|nu|rho|sigma|tau|phi|omega)"
)


class Unreadable(Exception):
    """Not an expression that is read here, or one whose value is out of reach."""


class OutOfRange(Unreadable):
    """Too large, or too small, for floating point."""


@dataclass(frozen=True)
class Expression:
    """An expression, ready to be evaluated."""

    names: frozenset[str]
    at: Node
    """The value where names have the given values; raises `Unreadable` where there is none, and
    `OutOfRange` where there is one that floating point cannot hold."""
    ambiguous: bool
    """Whether it has a \\log without a base."""


@lru_cache(maxsize=8192)
def read(text: str) -> Expression:
    """Read normalised text (`normalise`); raises Unreadable."""
    reader = _Reader(text)
    try:
        node = reader.sum()
        reader.need("")
    except (ValueError, OverflowError) as error:  # a number of thousands of digits
        raise Unreadable(str(error)) from None
    names = frozenset(reader.names)

    def at(point: Point) -> Value:
        try:
            value = node({**point, REAL: 1.0} if names and not reader.imaginary else point)
        except OverflowError as error:
            raise OutOfRange(str(error)) from None
        except (ArithmeticError, ValueError, TypeError, RecursionError) as error:
            raise Unreadable(f"no value: {error}") from None
        if PRECISE not in point and not isinstance(value, Fraction) and not cmath.isfinite(value):
            raise OutOfRange("no finite value")
        return value

    return Expression(names, at, reader.ambiguous)


class _Reader:
    def __init__(self, text: str) -> None:
        if number := SCIENTIFIC.fullmatch(text):
            self.tokens = [("other", number["sign"])] if number["sign"] else []
            self.tokens.append(("number", number["number"]))
        else:
            self.tokens = [(m.lastgroup or "", m[0]) for m in TOKEN.finditer(text)]
        self.tokens.append(("end", ""))
        self.here = 0
        self.depth = 0
        self.names: set[str] = set()
        self.imaginary = False
        self.ambiguous = False
        self.bars = 0

    @property
    def token(self) -> str:
        return self.tokens[self.here][1]

    @property
    def kind(self) -> str:
        return self.tokens[self.here][0]

    def take(self) -> str:
        token = self.token
        self.here += 1
        return token

    def need(self, token: str) -> None:
        if self.token != token:
            raise Unreadable(f"{self.token!r} where {token or 'the end'!r} should be")
        self.here += 1

    def sum(self) -> Node:
        self.depth += 1
        if self.depth > DEPTH:
            raise Unreadable("too deep")
        sign = self.take() if self.token in ("+", "-") else "+"
        total = self.product()
        total = negative(total) if sign == "-" else total
        while self.token in ("+", "-"):
            minus = self.take() == "-"
            term = self.product()
            total = add(total, negative(term) if minus else term)
        self.depth -= 1
        return total

    def product(self, argument: bool = False) -> Node:
        """`argument`: of a function without brackets; \\sin 2x \\cos x is (\\sin 2x)\\cos x."""
        mixed = self._whole_before_fraction()
        value = self.power()
        if mixed:
            value = add(value, self.power())
        while True:
            if self.token in (r"\cdot", "/", ":", r"\div"):
                if argument:
                    return value
                by = self.take()
                sign = self.take() if self.token in ("+", "-") else "+"
                other = self.power()
                other = negative(other) if sign == "-" else other
                value = times(value, other) if by == r"\cdot" else divide(value, other)
            elif self._begins_factor() and not (argument and self.token in FUNCTIONS):
                value = times(value, self.power())
            else:
                return value

    def _whole_before_fraction(self) -> bool:
        """``2\\frac{1}{3}`` is 2 + 1/3."""
        words = [word for _, word in self.tokens[self.here : self.here + 8]]
        return (
            len(words) == 8
            and words[0].isdecimal()
            and words[1:3] == [r"\frac", "{"]
            and words[4:6] == ["}", "{"]
            and words[7] == "}"
            and words[3].isdecimal()
            and words[6].isdecimal()
        )

    def _begins_factor(self) -> bool:
        token = self.token
        if token == "|":
            return self.bars == 0
        if self.kind == "number":  # x2 and 2 3 say nothing clear, (x)2 and i2 do
            return self.tokens[self.here - 1][1] in (")", "}", "]", "i", r"\pi")
        if self.kind == "command":
            return token not in CLOSING
        return token in ("(", "[", "{") or token.isalpha()

    def power(self) -> Node:
        value = self.atom()
        while True:
            if self.token == "^":
                self.take()
                if self.token == r"\circ":
                    self.take()
                    value = times(value, divide(irrational("pi"), constant(Fraction(180))))
                else:
                    value = power(value, self.argument())
            elif self.token == "!":
                self.take()
                if double := self.token == "!":
                    self.take()
                value = factorial(value, 2 if double else 1)
            else:
                return value

    def argument(self) -> Node:
        """What follows ``^`` or a command: a group in braces, or one thing."""
        if self.token == "{":
            self.take()
            if self.token == r"\circ":
                raise Unreadable("degrees in braces")
            value = self.sum()
            self.need("}")
            return value
        if self.token == "-":
            self.take()
            return negative(self.atom())
        return self.atom()

    def atom(self) -> Node:
        kind, token = self.kind, self.take()
        if kind == "number":
            if repeating := REPEATING.fullmatch(token):
                return constant(_repeating(**repeating.groupdict()))
            _, _, exponent = token.lower().partition("e")
            if exponent and abs(int(exponent)) * 4 > MOST_BITS:
                raise Unreadable("too large")
            return constant(Fraction(token))
        if token in ("(", "[", "{"):
            value = self.sum()
            self.need({"(": ")", "[": "]", "{": "}"}[token])
            return value
        if token == "|":
            self.bars += 1
            value = self.sum()
            self.need("|")
            self.bars -= 1
            return mapped(lambda x: abs(x), value)
        if kind == "command":
            self.depth += 1  # \sqrt\sqrt\sqrt…
            if self.depth > DEPTH:
                raise Unreadable("too deep")
            value = self.command(token)
            self.depth -= 1
            return value
        if token.isalpha() and token.isascii():
            return self.name(token)
        raise Unreadable(f"{token!r}")

    def name(self, name: str) -> Node:
        if name == "i":
            self.imaginary = True
            return imaginary
        if name == "e":
            return irrational("e")
        if self.token == "_":
            self.take()
            index = self.take()
            if index == "{":
                index = self.take()
                self.need("}")
            if not index.isalnum():
                raise Unreadable("an index that is not a name")
            name += "_" + index
        self.names.add(name)
        return lambda point: point[name]

    def command(self, name: str) -> Node:
        if name == r"\pi":
            return irrational("pi")
        if GREEK.fullmatch(name):
            return self.name(name)
        if name == r"\frac":
            return divide(self.argument(), self.argument())
        if name in WHOLE:
            closing, function = WHOLE[name]
            value = self.sum()
            self.need(closing)
            return whole(function, value)
        if name == r"\binom":
            return binomial(self.argument(), self.argument())
        if name == r"\sqrt":
            degree = constant(Fraction(2))
            if self.token == "[":
                self.take()
                degree = self.sum()
                self.need("]")
            return root(self.argument(), degree)
        if name == r"\log" and self.token == "_":
            self.take()
            base = self.argument()
            return divide(self._applied(r"\ln"), applied(r"\ln", base))
        if name in FUNCTIONS or name == r"\log":
            self.imaginary |= name == r"\cis"
            self.ambiguous |= name == r"\log"
            return self._applied(name)
        raise Unreadable(name)

    def _applied(self, function: str) -> Node:
        exponent = None
        if self.token == "^":
            self.take()
            if self.token == "{" or not self.token.isdecimal():  # \sin^{-1} has two meanings
                raise Unreadable("a power of a function")
            exponent = self.argument()
        self.depth += 1
        if self.depth > DEPTH:
            raise Unreadable("too deep")
        if self.token == "(":  # sin(x)^2 is the square of sin(x)
            inner = self.atom()
        else:
            inner = self.power() if self.token == "{" else self.product(argument=True)
        self.depth -= 1
        value = common_logarithm(inner) if function == r"\log" else applied(function, inner)
        return value if exponent is None else power(value, exponent)


def _repeating(whole: str, once: str, again: str) -> Fraction:
    """0.1666… from "0", "1" and "6"."""
    shown = Fraction(int(whole + once), 10 ** len(once))
    return shown + Fraction(int(again), 10 ** len(once) * (10 ** len(again) - 1))

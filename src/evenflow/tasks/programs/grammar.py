"""The language of `programs`: read, write, work out and normalise a small Python expression.

An expression is a variable or a constant of one digit (a leaf), or an operation on two expressions:

    expression = leaf | expression operator expression | max(expression,expression) | min(…)

Every expression has exactly one spelling, the one that `write` makes: Python's precedence, brackets
only where the tree needs them, no spaces. So ``x+y*2`` and ``(x+y)*2`` are spellings, ``x+(y*2)``,
``x + y`` and ``-x`` are not; ``x+(y+2)`` is one, for it is another tree than ``x+y+2``.

Whatever a text says, nothing of it is run by Python: `parse` reads it with a limit on its length
(and so on its depth), and `evaluate` knows seven operators on whole numbers.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

# A leaf ("x", "y", "7"), or (operator, expression, expression).
Expression = str | tuple[str, Any, Any]

PRECEDENCE = {"+": 1, "-": 1, "*": 2, "//": 2, "%": 2}
FUNCTIONS = ("max", "min")
OPERATORS = (*PRECEDENCE, *FUNCTIONS)
ASSOCIATIVE = ("*", *FUNCTIONS)  # and commutative; sums and differences are treated together
TOKEN = re.compile(r"max\(|min\(|//|[-+*%(),]|[a-z]|[0-9]")


@dataclass(frozen=True)
class Language:
    """Which expressions there are: at most `leaves` leaves, of these variables, the constants
    1 … `largest` and these operators."""

    leaves: int = 3
    variables: str = "xy"
    largest: int = 2
    operators: tuple[str, ...] = ("+", "-", "*", "max")

    @property
    def constants(self) -> tuple[str, ...]:
        return tuple(map(str, range(1, self.largest + 1)))


def _floor(left: int, right: int) -> int | None:
    return left // right if right else None


def _modulo(left: int, right: int) -> int | None:
    return left % right if right else None


# The value of one operation, as Python has it; None for division by zero.
OPERATIONS: dict[str, Callable[[int, int], int | None]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": _floor,
    "%": _modulo,
    "max": max,
    "min": min,
}


def evaluate(expression: Expression, inputs: Mapping[str, int]) -> int | None:
    """The value of an expression for these variables; None where it divides by zero.

    Values are bounded by the expression's size: k leaves of at most n make at most n^k.
    """
    if isinstance(expression, str):
        return inputs[expression] if expression in inputs else int(expression)
    sign, *operands = expression
    left, right = (evaluate(operand, inputs) for operand in operands)
    return None if left is None or right is None else OPERATIONS[sign](left, right)


def count_leaves(expression: Expression) -> int:
    """The size of an expression: its variables and constants, each as often as it stands there."""
    if isinstance(expression, str):
        return 1
    return count_leaves(expression[1]) + count_leaves(expression[2])


def _precedence(expression: Expression) -> int:
    return 3 if isinstance(expression, str) else PRECEDENCE.get(expression[0], 3)


def write(expression: Expression) -> str:
    """The one spelling of an expression: ``('*', ('+', 'x', 'y'), '2')`` as ``(x+y)*2``."""
    if isinstance(expression, str):
        return expression
    sign, left, right = expression
    if sign in FUNCTIONS:
        return f"{sign}({write(left)},{write(right)})"
    own = PRECEDENCE[sign]
    # Python reads from the left: a right operand of the same precedence needs its brackets.
    first = f"({write(left)})" if _precedence(left) < own else write(left)
    second = f"({write(right)})" if _precedence(right) <= own else write(right)
    return f"{first}{sign}{second}"


class _NoExpression(Exception):
    """The text is not an expression."""


def _operand(tokens: list[str]) -> Expression:
    """A leaf, a call or a bracket from the front of `tokens` (a stack, its first token last)."""
    token = tokens.pop() if tokens else ""
    if token in ("max(", "min("):
        left = _operation(tokens, 1)
        if not tokens or tokens.pop() != ",":
            raise _NoExpression
        inside: Expression = (token[:-1], left, _operation(tokens, 1))
    elif token == "(":
        inside = _operation(tokens, 1)
    elif token.isalnum():
        return token
    else:
        raise _NoExpression
    if not tokens or tokens.pop() != ")":
        raise _NoExpression
    return inside


def _operation(tokens: list[str], lowest: int) -> Expression:
    """Operands joined by operators of precedence `lowest` and above, from the left."""
    expression = _operand(tokens)
    while tokens and PRECEDENCE.get(tokens[-1], 0) >= lowest:
        sign = tokens.pop()
        expression = (sign, expression, _operation(tokens, PRECEDENCE[sign] + 1))
    return expression


def _within(expression: Expression, language: Language) -> bool:
    if isinstance(expression, str):
        return expression in language.variables or expression in language.constants
    return expression[0] in language.operators and all(
        _within(operand, language) for operand in expression[1:]
    )


def parse(text: str, language: Language) -> Expression | None:
    """The expression that a text spells; None if it is not the spelling of one of the language."""
    # The longest spelling is nested calls: 1 character a leaf, 6 a call.
    if len(text) > 7 * language.leaves - 6:
        return None
    tokens = TOKEN.findall(text)
    if "".join(tokens) != text:
        return None
    tokens.reverse()
    try:
        expression = _operation(tokens, 1)
    except _NoExpression:
        return None
    if tokens or not _within(expression, language) or count_leaves(expression) > language.leaves:
        return None
    return expression if write(expression) == text else None


def _terms(expression: Expression, added: bool = True) -> list[tuple[bool, Expression]]:
    """The terms of nested sums and differences, and whether each is added: x-(y-2) is x, 2 added
    and y taken away."""
    if isinstance(expression, str) or expression[0] not in ("+", "-"):
        return [(added, normal(expression))]
    sign, left, right = expression
    return _terms(left, added) + _terms(right, added == (sign == "+"))


def _operands(expression: Expression, sign: str) -> list[Expression]:
    """The operands of nested uses of one associative operator."""
    if isinstance(expression, str) or expression[0] != sign:
        return [normal(expression)]
    return _operands(expression[1], sign) + _operands(expression[2], sign)


def _chain(sign: str, operands: list[Expression]) -> Expression:
    """Operands joined from the left."""
    joined, *rest = operands
    for operand in rest:
        joined = (sign, joined, operand)
    return joined


def normal(expression: Expression) -> Expression:
    """The normal form: what operands in another order or grouping leave the same is written alike.

    Sums and differences become their terms, those added first; operands of ``+``, ``*``, max and
    min are in the order of their spellings. Nothing is worked out or cancelled: ``x+1+2``, ``x+3``
    and ``x+4-1`` are three programs. The normal form has the same leaves and the same values.
    """
    if isinstance(expression, str):
        return expression
    sign, left, right = expression
    if sign in ("+", "-"):
        terms = _terms(expression)
        plus = sorted((term for added, term in terms if added), key=write)
        minus = sorted((term for added, term in terms if not added), key=write)
        return _chain("-", [_chain("+", plus), *minus])
    if sign in ASSOCIATIVE:
        return _chain(sign, sorted(_operands(expression, sign), key=write))
    return sign, normal(left), normal(right)

"""The chains of steps that answer a Countdown question: read them, write them, list them all.

The rules are those of `evenflow.tasks.countdown`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import permutations
from typing import Any

STEP = re.compile(r"([1-9][0-9]{0,8})([-+*/])([1-9][0-9]{0,8})=([1-9][0-9]{0,8})")
COMMUTATIVE = "+*"


def combine(left: int, operator: str, right: int) -> int | None:
    """The result of one step, or None where the rules forbid it."""
    if operator == "+":
        return left + right
    if operator == "*":
        return left * right
    if operator == "-":
        return left - right if left > right else None
    return left // right if left % right == 0 else None


# An expression: a number, or (operator, expression, expression) with commuting operands in order.
Expression = int | tuple[str, Any, Any]


def _join(left: Expression, operator: str, right: Expression) -> Expression:
    if operator in COMMUTATIVE and repr(right) < repr(left):
        left, right = right, left
    return operator, left, right


def write(expression: Expression) -> str:
    """An expression with brackets around every operation but the outermost: ``27+(2*3)``."""
    if isinstance(expression, int):
        return str(expression)
    operator, *operands = expression
    left, right = (write(o) if isinstance(o, int) else f"({write(o)})" for o in operands)
    return f"{left}{operator}{right}"


def parse(
    text: str, numbers: Sequence[int], operators: str = "+-*"
) -> tuple[Expression, int] | None:
    """The canonical expression and the value that an answer works out; None if it breaks a rule.

    An operand whose value is both a given number and a result not used yet is read as the result:
    the result has to be used, the number need not be, so no right answer is lost by this reading.
    """
    given = Counter(numbers)
    results: dict[int, list[Expression]] = {}

    def take(value: int) -> Expression | None:
        if results.get(value):
            return results[value].pop()
        if given[value] > 0:
            given[value] -= 1
            return value
        return None

    expression: Expression = 0
    value = 0
    for step in text.split(","):
        match = STEP.fullmatch(step)
        if match is None or match[2] not in operators:
            return None
        left, right, value = int(match[1]), int(match[3]), int(match[4])
        first, second = take(left), take(right)
        if first is None or second is None or combine(left, match[2], right) != value:
            return None
        expression = _join(first, match[2], second)
        results.setdefault(value, []).append(expression)
    unused = sum(map(len, results.values()))
    return (expression, value) if unused == 1 else None


def _chains(
    given: Counter[int], results: Counter[int], operators: str, prefix: str
) -> Iterator[tuple[int, str]]:
    """(value, spelling) of every chain that goes on from `prefix` with these values at hand."""
    at_hand = given + results
    for left in at_hand:
        for right in at_hand:
            if left == right and at_hand[left] < 2:
                continue
            for operator in operators:
                value = combine(left, operator, right)
                if value is None:
                    continue
                next_given, next_results = given.copy(), results.copy()
                for operand in (left, right):
                    (next_results if next_results[operand] > 0 else next_given)[operand] -= 1
                text = f"{prefix}{left}{operator}{right}={value}"
                if next_results.total() == 0:
                    yield value, text
                if at_hand.total() > 2:
                    next_results[value] += 1
                    yield from _chains(+next_given, +next_results, operators, text + ",")


@lru_cache(maxsize=1024)
def answers_by_target(numbers: tuple[int, ...], operators: str) -> dict[int, tuple[str, ...]]:
    """Every right answer to every target of these (sorted) numbers, in one walk."""
    found: dict[int, set[str]] = {}
    for value, text in _chains(Counter(numbers), Counter(), operators, ""):
        found.setdefault(value, set()).add(text)
    return {target: tuple(sorted(texts)) for target, texts in found.items()}


@lru_cache(maxsize=65536)
def reachable(numbers: tuple[int, ...], operators: str) -> frozenset[int]:
    """Every value that some chain over a subset of these (sorted) numbers ends in."""
    reached: set[int] = set()
    for i, j in permutations(range(len(numbers)), 2):
        rest = [n for k, n in enumerate(numbers) if k not in (i, j)]
        for operator in operators:
            value = combine(numbers[i], operator, numbers[j])
            if value is not None:
                reached.add(value)
                reached |= reachable(tuple(sorted([*rest, value])), operators)
    return frozenset(reached)

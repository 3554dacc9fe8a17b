"""Every expression that maps all examples, built from the leaves up.

Two expressions with the same values on the examples are interchangeable in any larger one, so the
search goes over value vectors, not over expressions; the largest size is never built but only
matched against the outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import cast

from evenflow.tasks.programs.grammar import (
    OPERATIONS,
    Expression,
    Language,
    evaluate,
    write,
)

# Inputs in the order of the variables, and the output.
Example = tuple[tuple[int, ...], int]
Values = tuple[int, ...]
Level = dict[Values, list[Expression]]


def fits(expression: Expression, examples: tuple[Example, ...], language: Language) -> bool:
    """Whether an expression maps the inputs of every example to its output."""
    return all(
        evaluate(expression, dict(zip(language.variables, inputs, strict=True))) == output
        for inputs, output in examples
    )


def _splits(levels: list[Level], size: int) -> Iterator[tuple[Level, Level]]:
    """The levels of left and right operand of an operation with `size` leaves in all."""
    for left in range(1, size):
        yield levels[left - 1], levels[size - left - 1]


def _leaves(examples: tuple[Example, ...], language: Language) -> Level:
    level: Level = {}
    for place, variable in enumerate(language.variables):
        level.setdefault(tuple(inputs[place] for inputs, _ in examples), []).append(variable)
    for constant in language.constants:
        level.setdefault((int(constant),) * len(examples), []).append(constant)
    return level


def _next_level(levels: list[Level], language: Language) -> Level:
    """All expressions with one leaf more than the last level has, by their values."""
    level: Level = {}
    for lefts, rights in _splits(levels, len(levels) + 1):
        for (left, ones), (right, others) in product(lefts.items(), rights.items()):
            for sign in language.operators:
                values = tuple(map(OPERATIONS[sign], left, right))
                if None not in values:
                    made = level.setdefault(cast(Values, values), [])
                    made += ((sign, one, other) for one in ones for other in others)
    return level


def _matches(levels: list[Level], outputs: Values, language: Language) -> Iterator[Expression]:
    """The expressions with one leaf more than the last level has and these values."""
    operations = [(sign, OPERATIONS[sign]) for sign in language.operators]
    first = outputs[0]
    for lefts, rights in _splits(levels, len(levels) + 1):
        for (left, ones), (right, others) in product(lefts.items(), rights.items()):
            for sign, operate in operations:
                # Nearly all fail on the first example.
                if (
                    operate(left[0], right[0]) == first
                    and tuple(map(operate, left, right)) == outputs
                ):
                    yield from ((sign, one, other) for one in ones for other in others)


@lru_cache(maxsize=16384)
def right_programs(examples: tuple[Example, ...], language: Language) -> tuple[str, ...]:
    """The spelling of every expression of the language that maps all examples, sorted."""
    outputs = tuple(output for _, output in examples)
    levels = [_leaves(examples, language)]
    while len(levels) < language.leaves - 1:
        levels.append(_next_level(levels, language))
    found = [expression for level in levels for expression in level.get(outputs, [])]
    if language.leaves > 1:
        found += _matches(levels, outputs, language)
    return tuple(sorted(map(write, found)))

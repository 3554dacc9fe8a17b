"""The demonstrator: draws programs as it likes to write them, and slips now and then."""

from __future__ import annotations

import random

from evenflow.tasks.programs.grammar import ASSOCIATIVE, Expression, Language, count_leaves

OPERATOR_WEIGHT = {"+": 4.0, "-": 3.0, "*": 3.0, "//": 1.5, "%": 1.5, "max": 2.0, "min": 1.0}
VARIABLES = 0.65  # share of variables among the leaves
LEFT = 0.8  # share of operations whose larger operand is put first


def draw_program(language: Language, draw: random.Random) -> Expression:
    """A program with as many leaves as the language allows.

    Each operation has its `OPERATOR_WEIGHT`, each constant c the weight 1/c; of two operands the
    larger one mostly comes first, and a constant mostly second where the operands commute.
    """
    return _of_size(language.leaves, language, draw)


def _of_size(size: int, language: Language, draw: random.Random) -> Expression:
    if size == 1:
        if draw.random() < VARIABLES:
            return draw.choice(language.variables)
        return draw.choices(language.constants, [1 / int(c) for c in language.constants])[0]
    operator = draw.choices(
        language.operators, [OPERATOR_WEIGHT[name] for name in language.operators]
    )[0]
    part = draw.randint(1, size - 1)
    larger, smaller = max(part, size - part), min(part, size - part)
    first, second = (larger, smaller) if draw.random() < LEFT else (smaller, larger)
    left, right = _of_size(first, language, draw), _of_size(second, language, draw)
    swapped = left in language.constants and right not in language.constants
    if swapped and (operator == "+" or operator in ASSOCIATIVE) and draw.random() < LEFT:
        left, right = right, left
    return operator, left, right


def slip(program: Expression, language: Language, draw: random.Random) -> Expression:
    """The program with one leaf or one operator replaced by another one."""
    if isinstance(program, str):
        leaves = [*language.variables, *language.constants]
        return draw.choice([leaf for leaf in leaves if leaf != program])
    operator, left, right = program
    # Every leaf and every operator is as likely as any other to be the wrong one.
    at = draw.randrange(2 * count_leaves(program) - 1)
    before = 2 * count_leaves(left) - 1
    if at < before:
        return operator, slip(left, language, draw), right
    if at > before:
        return operator, left, slip(right, language, draw)
    others = [name for name in language.operators if name != operator]
    return (draw.choice(others), left, right) if others else slip(left, language, draw)

"""Whether two systems of equations have the same solutions, by exact values at a few points."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from evenflow.rewards.math.arithmetic import Value
from evenflow.rewards.math.expressions import Expression, Unreadable, read
from evenflow.rewards.math.values import RELATIVE, points

MOST = 6
"""Sides of a chain."""
STEPS = (0, 1, 2, -1, Fraction(1, 2), Fraction(-7, 3))
"""Values of a name in which an equation may be linear; |x| is, among the first."""
LINES = (0, 1, -1, 2, -2, 3)
"""Values of the other names where an equation may hold for any value of one."""


def same_equations(gold: Sequence[str], said: Sequence[str]) -> bool | None:
    """Whether two chains of sides, each of at least two, have the same solutions.

    They do where the differences of the sides of one are linear combinations of the other's (two
    equations: one is a multiple of the other), or where one name that both are linear in is the
    same function of the others: ``xy=1`` and ``y=\\frac{1}{x}``. None where that cannot be read.
    """
    if max(len(gold), len(said)) > MOST:
        return None
    try:
        ours, theirs = (
            [read(f"({side})-({sides[0]})") for side in sides[1:]] for sides in (gold, said)
        )
    except Unreadable:
        return None
    names = tuple(sorted({name for each in (*ours, *theirs) for name in each.names}))
    rows = []
    for point in points(names):
        try:
            rows.append(([each.at(point) for each in ours], [each.at(point) for each in theirs]))
        except Unreadable:
            continue
    if len(rows) < max(2, len(ours) + len(theirs)) or not any(any(row) for row, _ in rows):
        return None
    if all(isinstance(value, Fraction) for row in rows for part in row for value in part):
        both = _rank([[*a, *b] for a, b in rows])
        answer = both == _rank([a for a, _ in rows]) == _rank([b for _, b in rows])
    elif len(ours) == len(theirs) == 1:
        answer = _multiples([(a, b) for (a,), (b,) in rows])
    else:
        return None
    if answer is False and len(ours) == len(theirs) == 1:
        return _same_function(ours[0], theirs[0])
    return answer


def _multiples(pairs: Sequence[tuple[Value, Value]]) -> bool | None:
    """Whether the second of each pair is the first times one factor other than 0."""
    if any(x == 0 for x, _ in pairs):
        return None
    try:
        ratios = [complex(y) / complex(x) for x, y in pairs]
    except OverflowError:
        return None
    return ratios[0] != 0 and all(abs(r - ratios[0]) <= RELATIVE * abs(ratios[0]) for r in ratios)


def _rank(rows: Sequence[Sequence[Fraction]]) -> int:
    """Of a matrix of rationals."""
    left, rank = [list(row) for row in rows], 0
    for column in range(len(left[0])):
        pivot = next((at for at in range(rank, len(left)) if left[at][column]), None)
        if pivot is None:
            continue
        left[rank], left[pivot] = left[pivot], left[rank]
        for row in left[rank + 1 :]:
            factor = row[column] / left[rank][column]
            for at in range(column, len(row)):
                row[at] -= factor * left[rank][at]
        rank += 1
    return rank


def _same_function(ours: Expression, theirs: Expression) -> bool:
    """Whether both are linear in a name, and solved for it the same function of the others."""
    return ours.names == theirs.names and any(
        _solved_alike(ours, theirs, name) for name in sorted(ours.names)
    )


def _solved_alike(ours: Expression, theirs: Expression, name: str) -> bool:
    others = tuple(sorted(ours.names - {name}))
    compared = 0
    for point in points(others) if others else [{}]:
        lines = [_line(each, name, point) for each in (ours, theirs)]
        if any(line is None or line[1] == 0 for line in lines):
            return False
        (a, b), (c, d) = ((line or (0, 1)) for line in lines)
        if a * d != b * c:
            return False
        compared += 1
    # Where one of them holds for any value of the name, so must the other: xy = x is no y = 1.
    for value in LINES:
        free = [
            _line(each, name, dict.fromkeys(others, Fraction(value))) == (0, 0)
            for each in (ours, theirs)
        ]
        if free[0] != free[1]:
            return False
    return compared > 0


def _line(each: Expression, name: str, point: dict[str, Value]) -> tuple[Value, Value] | None:
    """The value at 0 and the slope in a name, exactly; None where it is not linear in it."""
    try:
        values = [each.at({**point, name: Fraction(step)}) for step in STEPS]
    except Unreadable:
        return None
    if not all(isinstance(value, Fraction) for value in values):
        return None
    start, slope = values[0], values[1] - values[0]
    straight = all(v == start + slope * x for x, v in zip(STEPS, values, strict=True))
    return (start, slope) if straight else None

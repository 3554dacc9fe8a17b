"""Intervals of real numbers: their ends, and what unions of them have in common."""

from __future__ import annotations

import math
from dataclasses import dataclass

from evenflow.rewards.math.expressions import Unreadable, read
from evenflow.rewards.math.values import same_values

MOST = 30
"""Intervals of a set."""


@dataclass(frozen=True)
class End:
    """An end of an interval: its value, as written and as a float to sort by."""

    text: str
    at: float
    closed: bool

    def meets(self, other: End) -> bool:
        """Whether both are at one value."""
        return self.text == other.text or (
            math.isfinite(self.at)
            and math.isfinite(other.at)
            and same_values(self.text, other.text) is True
        )


Interval = tuple[End, End]
LOW, HIGH = End(r"-\infty", -math.inf, False), End(r"\infty", math.inf, False)


class NoSet(Exception):
    """Not a set that is read here."""


def half(bound: End, sign: str) -> list[Interval]:
    """The x with x `sign` bound."""
    closed = End(bound.text, bound.at, True)
    if math.isinf(bound.at):
        if (sign in ("<", r"\leq")) == (bound.at > 0) and sign not in ("=", r"\neq"):
            return [(LOW, HIGH)]
        raise NoSet("beyond infinity")
    return {
        "<": [(LOW, bound)],
        ">": [(bound, HIGH)],
        r"\leq": [(LOW, closed)],
        r"\geq": [(closed, HIGH)],
        r"\neq": [(LOW, bound), (bound, HIGH)],
        "=": [(closed, closed)],
    }[sign]


def read_end(text: str, closed: bool) -> End:
    text = text.strip().removeprefix("+")
    if text in (r"\infty", r"-\infty"):
        return End(text, math.inf if text[0] == "\\" else -math.inf, closed)
    try:
        expression = read(text)
        if expression.names:
            raise NoSet("an end that is no number")
        value = complex(expression.at({}))
    except (Unreadable, OverflowError) as error:
        raise NoSet(str(error)) from None
    if value.imag:
        raise NoSet("an end that is not real")
    return End(text, value.real, closed)


def _later(a: End, b: End) -> End:
    """Of two lower ends, where their intersection begins."""
    if a.meets(b):
        return a if not a.closed else b
    return a if a.at > b.at else b


def _sooner(a: End, b: End) -> End:
    if a.meets(b):
        return a if not a.closed else b
    return a if a.at < b.at else b


def intersection(a: list[Interval], b: list[Interval]) -> list[Interval]:
    if len(a) * len(b) > MOST * MOST:
        raise NoSet("too many parts")
    found = []
    for low, high in a:
        for start, end in b:
            one = _later(low, start), _sooner(high, end)
            if one[0].meets(one[1]):
                keep = one[0].closed and one[1].closed
            else:
                keep = one[0].at < one[1].at
            if keep:
                found.append(one)
    return found


def complement(intervals: list[Interval]) -> list[Interval]:
    found: list[Interval] = [(LOW, HIGH)]
    for low, high in intervals:
        outside = []
        if math.isfinite(low.at):
            outside.append((LOW, End(low.text, low.at, not low.closed)))
        if math.isfinite(high.at):
            outside.append((End(high.text, high.at, not high.closed), HIGH))
        found = intersection(found, outside)
    return found


def merged(intervals: list[Interval]) -> list[Interval]:
    """In order, and where two touch or overlap one of them."""
    found: list[Interval] = []
    for low, high in sorted(intervals, key=lambda one: (one[0].at, not one[0].closed)):
        if found:
            last_low, last_high = found[-1]
            if last_high.meets(low):
                touches = last_high.closed or low.closed
            else:
                touches = low.at < last_high.at
            if touches:
                if high.meets(last_high):
                    further = last_high if last_high.closed else high
                else:
                    further = high if high.at > last_high.at else last_high
                found[-1] = (last_low, further)
                continue
        found.append((low, high))
    return found

"""Sets of real numbers, whether written as intervals or by a condition.

``(3,\\infty)``, ``x>3``, ``3<x``, ``\\{x \\mid x>3\\}`` and ``x \\in (3,\\infty)`` are one set.
Ends are compared by value, and by whether they belong to the set.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from fractions import Fraction

from evenflow.rewards.math.expressions import Unreadable, read
from evenflow.rewards.math.intervals import (
    HIGH,
    LOW,
    MOST,
    Interval,
    NoSet,
    complement,
    half,
    intersection,
    merged,
    read_end,
)
from evenflow.rewards.math.members import members

REALS = r"\mathbb{R}"
EMPTY = re.compile(
    r"\\emptyset|\\varnothing|\\\{\\\}"
    r"|(?i:emptyset|(?:there(?:is|are))?no(?:real)?solutions?(?:exists?)?|none)"
)
ALL_REALS = re.compile(r"\\mathbb\{?R\}?|(?i:allreal(?:number)?s?)x?|R")
# \{x \mid …\}, \{x \in R : …\}; normalisation has taken the x off "x \in".
BUILDER = re.compile(
    r"(?:\\\{)?\(?(?:[a-zA-Z]|\\[a-z]+|(?P<within>\\mathbb\{?[A-Z]\}?))\)?"
    r"(?:\\mid|\\vert|\\colon|[|:]|suchthat)(?P<condition>.+?)(?:\\\})?"
)
INTEGERS = (r"\mathbb{Z}", r"\mathbb{N}")
WHOLE = re.compile(r"-?[0-9]{1,6}")
EITHER_SIGN = re.compile(r"(?P<name>[A-Za-z])\\neq\\pm(?P<size>[^,;]+)")
NEITHER = re.compile(r"(?P<unlike>[A-Za-z]\\neq)(?P<values>(?:(?!\\neq)[^=<>|])+)")
"""``x\\neq 1,2``."""
NOT_IN = re.compile(r"^[A-Za-z]\\notin(?=\\\{)")
RELATED = r"(?=[A-Za-z](?:[<>]|\\[lgn]eq(?![a-z])))"
QUANTIFIED = re.compile(
    r"^(?:for)?(?:all|any|every|each)?(?:positive|negative)?(?:real|integer|natural|rational)?"
    rf"(?:numbers?|integers?|s)?{RELATED}",
    re.IGNORECASE,
)
"""``all integers n\\geq 2``."""
INTEGER = re.compile(rf"^(?P<condition>{RELATED}[i-npq][^,]*?)(?:,|\()\\mathbb\{{[ZN]\}}\)?$")
"""``n\\geq 2, n\\in\\mathbb{Z}``, which goes without saying of such a name."""
RELATION = re.compile(r"\\leq|\\geq|\\neq|<|>|=")
FLIPPED = {"<": ">", ">": "<", r"\leq": r"\geq", r"\geq": r"\leq", r"\neq": r"\neq", "=": "="}
NAME = re.compile(r"(?:[a-zA-Z]|\\(?:theta|alpha|beta|lambda|mu|phi|omega))\s?(?:\([a-z]\)|_\w)?")
SIDE = r"(?:(?!\\[lgn]eq)[^|<>=])+"
DISTANCE = re.compile(
    rf"\|(?P<within>[^|]+)\|(?P<sign>{RELATION.pattern})(?P<bound>{SIDE})"
    rf"|(?P<first>{SIDE})(?P<back>{RELATION.pattern})\|(?P<inside>[^|]+)\|"
)
"""``|x-1|<2``."""


Split = Callable[[str, tuple[str, ...]], list[str]]
"""Of a text, at separators that stand outside brackets."""


def same_sets(gold: str, said: str, split: Split) -> bool:
    """Whether two normalised answers are one set of real numbers; raises NoSet.

    A condition must be on the gold's variable, where the gold has one.
    """
    names: list[set[str]] = [set(), set()]
    a, b = (
        _Reader(split, found).union(text) for text, found in zip((gold, said), names, strict=True)
    )
    if any(len(found) > 1 for found in names):
        raise NoSet("conditions on several variables")
    if names[0] and names[1] and names[0] != names[1]:
        return False
    a, b = merged(a), merged(b)
    return len(a) == len(b) and all(
        x.meets(y) and x.closed == y.closed
        for one, other in zip(a, b, strict=True)
        for x, y in zip(one, other, strict=True)
    )


def between(text: str, split: Split) -> tuple[str, str, str, list[str]] | None:
    """The brackets, the name and the ends of an interval whose ends have names in them, written as
    one or as an inequality: ``(-a,a)``, ``-a<x<a``, ``x\\geq 2a``. None where it is none."""
    if text[:1] in tuple("([") and text[-1:] in tuple(")]"):
        ends = split(text[1:-1], (",",))
        ends = [end.removeprefix("+") for end in ends]
        return (text[0], text[-1], "", ends) if len(ends) == 2 else None
    signs, sides = RELATION.findall(text), [side.strip() for side in RELATION.split(text)]
    if signs and set(signs) <= {">", r"\geq"}:
        signs, sides = [FLIPPED[sign] for sign in reversed(signs)], sides[::-1]
    if len(signs) not in (1, 2) or not set(signs) <= {"<", r"\leq"} or not all(sides):
        return None
    if len(signs) == 1:
        upper = NAME.fullmatch(sides[0]) and sides[1] not in tuple("xyzt")
        sides = [r"-\infty", *sides] if upper else [*sides, r"\infty"]
        signs = ["<", *signs] if upper else [*signs, "<"]
    if not NAME.fullmatch(sides[1]):
        return None
    opened, closed = ("[" if signs[0] != "<" else "("), ("]" if signs[1] != "<" else ")")
    return opened, closed, sides[1], [sides[0], sides[2]]


def without_builder(text: str) -> str:
    """The condition in ``\\{x \\mid …\\}`` on real numbers; any other text as it is."""
    found = BUILDER.fullmatch(text)
    within = found and (not found["within"] or ALL_REALS.fullmatch(found["within"]))
    braces = text.startswith(r"\{") and text.endswith(r"\}") and text.count(r"\{") == 1
    return found["condition"] if found and within and braces else text


def without_range(text: str, split: Split) -> str:
    """``\\{1,2,3\\}`` for the integers from 1 to 3 by a condition; other texts as they are."""
    found = BUILDER.fullmatch(text)
    if not found or found["within"] not in INTEGERS or not text.startswith(r"\{"):
        return text
    opened, closed, _, ends = between(found["condition"], split) or ("", "", "", [])
    if not ends or not all(WHOLE.fullmatch(end) for end in ends):
        return text
    low, high = int(ends[0]) + (opened == "("), int(ends[1]) - (closed == ")")
    return rf"\{{{','.join(map(str, range(low, high + 1)))}\}}" if high - low < MOST else text


class _Reader:
    """`names` gathers the variables that conditions are on, unless they are bound."""

    def __init__(self, split: Split, names: set[str]) -> None:
        self.split = split
        self.names = names

    def union(self, text: str) -> list[Interval]:
        text = re.sub(r"^[A-Z]=", "", text.strip())  # S = …
        text = QUANTIFIED.sub("", INTEGER.sub(r"\g<condition>", text))
        text = NOT_IN.sub(lambda _: REALS + r"\setminus", text)
        text = EITHER_SIGN.sub(r"\g<name>\\neq\g<size>,\g<name>\\neq-(\g<size>)", text)
        if several := NEITHER.fullmatch(text):
            each = self.split(several["values"], (",", r"\cup"))
            text = ",".join(f"{several['unlike']}{value}" for value in each)
        parts = self.split(text, (r"\cup",))
        builder = BUILDER.fullmatch(text) if len(parts) == 1 else None
        if builder and text.startswith(r"\{") == text.endswith(r"\}"):
            if builder["within"] and not ALL_REALS.fullmatch(builder["within"]):
                raise NoSet("numbers of another kind")
            return _Reader(self.split, set()).union(builder["condition"])
        parts = self.split(text, (r"\cup", r"\lor", r"\vee"))
        if len(parts) > MOST:
            raise NoSet("too many parts")
        if len(parts) > 1:
            return [interval for part in parts for interval in self.union(part)]
        parts = self.split(text, (r"\setminus", r"\backslash", "except"))
        if len(parts) == 1 and text.startswith(REALS + "-"):
            parts = [REALS, text[len(REALS) + 1 :]]
        if len(parts) == 2:
            if EMPTY.fullmatch(parts[0]):
                raise NoSet("nothing but what is left out")
            return intersection(self.union(parts[0]), complement(self.without(parts[1])))
        if interval := self.interval(text):
            return interval
        parts = self.split(text, (",", r"\land", r"\wedge", r"\cap"))
        if len(parts) > 1:
            found = self.union(parts[0])
            for part in parts[1:]:
                found = intersection(found, self.union(part))
            if not found and len(self.split(text, (",",))) == len(parts):  # x > 4, x < 1: either
                return [interval for part in parts for interval in self.union(part)]
            return found
        return self.simple(text)

    def without(self, text: str) -> list[Interval]:
        """What is taken away: a set, or numbers."""
        try:
            return self.union(text)
        except NoSet:
            return [self.point(member) for member in members(text)]

    def interval(self, text: str) -> list[Interval] | None:
        """``(a,b]`` or ``\\{a,b\\}``."""
        if text.startswith(r"\{") and text.endswith(r"\}"):
            return [self.point(member) for member in self.split(text[2:-2], (",",)) if member]
        if text[:1] not in "([" or text[-1:] not in ")]" or len(text) < 3:
            return None
        ends = self.split(text[1:-1], (",",))
        if len(ends) != 2:
            return None
        low, high = read_end(ends[0], text[0] == "["), read_end(ends[1], text[-1] == "]")
        if low.at >= high.at and not (low.meets(high) and low.closed and high.closed):
            raise NoSet("no interval")
        if (math.isinf(low.at) and low.closed) or (math.isinf(high.at) and high.closed):
            raise NoSet("infinity does not belong to it")
        return [(low, high)]

    def point(self, text: str) -> Interval:
        end = read_end(text, True)
        if math.isinf(end.at):
            raise NoSet("infinity is no member")
        return end, end

    def simple(self, text: str) -> list[Interval]:
        """``1<x\\leq 2``, ``x\\neq 1``, ``\\mathbb{R}``, ``\\emptyset``."""
        if ALL_REALS.fullmatch(text):
            return [(LOW, HIGH)]
        if EMPTY.fullmatch(text):
            return []
        if apart := DISTANCE.fullmatch(text):
            inside, bound = apart["within"] or apart["inside"], apart["bound"] or apart["first"]
            return self.distance(inside, apart["sign"] or FLIPPED[apart["back"]], bound)
        signs = RELATION.findall(text)
        sides = [side.strip() for side in RELATION.split(text)]
        sides, signs = _solved(sides, signs)
        named = [at for at, side in enumerate(sides) if NAME.fullmatch(side)]
        if len(signs) not in (1, 2) or len(named) != 1 or (len(signs) == 2 and named != [1]):
            raise NoSet("no condition on one variable")
        self.names.add(sides[named[0]])
        found: list[Interval] = [(LOW, HIGH)]
        for at, sign in enumerate(signs):  # the sign between sides at and at + 1
            variable_first = named[0] == at
            bound = read_end(sides[at + 1 if variable_first else at], False)
            found = intersection(found, half(bound, sign if variable_first else FLIPPED[sign]))
        return found

    def distance(self, inside: str, sign: str, bound: str) -> list[Interval]:
        """``|inside| < bound``: both signs of it, or either."""
        if read_end(bound, True).at < 0:
            raise NoSet("a negative distance")
        above, below = (
            self.simple(f"{inside}{sign}{bound}"),
            self.simple(f"-({bound}){sign}{inside}"),
        )
        both = sign in ("<", r"\leq", r"\neq")
        return intersection(above, below) if both else above + below


def _solved(sides: list[str], signs: list[str]) -> tuple[list[str], list[str]]:
    """``2x>1`` as ``x>1/2``; what is not linear as it is."""
    if len(signs) != 1 or any(NAME.fullmatch(side) for side in sides):
        return sides, signs
    try:
        difference = read(f"({sides[0]})-({sides[1]})")
        (name,) = difference.names
        values = {x: difference.at({name: Fraction(x)}) for x in (-5, -1, 0, 1, 7)}
    except (Unreadable, ValueError):
        return sides, signs
    slope = values[1] - values[0]
    if not slope or not all(isinstance(value, Fraction) for value in values.values()):
        return sides, signs
    if any(value != values[0] + x * slope for x, value in values.items()):
        return sides, signs
    bound = -values[0] / slope
    written = rf"\frac{{{bound.numerator}}}{{{bound.denominator}}}"
    return [name, written], signs if slope > 0 else [FLIPPED[signs[0]]]

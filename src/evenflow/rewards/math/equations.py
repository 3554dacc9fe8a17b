"""Whether two equations, or an equation and a value, are one answer: by their sides."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from evenflow.rewards.math.clauses import CONSTANTS, WHERE, alike_named, names_in, renamed
from evenflow.rewards.math.expressions import Unreadable, read
from evenflow.rewards.math.members import parts, split
from evenflow.rewards.math.systems import same_equations
from evenflow.rewards.math.values import DECIMAL, is_number, same_values
from evenflow.rewards.math.wording import COMMAND

NAME = re.compile(
    r"(?:[A-Za-z]|[A-Z]{2})'*(?:_\{?\w+\}?|\^\{?-1\}?)?(?:\([^()]*\))?|\\[a-z]+"
    r"|\([a-z](?:,[a-z])*\)|\\frac\{d\^?2?[A-Za-z]?\}\{d[A-Za-z](?:\^2)?\}"
)
DERIVED = re.compile(r"'|\\frac\{d")
CALLED = re.compile(r"(?P<function>[A-Za-z]\w*'*)\((?P<of>[a-z])\)")
CURVE = frozenset("xyz")
"""Names of coordinates: an equation in them has points, and no value."""
# Of -x = 8 and 1/x = 8 the x is still to be found.
UNSOLVED = re.compile(r"-[A-Za-z]|1/[A-Za-z]|\\frac\{1\}\{[A-Za-z]\}")
# What stands for a value: a limit, f(2)+f(-2).
VALUED = re.compile(
    r"\\(?:lim|i{0,2}int|sum|prod|det)(?![a-z]).*"
    r"|[-+]?[A-Za-z]\(-?[0-9]+\)(?:[-+][A-Za-z]\(-?[0-9]+\))*"
)
RELATION = re.compile(r"[<>]|\\(?:leq|geq|neq|in|notin|subset|setminus|mathbb|mid|equiv)(?![a-z])")
LETTER = re.compile(r"[A-Za-z]")
APPROX = r"\approx"
APART = 1e-2
"""A relative distance that makes two numbers of a chain two answers."""
NOTHING = 1e-14
"""What floating point leaves of 0."""
Same = Callable[[str, str], bool | None]
"""`equality.same`."""


def sides_of(text: str) -> list[str]:
    return [side for side in split(text, ("=",)) if side] or [text]


def same_sides(gold: Sequence[str], said: Sequence[str], same: Same) -> bool | None:
    """The gold's form decides: an expression is answered by the last side of an equation."""
    if len(gold) > 1 and len(said) > 1:
        return _same_chains(shortened(gold), shortened(said), same)
    if len(gold) == len(said) == 1:
        return same_values(gold[0], said[0])
    if len(gold) == 1:
        return _value_of(said, gold[0], same)
    gold = shortened(gold)
    if NAME.fullmatch(gold[0]):
        return same(gold[-1], said[0]) if len(gold) == 2 else False
    if any(LETTER.search(COMMAND.sub("", side)) for side in gold):
        return same(gold[1], said[0]) if _names_a_value(gold) else False
    answers = [same(side, said[0]) for side in gold]  # 0.56 = 56%
    return True if True in answers else None if None in answers else False


COLLECTION = re.compile(
    r"\\\{.*\\\}|[(\[][^=]*,[^=]*[)\]]|\\begin\{pmatrix\}(?:(?!\\begin).)*\\end\{pmatrix\}"
)
MULTIPLE = re.compile(r"(?:-|[0-9./]+|\\frac\{[0-9]+\}\{[0-9]+\})+[A-Za-z]")
"""Of 2P the P is still to be found."""


def last_side(gold: str, said: str, same: Same) -> str:
    """``\\{1\\}`` of ``A\\cap B=\\{1\\}``, where the gold is a tuple, a set or a matrix, too; empty
    where the other sides say something else."""
    sides = sides_of(said)
    if len(sides) < 2 or "=" in gold or len(split(said, (",", ";"))) > 1:
        return ""
    if not COLLECTION.fullmatch(gold) or not COLLECTION.fullmatch(sides[-1]):
        return ""
    if MULTIPLE.fullmatch(sides[0]):
        return ""
    for side in sides[:-1]:
        named = LETTER.search(COMMAND.sub("", side).replace("{pmatrix}", "")) is not None
        whole = parts(side)[0] != "list" or side.startswith("\\begin")
        if whole and not named and COLLECTION.fullmatch(side) and same(gold, side) is not True:
            return ""
    return sides[-1]


FUNCTION = re.compile(r"[fghFGH]('*|\^\{?-1\}?)\((?:[A-Za-z](?:,[A-Za-z])*|([^()]*))\)")
"""Of a function's value: how often it is derived, or that it is the inverse; an argument that is
no name."""


def same_named(gold: str, said: str, same: Same) -> bool | None:
    """Whether two equations are the same, where both are about the gold's names.

    None where that is not the question: one of them is a value, or a list; the gold gives a value
    to what may have another name, an n; the answer is about something else.
    """
    ours, theirs = (sides_of(text) for text in (gold, said))
    if min(len(ours), len(theirs)) < 2 or any(len(parts(text)[1]) > 1 for text in (gold, said)):
        return None
    if RELATION.search(gold + said) or APPROX in gold + said or WHERE in gold + said:
        return None
    called = [FUNCTION.fullmatch(side) for side in (ours[0], theirs[0])]
    if all(called) and len({each.groups() for each in called if each}) > 1:
        return False  # f(x+1), f'(x) and f^{-1}(x) are not f(x)
    names, others = names_in(ours[0]), names_in(theirs[0])
    asked = names <= CURVE or len(names) > 1
    if not (asked and names and others and others <= names | CURVE):
        return None
    return _same_chains(shortened(ours), shortened(theirs), same)


def _same_chains(gold: Sequence[str], said: Sequence[str], same: Same) -> bool | None:
    a, b = gold[0], said[0]
    if len(gold) == len(said) == 2 and NAME.fullmatch(a) and NAME.fullmatch(b):
        derived = DERIVED.search(a), DERIVED.search(b)
        if "(" not in a + b and any(derived) and not all(derived):
            return False
        stem, index, _ = b.partition("_")
        if a == b or "(" in a + b or all(derived) or (index and stem == a):
            value, called = said[1], (CALLED.fullmatch(a), CALLED.fullmatch(b))
            x, y = (each["of"] if each else "" for each in called)
            if x != y and x and y and x not in names_in(value):  # f(t) = t and f(x) = x
                value = renamed(value, y, x)
            return same(gold[1], alike_named(gold[1], value, CONSTANTS))
    return same_equations(gold, said)


def _value_of(said: Sequence[str], gold: str, same: Same) -> bool | None:
    """Whether a chain has an expression's value: its last side, or what that is rounded from."""
    found = NAME.fullmatch(said[0]) or VALUED.fullmatch(said[0]) or is_number(said[0])
    if said[-1] == "0" and not found:
        return False  # x + y = 0 is not 0
    if len(said) == 2 and UNSOLVED.fullmatch(said[0]):
        return False
    if NAME.fullmatch(said[-1]) and all(map(is_number, said[:-1])):  # 5 = x, 2 + 3 = 5 = x
        return _value_of(said[:-1], gold, same)
    numbers = numbers_of(said)
    if numbers is None:
        return False  # 1/3 = 0.5 says two things
    if len(numbers) > 1 and rounds(numbers[-2], numbers[-1]):
        return True if same(gold, numbers[-2]) else same(gold, numbers[-1])
    return same(gold, said[-1])


def _names_a_value(gold: Sequence[str]) -> bool:
    """``a+b=5`` and ``\\cos A=\\frac{1}{2}`` do, an equation of a curve, in x and y, does not."""
    if len(gold) > 2 or not is_number(gold[1]) or gold[1] == "0":
        return False
    try:
        return not read(gold[0]).names <= CURVE
    except Unreadable:
        return True


def shortened(sides: Sequence[str]) -> list[str]:
    """A chain without sides that are the value of the next one: ``x=2+3=5`` is ``x=5``, and
    ``x=\\frac{1}{3}=0.33`` is ``x=\\frac{1}{3}``."""
    kept = [sides[0]]
    for side in sides[1:]:
        if len(kept) > 1 and same_values(kept[-1], side):
            kept[-1] = side
        elif not (len(kept) > 1 and rounds(kept[-1], side)):
            kept.append(side)
    return kept


def rounds(exact: str, decimal: str) -> bool:
    """Whether a decimal is what a number is in so many places."""
    shown = DECIMAL.fullmatch(decimal)
    if not shown or not is_number(exact):
        return False
    gap = read(exact).at({}) - read(decimal).at({})
    return abs(gap) <= 0.5000001 * 10.0 ** -len(shown["part"])


def numbers_of(sides: Sequence[str]) -> list[str] | None:
    """The values that a chain names; None where two of them are no one number."""
    found = [side for side in sides if is_number(side)]
    values = [complex(read(side).at({})) for side in found]
    size = max(map(abs, values), default=0.0)
    if any(abs(value - values[-1]) > max(APART * size, NOTHING) for value in values):
        return None
    return found

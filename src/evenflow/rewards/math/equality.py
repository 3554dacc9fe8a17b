"""Whether two normalised answers are the same answer, decided without computer algebra.

By text, by structure (lists, tuples, sets, intervals, unions, matrices), by exact rational, by
value at a few points. `None` where that does not tell: inequalities of a higher degree, commands
that `expressions` does not know.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from evenflow.rewards.math.bases import BASED, in_chain
from evenflow.rewards.math.clauses import WHERE, same_with_clauses
from evenflow.rewards.math.equations import APPROX, NAME, RELATION, same_sides, sides_of
from evenflow.rewards.math.layout import pieces_of
from evenflow.rewards.math.members import by_names, nested, parts, rows_of, split
from evenflow.rewards.math.sets import (
    EMPTY,
    NoSet,
    between,
    same_sets,
    without_builder,
    without_range,
)
from evenflow.rewards.math.values import (
    far_apart,
    is_number,
    same_ratios,
    same_residues,
    same_values,
)
from evenflow.rewards.math.wording import COMMAND, LONG_WORD, letters

THOUSANDS = re.compile(r"-?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?%?")
WORD = re.compile(r"[A-Za-z]{3,}|[A-Z]{2,}|[Nn]o")
FOREIGN = re.compile(r"(?:(?![A-Za-z])[^\W\d_])")
FIGURE = re.compile(r"[0-9\\=]")
SMALL_CHOICE = re.compile(r"\([a-j]\)|[a-e]")
CHOICE = re.compile(
    r"\((?P<letter>[A-J])\)(?!.*(?:or|and|,|;|/|\\lor)\([A-J]\))"
    r"(?P<rest>(?!\\(?:cup|cap|cdot|lor|pm)|(?i:(?:is)?(?:not|isn|incorrect|invalid|wrong|false)|maybe|perhaps"
    r"|eliminated|excluded|if[^aeiou]|unless)|[A-J]$)[^,;/|+^=(].*)",
    re.DOTALL,
)
MATRIX = re.compile(r"\\begin\{pmatrix\}(?P<inside>.*?)(?:\\\\)?\\end\{pmatrix\}", re.DOTALL)
CONDITION = re.compile(
    rf"{RELATION.pattern}|\\cup|\\emptyset|\\\{{\\\}}|(?i:allreal|nosolution|norealsolution)"
)
SIGN = re.compile(r"\\[lg]eq(?![a-z])|[<>]")
SOLVED = re.compile(rf"([A-Za-z])(?:{SIGN.pattern})")
INFINITE = re.compile(r"[-+]?\\infty")
NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
LEADING_ZERO = re.compile(r",0[0-9]")
CLOCK = re.compile(r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-5][0-9])(?P<second>:[0-5][0-9])?")
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{1,2}/[0-9]{1,2}/[0-9]{4}")
BEYOND = re.compile(r"\\infty\]|\[-\\infty")
BETWEEN_INTERVALS = re.compile(r"(?<=[\])]),(?=[(\[])")
LETTERS = re.compile(r"\(?[A-J]\)?(?:[,;]?\(?[A-J]\)?){1,7}")
CONSTANT = re.compile(r"(?P<rest>.*[^\\])\+(?P<name>[CcKk]|\\?[Cc]onst(?:ant)?\.?)", re.DOTALL)
MERIDIEM = re.compile(r"[ap]m$")
BEGIN = r"\begin"


def same(gold: str, said: str) -> bool | None:
    """Whether `said` answers what `gold` does; None if this module cannot tell.

    Text in a gold is compared as text, without case. A list without brackets is a multiset, as is
    one in braces; ``(…)`` and ``[…]`` are ordered, and their brackets count: ``(1,2)`` is
    neither ``\\{1,2\\}`` nor ``[1,2]`` nor the list 1, 2. A set by condition is the interval that
    it describes. A number in a base is neither the decimal of these digits nor of its value. Of
    choices the letters are compared, where both have one. ``x=…`` is its right side where the gold
    is no equation; two equations are the same up to a factor. 10% is 10 and 0.1.
    """
    if gold == said:
        return True
    if NUMBER.fullmatch(gold) and NUMBER.fullmatch(said):
        return same_values(gold, said)
    if WHERE in gold or WHERE in said:
        return same_with_clauses(gold, said, same)
    if THOUSANDS.fullmatch(gold) or THOUSANDS.fullmatch(said):  # or a list? either will do
        readings = [(a, b) for a in _readings(gold) for b in _readings(said)]
        return True in [_same_form(a, b) for a, b in readings]
    return _same_form(gold, said)


def _readings(text: str) -> list[str]:
    """A number, and a list where each of its members is written as a number by itself."""
    if not THOUSANDS.fullmatch(text):
        return [text]
    number = text.replace(",", "")
    return [number] if LEADING_ZERO.search(text) else [text, number]


def _is_time(text: str) -> bool:
    """A time of day, or a date. A ratio would be in lowest terms: 3:30 is none, 2:15 may be."""
    if found := CLOCK.fullmatch(text):
        hour, minute = found["hour"], found["minute"]
        return bool(found["second"]) or minute[0] == "0" or math.gcd(int(hour), int(minute)) > 1
    return DATE.fullmatch(text) is not None


def _time_of_day(text: str) -> tuple[int, str, str] | None:
    """The hour from 0 to 23, the minute and the second; None where the half of the day is open."""
    if not (found := CLOCK.fullmatch(MERIDIEM.sub("", text))):
        return None
    hour = int(found["hour"])
    if MERIDIEM.search(text):
        hour = hour % 12 + 12 * text.endswith("pm") if 0 < hour < 13 else 24
    elif 0 < hour < 13:
        return None
    return (hour, found["minute"], found["second"] or "") if hour < 24 else None


def _clocks(*texts: str) -> list[str]:
    """Without the half of the day."""
    return [MERIDIEM.sub("", text) for text in texts]


def _same_form(gold: str, said: str) -> bool | None:
    a, b = CHOICE.fullmatch(gold), CHOICE.fullmatch(said)
    if a or b:
        return _same_choices(gold, a, said, b)
    if LETTERS.fullmatch(gold) and LETTERS.fullmatch(said):  # AC, and (A), (C)
        left, right = ([c for c in text if c.isupper()] for text in (gold, said))
        if left == sorted(set(left)) and gold != said:
            return left == sorted(right)
    small = SMALL_CHOICE.fullmatch(said)
    if small and len(gold) == 1 and gold.isupper():
        return small[0].strip("()").upper() == gold
    constants = CONSTANT.fullmatch(gold), CONSTANT.fullmatch(said)
    if all(each and each["name"] not in COMMAND.sub("", each["rest"]) for each in constants):
        return same(*(each["rest"] for each in constants if each))  # +C and +c
    if ours := pieces_of(gold):
        return _same_pieces(ours, pieces_of(said))
    if CONDITION.search(f"{gold}\n{said}"):
        return _same_conditions(gold, said)
    # 2:30 does not ask which half of the day it is, nor does a gold of 2:30 pm doubt it
    clocks = _clocks(gold, said)
    half = clocks != [gold, said] and all(map(CLOCK.fullmatch, clocks))
    if (ours := _time_of_day(gold)) and (theirs := _time_of_day(said)):
        return ours == theirs
    if half or _is_time(gold):
        return clocks[0].lstrip("0") == clocks[1].lstrip("0")
    if (modulo := same_residues(gold, said)) is not None:
        return modulo
    if ":" in gold + said:
        ratio, other = split(gold, (":",)), split(said, (":",))
        if max(len(ratio), len(other)) > 2:
            return same_ratios(ratio, other)
    a, b = parts(gold), parts(said)
    in_words = WORD.fullmatch(gold) and WORD.fullmatch(said)
    foreign = FOREIGN.search(gold) and not FIGURE.search(gold)
    if in_words or foreign or ("\\" not in gold and LONG_WORD.search(gold)):
        if a[0] == b[0] == "list" and len(a[1]) > 1:  # Alice and Bob
            return sorted(map(letters, a[1])) == sorted(map(letters, b[1]))
        return letters(gold) == letters(said)
    if BASED.fullmatch(gold) or BASED.fullmatch(said):
        return in_chain(gold, sides_of(said))  # or they were the same text
    matrices = [found for text, found in ((gold, a), (said, b)) if text.startswith(BEGIN)]
    if matrices and all(len(members) == 1 for _, members in matrices):
        return _same_matrices(gold, said)
    if a[0] == "set" != b[0] and len(a[1]) == 1 and b[0] != "list":  # {(1,2)} and (1,2)
        return same(a[1][0], said)
    if b[0] == "set" != a[0] and len(b[1]) == 1 and a[0] != "list":
        return same(gold, b[1][0])
    return _same_collections(a, b)


def _same_choices(
    gold: str, a: re.Match[str] | None, said: str, b: re.Match[str] | None
) -> bool | None:
    """By their letters; one that the other side does not have, by what the choice says."""
    left = a["letter"] if a else gold if len(gold) == 1 and gold.isupper() else None
    right = b["letter"] if b else said if len(said) == 1 and said.isupper() else None
    if left and right:
        return left == right
    return same(a["rest"] if a else gold, b["rest"] if b else said)


def _same_conditions(gold: str, said: str) -> bool | None:
    if r"\cup" in gold and r"\cup" not in said:
        said = BETWEEN_INTERVALS.sub(r"\\cup ", said)
    if (name := SOLVED.match(gold)) and SIGN.match(said):  # \leq 3 for x \leq 3
        said = name[1] + said
    try:
        return same_sets(gold, said, split)
    except NoSet:
        pass
    if "\\" not in gold and LONG_WORD.search(gold):
        return letters(gold) == letters(said)
    if (ours := between(gold, split)) and (theirs := between(said, split)):
        alike = ours[:2] == theirs[:2] and (not ours[2] or not theirs[2] or ours[2] == theirs[2])
        return _each(ours[3], theirs[3]) if alike else False
    if bool(BEYOND.search(gold)) != bool(BEYOND.search(said)):
        return False  # infinity does not belong to it
    if EMPTY.fullmatch(gold):
        return EMPTY.fullmatch(said) is not None
    plain = tuple(without_range(without_builder(text), split) for text in (gold, said))
    if plain != (gold, said):
        return same(*plain)
    a, b = split(gold, (r"\cup",)), split(said, (r"\cup",))
    if len(a) > 1 or len(b) > 1:
        return None if RELATION.search(gold + said) else _match(a, b)
    if NUMBER.fullmatch(gold) or NUMBER.fullmatch(said):
        return False  # no condition is a number
    return _same_collections(parts(gold), parts(said))


def _same_pieces(
    gold: Sequence[tuple[str, str]], said: Sequence[tuple[str, str]] | None
) -> bool | None:
    """Of a function by cases: the same values under the same conditions, of which one may say
    "otherwise"."""
    if said is None or len(gold) != len(said):
        return False
    left, unmatched, unclear = list(said), [], False
    for value, condition in gold:
        found = next((piece for piece in left if same(condition, piece[1])), None)
        if found is None:
            unmatched.append((value, condition))
            continue
        left.remove(found)
        answer = same(value, found[0])
        if answer is False:
            return False
        unclear |= answer is None
    if (
        unmatched
        and (answer := _match([v for v, _ in unmatched], [v for v, _ in left])) is not True
    ):
        return answer
    rest = len(unmatched) == 1 and "otherwise" in (unmatched[0][1], left[0][1])
    return True if not unclear and (rest or not unmatched) else None


def _same_matrices(gold: str, said: str) -> bool | None:
    a, b = MATRIX.fullmatch(gold), MATRIX.fullmatch(said)
    if "\\begin" in gold and "\\begin" in said and not (a and b):
        return None
    if not (a and b):
        if (cells := nested(said if a else gold)) and (a or b):
            gold, said = (gold, cells) if a else (cells, said)
            return _same_matrices(gold, said)
        matrix = a or b
        if matrix is None:  # 2\\begin{pmatrix}…
            return None
        rows = rows_of(matrix["inside"])
        kind, vector = parts(said if a else gold)
        if kind == "()" and 1 in (len(rows), max(map(len, rows), default=0)):
            line = [cell for row in rows for cell in row]
            return _each(line, vector) if a else _each(vector, line)
        return False
    left, right = rows_of(a["inside"]), rows_of(b["inside"])
    if [len(row) for row in left] != [len(row) for row in right]:
        return False
    return _each([c for row in left for c in row], [c for row in right for c in row])


def _same_collections(gold: tuple[str, list[str]], said: tuple[str, list[str]]) -> bool | None:
    (kind, a), (other, b) = gold, said
    if kind in ("list", "set") and other in ("list", "set"):
        if len(a) == 1 == len(b):
            return _same_atoms(a[0], b[0]) if (kind, other) != ("set", "set") else same(a[0], b[0])
        spelt = kind == other and len(a) == 1 and len(set(b)) == len(b) > 1
        if spelt and not any("=" in member for member in b):  # one value in two spellings
            return all(same(a[0], member) is True for member in b)
        return _match(a, b, repeats="set" not in (kind, other))
    if kind == other:
        return _each(a, b)
    if kind == "()" and other == "list" and (values := by_names(b)):  # x=1, y=2
        return _each(a, values)
    if kind == "list" and other == "()" and (values := by_names(a)):
        return _each(values, b)
    if "list" in (kind, other) and any(len(x) == 1 and RELATION.search(x[0]) for x in (a, b)):
        return None  # an interval and an inequality
    return False


def _each(gold: Sequence[str], said: Sequence[str]) -> bool | None:
    """All of them in order: one that differs decides, else one that cannot be told."""
    if len(gold) != len(said):
        return False
    answers = [same(a, b) for a, b in zip(gold, said, strict=True)]
    return False if False in answers else None if None in answers else True


def _match(gold: Sequence[str], said: Sequence[str], repeats: bool = True) -> bool | None:
    """The same members in any order; without `repeats`, each at least once on both sides."""
    if not repeats:
        gold, said = _distinct(gold), _distinct(said)
    if len(gold) != len(said):
        return False
    left, unclear = list(said), False
    for a in gold:
        answers = [same(a, b) for b in left]
        if True in answers:
            del left[answers.index(True)]
        elif None in answers:
            unclear = True
        else:
            return False
    return None if unclear else True


def _distinct(members: Sequence[str]) -> list[str]:
    kept: list[str] = []
    for member in members:
        if not any(same(member, other) for other in kept):
            kept.append(member)
    return kept


def _same_atoms(gold: str, said: str) -> bool | None:
    if gold == said:
        return True
    if gold.endswith("%") or said.endswith("%"):
        a, b = gold.rstrip("%"), said.rstrip("%")
        answer = _same_atoms(a, b)
        if answer is not False or gold.endswith("%") == said.endswith("%"):
            return answer
        return _same_atoms(f"({a})/100", b) if gold.endswith("%") else _same_atoms(a, f"({b})/100")
    if RELATION.search(gold) or RELATION.search(said):
        return None
    if INFINITE.fullmatch(gold) or INFINITE.fullmatch(said.rpartition("=")[2]):
        return gold == said.rpartition("=")[2]
    if APPROX in gold:
        answers = [same(side, said) for side in _approximations(gold)]
        return True if True in answers else None if None in answers else False
    if APPROX in said:  # 2/3 ≈ 0.67 answers both, each where it is asked for; 4 ≈ 5 neither
        sides = _approximations(said)
        if far_apart(sides[0], sides_of(sides[-1])[-1]):  # of 97 \\approx K=8, too
            return False
        said = sides[-1 if NUMBER.fullmatch(gold) else 0]
    return same_sides(sides_of(gold), sides_of(said), same)


def _approximations(text: str) -> list[str]:
    """The sides of an approximation that are values: not the x of ``x \\approx 5``."""
    sides = [side for side in text.split(APPROX) if side]
    named = len(sides) > 1 and NAME.fullmatch(sides[0]) and not is_number(sides[0])
    return (sides[1:] if named else sides) or [text.replace(APPROX, "")]

r"""What is said of a name after a value: ``k\pi, k\in\mathbb{Z}``, ``\frac{1}{x}\ (x\neq 0)``."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from evenflow.rewards.math.expressions import Unreadable, read

WHERE = r"\where"
"""Stands in normalised text before the clause: ``2k\\where{k:Z}``."""
NUMBERS = (
    r"\\(?:mathbb|mathbf|mathrm|Bbb|bf)\s*\{?\s*(?P<set>[ZNRQC])\s*\}?|(?P<plain>[ZNR])(?![A-Za-z])"
)
# N^*, Z_+, R_{>0}
SPECIAL = r"(?:\s*[_^]\s*(?:\{[^{}]*\}|\\cdot|[-+*0-9]))*"
ANY = r"(?:(?:any|some|all)\s+|an?\s+)?"
INTEGER = (
    rf"{ANY}(?:arbitrary\s+)?(?:(?P<positive>positive|natural|nonnegative)\s+)?"
    r"(?:integers?|(?P<natural>natural\s+numbers?))"
)
CONSTANT = rf"{ANY}(?:arbitrary\s+|real\s+)*(?:constants?|numbers?|reals?)"
RELATION = r"(?:\\[lgn]eq?(?![A-Za-z])|[<>])"
NAME = r"(?P<name>[A-Za-z])"
TAILS = [
    re.compile(rf"{NAME}\s*\\in(?![A-Za-z])\s*(?:{NUMBERS})(?P<part>{SPECIAL})"),
    re.compile(
        rf"{NAME}\s*(?:is|are|为|是|an?)\s*"
        rf"(?:{INTEGER}|(?P<whole>整数)|(?P<constant>{CONSTANT}|(?:任意)?常数|实数))"
    ),
    re.compile(
        rf"(?:for\s+)?(?:all|any|every|each|some)\s+(?:{INTEGER}|(?P<constant>{CONSTANT}))?\s*{NAME}"
    ),
    re.compile(rf"(?P<relation>{NAME}\s*{RELATION}[^,;<>=]{{1,40}})"),
]
STARTS = re.compile(r"[,;(]|\b(?:where|for|with|when|if)\b")
LEADS = re.compile(r"(?:\s|where\b|for\b|with\b|when\b|if\b)+")
ORDER = re.compile(r"[<>]|\\(?:leq?|geq?|neq?|in|mid|cup|setminus)(?![A-Za-z])")
MOST = 4
"""Beginnings of a clause that are looked at."""
LETTERS = re.compile(r"\\[A-Za-z]+|[A-Za-z]")
CONSTANTS = frozenset("CcKkA")
"""Letters for what an integration, or a functional equation, leaves free."""
WHOLE = 1e-9


def with_clause(text: str) -> tuple[str, str]:
    """A text with spaces, and what its last clause says of a name in it: "Z", "N" or "R" and the
    name, as ``k:Z``, or a relation, as ``x\\neq-1``. Empty where it says nothing."""
    starts = list(STARTS.finditer(text))[-MOST:]
    for start in starts:
        value, tail = text[: start.start()].rstrip(" ,;"), text[start.end() :]
        if start[0] == "(":
            inside = tail.rstrip(" .")
            if not inside.endswith(")") or inside.count("(") != inside.count(")") - 1:
                continue
            tail = inside[:-1]
        tail = tail.strip(" .")
        lead = LEADS.match(tail)
        for candidate in {tail, tail[lead.end() :] if lead else tail}:
            if value and not ORDER.search(value) and (said := _said(candidate, value)):
                return value, said
    return text, ""


def _said(tail: str, value: str) -> str:
    for pattern in TAILS:
        found = pattern.fullmatch(tail)
        if not found or found["name"] not in names_in(value):
            continue
        groups = found.groupdict()
        if groups.get("relation"):
            return re.sub(r"\s+", "", found["relation"])
        if kind := groups.get("set") or groups.get("plain"):
            part = re.sub(r"[\s{}]", "", groups["part"])
            if part and kind != "N":  # Z^+ and Z_{\ge 0} are N's; Z^- and R^+ are their own
                kind = "N" if kind == "Z" and not re.search(r"-|<|\\l", part) else f"{kind}{part}"
            return f"{found['name']}:{kind}"
        if groups.get("constant"):
            return f"{found['name']}:R"
        natural = groups.get("positive") or groups.get("natural")
        return f"{found['name']}:{'N' if natural else 'Z'}"
    return ""


def names_in(text: str) -> set[str]:
    """Single letters of a formula; those of commands are none."""
    return {found[0] for found in LETTERS.finditer(text) if found[0][0] != "\\"}


def parted(text: str) -> tuple[str, str]:
    """The value and the clause of normalised text."""
    value, _, clause = text.partition(WHERE)
    return value, clause[1:-1]


def renamed(text: str, old: str, new: str) -> str:
    """With `new` in the place of the name `old`."""
    return LETTERS.sub(lambda m: new if m[0] == old else m[0], text)


def alike_named(gold: str, said: str, among: frozenset[str] | None = None) -> str:
    """`said` with the gold's name for the only one that it has and the gold has not."""
    ours, theirs = names_in(gold) - names_in(said), names_in(said) - names_in(gold)
    if len(ours) == len(theirs) == 1 and (among is None or ours | theirs <= among):
        return renamed(said, theirs.pop(), ours.pop())
    return said


Same = Callable[[str, str], bool | None]


def same_with_clauses(gold: str, said: str, same: Same) -> bool | None:
    """Two answers of which one has a clause: values first, with one name for the parameter.

    Where it runs over all integers, ``\\frac{\\pi}{4}+k\\pi`` is ``\\frac{5\\pi}{4}-n\\pi``. A
    relation that the gold does not have says what goes without saying; all integers are not the
    natural ones.
    """
    (a, ours), (b, theirs) = parted(gold), parted(said)
    relations = [":" not in clause for clause in (ours, theirs) if clause]
    if any(relations):
        answer = same(a, b)
        if ours and theirs and all(relations):
            return answer and same(ours, theirs)
        return answer if not ours else answer and None
    (x, _, kind), (y, _, other) = ours.partition(":"), theirs.partition(":")
    if kind and other and kind != other:
        return False  # one goes on in both directions, say
    b = renamed(b, y, x) if x and y and x not in names_in(b) else alike_named(a, b)
    answer = same(a, b)
    if answer or "Z" not in (kind, other):
        return answer
    return True if _same_families(a, b, x or y) else answer


def _same_families(gold: str, said: str, name: str) -> bool:
    """Whether both are linear in `name`, with one step up to its sign, and whole steps apart."""
    lines = [_line(text.rpartition("=")[2], name) for text in (gold, said)]
    if None in lines:
        return False
    (a, step), (b, other) = ((line or (0, 0)) for line in lines)
    if not step or abs(abs(step) - abs(other)) > WHOLE * abs(step):
        return False
    apart = (b - a) / step
    return abs(apart - round(apart.real)) <= WHOLE * max(1, abs(apart))


def _line(text: str, name: str) -> tuple[complex, complex] | None:
    try:
        expression = read(text)
        if expression.names != {name}:
            return None
        first, second, third = (complex(expression.at({name: Fraction(k)})) for k in range(3))
    except (Unreadable, OverflowError):
        return None
    step = second - first
    return (first, step) if abs(third - second - step) <= WHOLE * abs(step) else None

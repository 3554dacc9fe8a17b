"""What stands in a response's last box, with what around it changes its value."""

from __future__ import annotations

import re
from collections import deque

from evenflow.rewards.fences import fenced
from evenflow.rewards.math.claims import MOST, beside

BOX = re.compile(r"\\(?:boxed|fbox|framebox)(?![A-Za-z])\s*")
BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
TOKEN = re.compile(r"[^\s{}$]{1,40}")
FORMATTED = ("", "latex", "tex", "math", "markdown", "md", "text", "txt")
"""Languages of fenced blocks whose boxes are the response's own."""
AROUND = 40
"""Characters before a box that are looked at."""
# x = -[5], $-[5]$; "- [5]" is an item of a list.
SIGN = re.compile(
    r"(?:(?:=|\$|\\[(\[]|\()\s*-\s*(?:\\[,;! ]\s*)?|(?:^|\n|:\s|\bis\s)-(?:\\[,;! ]\s*)?)\Z"
)
# x > [5]; of x \leq [5] the box is the most that x is.
RELATION = re.compile(r"([A-Za-z]\s*(?:[<>≠]|\\(?:neq?|[lg]t)(?![a-z]))\s*)\Z")
FACTOR = re.compile(r"([0-9.]+\s*\\(?:cdot|times)\s*)\Z")
DENIED = re.compile(
    r"(?:\bnot|n't|\bcannot|\bnever)\s+(?:(?:be|equals?|to)\s+)*(?:\$|\\[(\[])?\s*\Z", re.IGNORECASE
)
BEHIND = re.compile(
    r"(?P<rest>\s*(?:\^\s*\{?\s*[0-9n]|!(?=\s*(?:\$|\\[)\]]))|\\(?:times|cdot|pi|pm|sqrt)(?![a-z]))[^$\n]{0,80}?)"
    r"(?=\$|\\[\])]|\n|[.,;]\s|[.,;]?\s*\Z)"
)
FILLED = re.compile(r"(?:[^$\n=.]|\.(?=[0-9])){0,80}=")
"""A box in a place of an equation, as in 3·[5] = 15, is the value of that place."""
SIMPLE = re.compile(r"[^-+=,]*")
"""What a sign before it, or a factor, applies to as a whole."""


def last_box(text: str) -> str | None:
    """What stands in the last ``\\boxed{…}`` or ``\\fbox{…}``; empty if cut off, None if none."""
    found = boxed(text)
    return None if found is None else found[0]


def boxed(text: str) -> tuple[str, int] | None:
    """The same, with where it ends. A box in a box is part of it."""
    spans: list[tuple[int, str, int]] = []  # where a box begins, what is in it, where it ends
    cut_off = False
    boxes = deque(BOX.finditer(text), MOST)
    if boxes and "```" in text:  # a program's are its own
        programs = [block for block in fenced(text) if block.language not in FORMATTED]
        own = [b for b in boxes if not any(p.start <= b.start() < p.end for p in programs)]
        boxes = deque(own) or boxes
    for box in boxes:
        if spans and box.start() < spans[-1][2]:
            continue
        begin, inside = box.span()
        if text.startswith("{", inside):
            end = _closing(text, inside)
            cut_off = end is None
            if end is not None:
                held = text[inside + 1 : end - 1].strip()
                held = BOX.sub("", held) if "box" in held else held
                if DENIED.search(text[max(0, begin - AROUND) : begin]):
                    continue
                spans.append(_with_its_sign(text, begin, held, end))
        elif token := TOKEN.match(text, inside):  # \boxed 5: TeX takes the next token
            cut_off = False
            spans.append((begin, token[0].rstrip(".,"), token.end()))
    if not boxes:
        return None
    if cut_off or not spans:
        return "", len(text)
    return beside(text, spans) or "", spans[-1][2]


def _closing(text: str, opened: int) -> int | None:
    """Where the brace is closed that is opened there; ``\\{`` is none."""
    depth = 0
    for token in BRACE.finditer(text, opened):
        if token[0] in "{}":
            depth += 1 if token[0] == "{" else -1
            if depth == 0:
                return token.end()
    return None


def _with_its_sign(text: str, begin: int, held: str, end: int) -> tuple[int, str, int]:
    """A box's span, with the sign, the factor and the power that it has in its formula."""
    before = text[max(0, begin - AROUND) : begin]
    if not held or FILLED.match(text, end):
        return begin, held, end
    value = held if SIMPLE.fullmatch(held) else f"({held})"
    if rest := BEHIND.match(text, end):
        held = value = f"({held}){rest['rest']}"
        end = rest.end()
    if SIGN.search(before):
        return begin - len(before) + before.rindex("-"), f"-{value}", end
    for pattern in (RELATION, FACTOR):
        if found := pattern.search(before):
            return begin - len(found[1]), f"{found[1]}{value}", end
    return begin, held, end

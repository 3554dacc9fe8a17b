"""Where a response goes on past its own end: another turn, another question, or the same again."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable

# Tokens behind which a text is another one.
STOP = re.compile(r"<(?:\|(?:endoftext|end_of_text|im_end|eot_id)\||end_of_turn|eos)>")
# Another question, or somebody else's turn; "Question 2:" may be a part of this one. Patterns that
# begin with a letter or a sign are searched for fast.
TURNS = [
    re.compile(
        r"\n(?:[#*\s]{0,9}(?:(?:Human|User|Question|Problem|Q|Instruction|问题|题目)\s?\*{0,2}[:：]|\[INST\])"
        r"|(?:user|human)\n)"
    ),
    *(
        re.compile(rf"{who}:(?:(?<=[.!?)}}$\]>]\s{who}:)|(?<=>{who}:))")
        for who in ("Human", "User", "Question")
    ),
    re.compile(r"<(?:\|im_start\||\|start_header_id\||start_of_turn)>\s?user\b"),
]
MOST = 20
"""Turns that are looked at."""
# What begins an answer, of which the last may be cut off; and the same without a value.
BEGINS = re.compile(r"\\(?:boxed|fbox)\s?\{|####|\banswer\b", re.IGNORECASE)
EMPTY = re.compile(r"(?:#### *|answer)[\s*:]*(?:(?:is|=)[\s$*:]*)?", re.IGNORECASE)
GOES_ON = re.compile(r"\w|[.,/][0-9]")
LAST = 6
"""Characters at a text's end that stand in it several times where it says the same again."""


def own_turn(text: str, commits: Callable[[str], object]) -> str:
    """`text` up to the token that ends it, or up to another question or turn behind an answer to
    this one, which `commits` finds."""
    for stop in STOP.finditer(text) if "<" in text else ():
        if before := text[: stop.start()].strip():
            text = before
            break
    for begin in sorted(found.start() for turn in TURNS for found in turn.finditer(text))[:MOST]:
        if commits(text[:begin]):
            return text[:begin].rstrip()
    return text


def without_cut_off(text: str) -> str:
    """`text` without the beginning of an answer at its end, where the answer was given twice
    before it, word for word: "The answer is 5. The answer is 5. The answer is"."""
    if text.count(text[-LAST:]) < 3:
        return text
    last = deque(BEGINS.finditer(text), 1)
    begin = last[0].start() if last else len(text)
    tail, before = text[begin:], text.rfind(text[begin:], 0, begin)
    said = text[before:begin]
    if not tail or before < 0 or not text.endswith(said, 0, before):
        return text
    open_box = tail.count("{") > tail.count("}")
    if open_box or EMPTY.fullmatch(tail) or GOES_ON.match(said, len(tail)):
        return text[:begin].rstrip()
    return text

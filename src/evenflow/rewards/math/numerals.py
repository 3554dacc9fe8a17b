"""Numbers in words: ``twenty-one``, ``one hundred and five``, ``minus two thirds``."""

from __future__ import annotations

import re

UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen"
)
TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
SMALL = {word: number for number, word in enumerate(UNITS.split())} | {
    word: 10 * number for number, word in enumerate(TENS.split(), start=2)
}
LARGE = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
PARTS = {
    "half": 2, "halves": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6,
    "seventh": 7, "eighth": 8, "ninth": 9, "tenth": 10, "hundredth": 100,
}  # fmt: skip
WORDS = re.compile(r"[A-Za-z]+(?:[\s-]+[A-Za-z]+){0,11}")


def in_figures(text: str) -> str | None:
    """A number or a fraction in words as LaTeX; None for anything else."""
    if not WORDS.fullmatch(text):
        return None
    words = re.split(r"[\s-]+", text.lower())
    if words[0] in ("negative", "minus") and len(words) > 1:
        value = in_figures(" ".join(words[1:]))
        return None if value is None or value.startswith("-") else f"-{value}"
    if words[0] in ("a", "an") and len(words) > 1:
        words[0] = "one"
    last = words[-1]
    below = PARTS.get(last) or PARTS.get(last.removesuffix("s"))
    if below is not None:
        above = 1 if len(words) == 1 and last == "half" else _whole(words[:-1])
        return None if above is None else rf"\frac{{{above}}}{{{below}}}"
    value = _whole(words)
    return None if value is None else str(value)


def _whole(words: list[str]) -> int | None:
    """The value of ``two hundred and five thousand twelve``, word by word; None if it is none."""
    total = group = 0
    before = ""
    for word in words:
        if word in SMALL:
            # seventy two, but no two seventy: that is 270 to some
            if before in SMALL and not (SMALL[before] >= 20 and 0 < SMALL[word] < 10):
                return None
            group += SMALL[word]
        elif word == "hundred" and 0 < group < 10 and before in SMALL:
            group *= 100
        elif word in LARGE and group and before != "and":
            total, group = total + group * LARGE[word], 0
        elif not (word == "and" and (before == "hundred" or before in LARGE)):
            return None
        before = word
    return None if before in ("", "and") else total + group

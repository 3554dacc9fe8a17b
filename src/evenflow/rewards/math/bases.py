"""Numbers in a base: ``1011_2``, ``(1011)_{\\text{two}}``, ``0b1011``, ``1F_{16}``."""

from __future__ import annotations

import re
from collections.abc import Sequence

NAMES = (
    "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
)
CALLED = {"binary": 2, "octal": 8, "hexadecimal": 16, "hex": 16}
BASES = {name: base for base, name in enumerate(NAMES.split(), start=2)}
DIGITS = r"(?P<digits>-?[0-9A-Za-z][0-9A-Za-z ,.]*?)"
WRAPPED = rf"(?:\(\s*{DIGITS}\s*\)|{DIGITS.replace('digits', 'bare')})"
IN_BASE = re.compile(
    rf"{WRAPPED}\s*(?:_\s*\{{?\s*\(?\s*(?:\\(?:text|mathrm|mbox)\s*\{{)?\s*(?:base\s*)?"
    rf"(?P<low>[0-9]{{1,2}}|{'|'.join(BASES)})\s*\}}?\s*\)?\s*\}}?"
    rf"|[,;]?\s*(?:\\(?:text|mathrm|mbox)\s*\{{)?\s*\(?\s*(?:in\s*)?base[\s-]*(?:\}}\s*)?"
    rf"(?P<said>[0-9]{{1,2}}|{'|'.join(BASES)})\s*\)?\s*\}}?"
    rf"|[,;]?\s*(?:\\(?:text|mathrm|mbox)\s*\{{)?\s*\(?\s*(?:in\s*)?(?P<called>{'|'.join(CALLED)})\s*\)?\s*\}}?)\s*\.?"
)
HINT = re.compile(r"_|base|binary|octal|hex")
PREFIXED = re.compile(r"(?P<sign>-?)0(?P<base>[bBoOxX])(?P<digits>[0-9A-Fa-f]+)")
PREFIXES = {"b": 2, "o": 8, "x": 16}
BASED = re.compile(r"-?[0-9A-Z.]+_(?:[2-9]|\{[0-9]{2}\})")
"""What `in_base` makes of them."""


def in_chain(gold: str, sides: Sequence[str]) -> bool:
    """Whether a chain, ``314_{10}=1242_6``, begins or ends with such a gold, and every number in
    it is the same."""
    if len(sides) < 2 or gold not in (sides[0], sides[-1]):
        return False
    numbers = [side for side in sides if BASED.fullmatch(side) or side.isdecimal()]
    return "." not in "".join(numbers) and len({*map(_value, numbers)}) == 1


def _value(number: str) -> int | None:
    digits, _, base = number.partition("_")
    try:
        return int(digits, int(base.strip("{}") or 10))
    except ValueError:  # a digit that the base does not have
        return None


def in_base(text: str) -> str | None:
    """A number in a base as ``1F_{16}``; in base ten, as it is without. None if it is none."""
    if found := PREFIXED.fullmatch(text):
        digits, base = found["sign"] + found["digits"], PREFIXES[found["base"].lower()]
    elif HINT.search(text) and (found := IN_BASE.fullmatch(text)):
        digits = re.sub(r"[ ,]", "", found["digits"] or found["bare"])
        named = found["low"] or found["said"] or found["called"]
        base = CALLED.get(named) or BASES.get(named) or int(named)
    else:
        return None
    digits = digits.upper()
    places = digits.removeprefix("-").replace(".", "", 1)
    if not 2 <= base <= 36 or not all(c.isalnum() and int(c, 36) < base for c in places):
        return None  # x_1 is a name
    if base == 10:
        return digits
    sign, whole = ("-" if digits[0] == "-" else ""), digits.removeprefix("-").lstrip("0")
    return f"{sign}{whole or '0'}_{base if base < 10 else f'{{{base}}}'}"

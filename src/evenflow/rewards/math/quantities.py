"""Values with units: 90 minutes are 1.5 hours and ``1 h 30 min``, and 5 cm are not 5 m."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from evenflow.rewards.math.normalisation import TRIGONOMETRY, normalise
from evenflow.rewards.math.spelling import in_latex
from evenflow.rewards.math.values import is_number, same_values
from evenflow.rewards.math.wording import TEXT

LONGEST = 120
"""Characters of a text that is looked at."""

# What is measured: its units' names without an s, and how many of the first unit each is.
UNITS = {
    "length": "m meter metre:1 in inch inche:0.0254 ft foot feet:0.3048 yd yard:0.9144"
    " mi mile:1609.344",
    "mass": "g gram gramme:1 tonne:1000000 oz ounce:28.349523125 lb pound:453.59237",
    "time": "s sec second:1 min minute:60 h hr hour:3600 day:86400 week:604800",
    "months": "month:1 yr year:12 decade:120 century centurie:1200",
    "area": "acre:4046.8564224 ha hectare:10000",
    "money": "cent:1 dollar usd:100",
    "angle": "degree deg:1",
    "arc": "radian rad:1",
    "cups": "cup:1 pint:2 quart:4 gal gallon:16",
    "current": "A ampere:1",
    "voltage": "V volt:1",
    "power": "W watt:1",
    "energy": "J joule:1 eV electronvolt:1.602176634e-19",
    "force": "N newton:1",
    "pressure": "Pa pascal:1",
    "frequency": "Hz hertz:1",
    "amount": "mol mole:1",
    "resistance": "Ω ohm:1",
    "charge": "C coulomb:1",
    "capacitance": "F farad:1",
    "inductance": "H henry henrie:1",
    "field": "T tesla:1",
    "volume": "L l liter litre:1/1000",
    "speed": "mph:0.44704 kph:5/18",
}
COMPOSED = {
    "area": (("length", 2),),
    "volume": (("length", 3),),
    "speed": (("length", 1), ("time", -1)),
}
"""What is measured in units of other kinds."""
PREFIXED = (
    "m meter metre g gram gramme s second A ampere V volt W watt J joule N newton Pa pascal"
    " Hz hertz mol mole L l liter litre eV electronvolt Ω ohm C coulomb F farad H henry T tesla"
)
PREFIXES = {
    "T tera": "1000000000000",
    "G giga": "1000000000",
    "M mega": "1000000",
    "k kilo": "1000",
    "c centi": "1/100",
    "m milli": "1/1000",
    "µ micro": "1/1000000",
    "n nano": "1/1000000000",
    "p pico": "1/1000000000000",
}


class Unit(NamedTuple):
    """How many of the first unit of what is measured; and that, as (kind, power), sorted."""

    size: Fraction
    measured: tuple[tuple[str, int], ...]


def _units() -> Iterator[tuple[str, Unit]]:
    for kind, row in UNITS.items():
        for each in re.findall(r"[^:]+:\S+", row):
            names, _, size = each.partition(":")
            unit = Unit(Fraction(size), COMPOSED.get(kind, ((kind, 1),)))
            for name in names.split():
                yield name, unit
                for prefixes, times in PREFIXES.items() if name in PREFIXED.split() else ():
                    prefix = prefixes.split()[len(name) > 3]
                    yield prefix + name, unit._replace(size=unit.size * Fraction(times))


KNOWN = dict(_units())
RADIAN = KNOWN["radian"]
"""No fraction of a degree: `_product` counts it in degrees."""
for spelled in ("pm", "pH"):  # in the afternoon; an acid
    del KNOWN[spelled]
UNITLESS = re.compile(r"[-+0-9.,/() ]*")
PLAIN = [
    (re.compile(rf"{TEXT}\{{((?:[^{{}}]|\{{[^{{}}]*\}})*)\}}"), r" \1 "),
    (re.compile(r"\^\s*\{?\s*\\circ\s*\}?|\\degree(?![a-z])"), " degree "),
    (re.compile(r"(?<=[0-9])(?:,|\{,\}|,\s?\\!)(?=[0-9]{3}(?![0-9]))"), ""),
    (re.compile(r"¢|\\cent(?![a-z])"), " cent "),
    (re.compile(r"\\[,;:! ]|~|\\q?quad(?![a-z])"), " "),
    (re.compile(r"\\mu(?![a-z])\s*"), "µ"),
    (re.compile(r"(?:(?<![A-Za-z])([kMGmµ])\s*)?\\Omega(?![a-z])"), r" \1Ω"),
    (re.compile(r"\\sec(?![a-z])"), "sec"),
    (
        re.compile(
            r"\\[dt]?frac\s*\{\s*([A-Za-z](?:[^{}]|\{-?[0-9]\}){0,30})\}"
            r"\s*\{\s*([A-Za-z](?:[^{}]|\{-?[0-9]\}){0,30})\}"
        ),
        r" \1/\2",
    ),
    # \$5, $5; of $5$ the signs say that it is a formula
    (re.compile(r"^\s*\$?\s*(-?)\s*\\\$\s*([0-9.]+)\s*\$?\s*\.?$"), r"\1\2 dollar"),
    (re.compile(r"^\s*(-?)\s*\$\s*([0-9.]+)\s*\.?$"), r"\1\2 dollar"),
    (re.compile(r"(?<!\\)\$"), " "),
]
# Of a product of units: "m s^{-1}", "km/h", "square feet", "miles per hour".
PIECE = re.compile(
    r"\s*(?:(?P<below>/|per\b)|\*|\\cdot(?![a-z])|(?:(?P<power>square|sq|cubic|cu)\b\.?\s*)?"
    r"(?P<name>[A-Za-zµΩ]+)\.?(?:\s*\^\s*\{?\s*(?P<exponent>-?\s*[0-9])\s*\}?)?)\s*"
)
POWERS = {None: 1, "square": 2, "sq": 2, "cubic": 3, "cu": 3}
WORD = re.compile(r"(?<![A-Za-zµΩ\\])[A-Za-zµΩ]")
# Of a sum: "1 h 30 min", "7 dollars and 50 cents".
PART = re.compile(
    r"\s*(?:,\s*)?(?:\band\b\s*)?(?P<value>[0-9]+(?:\.[0-9]+)?)\s*(?P<name>[A-Za-zµΩ]+)\.?"
)


class Quantity(NamedTuple):
    """A sum of values, each of a unit, of one kind."""

    parts: list[tuple[str, Unit]]

    def counted_in(self, unit: Unit) -> str:
        return "+".join(f"({value})({each.size / unit.size})" for value, each in self.parts)


def same_quantities(gold: str, said: str) -> bool | None:
    """Whether two values are the same, counted in one unit, as `gold` and `said` are written.

    None where their units decide nothing: one has none, both have the same, or they do not measure
    the same thing. A sum of units may stand for a number in one of them, as 7 dollars and 50 cents
    for 7.50, and an angle in degrees for one with π.
    """
    a, b = quantity(gold), quantity(said)
    if a and b:
        (value, unit), (again, other) = a.parts[0], b.parts[0]
        if unit.measured != other.measured:
            return None
        single = len(a.parts) == len(b.parts) == 1
        if single and unit == other and r"\pi" not in value + again:
            return None
        return same_values(a.counted_in(unit), b.counted_in(unit))
    one = a or b
    if one is None or not is_number(bare := normalise(said if a else gold)):
        return None
    if len(one.parts) > 1:
        readings = [one.counted_in(unit) for _, unit in one.parts]
    elif one.parts[0][1] == KNOWN["degree"] and r"\pi" in bare:
        readings = [rf"({one.parts[0][0]})\pi/180"]
    else:
        return None
    return any(same_values(bare, reading) for reading in readings) or None


@lru_cache(maxsize=8192)
def quantity(text: str) -> Quantity | None:
    """The value and its unit, or several; None where there is no number, or no unit known here."""
    if len(text) > LONGEST or UNITLESS.fullmatch(text) or TRIGONOMETRY.search(text):
        return None
    text = in_latex(text)
    for pattern, by in PLAIN:
        text = pattern.sub(by, text)
    text = text.strip(" .")
    return _sum(text) or _product(text)


def _sum(text: str) -> Quantity | None:
    parts, at = [], 0
    while at < len(text):
        if not (found := PART.match(text, at)):
            return None
        parts.append((found["value"], found["name"]))
        at = found.end()
    if len(parts) < 2:
        return None
    if _known(parts[0][1]) == KNOWN["hour"]:  # 1h30m
        parts = [(value, "min" if name == "m" else name) for value, name in parts]
    units = [unit for _, name in parts if (unit := _known(name))]
    if len(units) < len(parts) or len({unit.measured for unit in units}) > 1:
        return None
    if any(unit.size <= smaller.size for unit, smaller in pairwise(units)):  # 3 cm, 4 cm: a list
        return None
    return Quantity([(value, unit) for (value, _), unit in zip(parts, units, strict=True)])


def _product(text: str) -> Quantity | None:
    for start in WORD.finditer(text):
        if unit := _unit(text[start.start() :]):
            value = normalise(text[: start.start()])
            apart = len(text) - start.start() > 1 or text[: start.start()].endswith(" ")
            if not apart or not is_number(value):
                return None
            if unit == RADIAN:
                return Quantity([(rf"({value})\cdot 180/\pi", KNOWN["degree"])])
            return Quantity([(value, unit)])
    return None


def _unit(text: str) -> Unit | None:
    """The unit that the whole of a text is."""
    size, powers, below, at = Fraction(1), Counter[str](), False, 0
    while at < len(text):
        if not (found := PIECE.match(text, at)) or found.end() == at:
            return None
        at, below = found.end(), below or bool(found["below"])
        if not found["name"]:
            continue
        if (unit := _known(found["name"])) is None:
            return None
        power = POWERS[found["power"]] * int((found["exponent"] or "1").replace(" ", ""))
        power = -power if below else power
        size *= unit.size**power
        for kind, exponent in unit.measured:
            powers[kind] += exponent * power
    return Unit(size, tuple(sorted((kind, n) for kind, n in powers.items() if n)))


def _known(name: str) -> Unit | None:
    for spelling in (name, name.lower()) if len(name) > 1 else (name,):
        if unit := KNOWN.get(spelling) or KNOWN.get(spelling.removesuffix("s")):
            return unit
    return None

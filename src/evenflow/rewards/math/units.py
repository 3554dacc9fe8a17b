"""What stands behind a number and is no part of it: units, what was counted."""

from __future__ import annotations

import re

from evenflow.rewards.math.wording import QUALITIES, TEXT

# What makes another number of it, or takes it back.
PARTS = "hal(?:f|ves)|thirds?|(?:four|fif|six|seven|eigh|nin|ten|hundred|thousand|million)ths?"
NUMBER = r"\\?pi|one|two|three|four|five|six|seven|eight|nine|ten|[0-9]+"
CHANGED = (
    rf"(?:{PARTS}|squared|cubed|factorial|halved|doubled|tripled|lakh|crore|bn|remainder|tens|hundreds|score|gross|negative|below|etc|among|raised"
    r"|in\s+reverse|up\s+to|as\s+an?)\b"
    r"|(?:st|nd|rd|th)\s+[a-z]"
    rf"|(?:(?:times|minus|plus|over|out\s+of)\s+(?:{NUMBER})|choose\s+\w+|to\s+the\s+\w+th)\b"
    r"|[^{}]{0,40}\b(?:not|never|wrong|incorrect|impossible|at\s+(?:most|least|minimum|maximum)"
    r"|fail\w*|exclud\w+|reject\w+|cannot|maybe|perhaps|sometimes|alternatively|otherwise|divided\s+by"
    r"|(?:more|less|fewer)\s+than|with\s+(?:a\s+)?remainder|minus\s+the|point\s+\w+|divisible|complement|quadrillion"
    r"|below\s+zero|(?:lower|upper)\s+bound|percent\s+(?:less|more)|in\s+(?:binary|hex|octal))\b"
)
# Letters that are units by themselves in \text or \mathrm; e, i and x are none, nor bold ones.
LETTER = r"[mshgtlLNJWVAKCFTHS]\s*\}"
NO_LETTER = r"(?!\\(?:textbf|textit|mathbf|mathit|operatorname)\*?\s*\{\s*[A-Za-z]\s*\})"
# Another number beside the words: 3 hr 20 min, 6 or 7; but m^2, 100 km, and so many places.
ANOTHER_NUMBER = (
    r"[^{}]*(?<![\w^.])(?<!\^-)(?<!\bper )[0-9]+"
    r"(?![0-9]|\.[0-9]|\s*/\s*[A-Za-z]|\s*(?:decimal|significant|sig\b|digits?\b|places?\b|[ds]\.?\s?[pf]\b))"
)
# A clause of a list, a number's word, a base, and a time of day, are no units.
KEPT = (
    rf"(?!{ANOTHER_NUMBER}|[^{{}}]{{0,80}}\bor\b)"
    r"(?!\s*(?:,|;|[万亿千百十]|(?:and|or|thousand|million|billion|trillion|hundred|dozen)\b|k\s*\}"
    rf"|{CHANGED}|(?:where|is|are|for\s+(?:all|any|every|each|some))\b"
    r"|\(?\s*(?:in\s+)?(?:base|binary|octal|hex(?:adecimal)?)\b"
    rf"|[apAP]\.?\s?[mM]\b|\\pi|(?!{LETTER})[A-Za-z]\s*\}}))"
)
POWER = r"(?:\s*\^\s*(?:\{\s*-?\s*[0-9]\s*\}|-?[0-9]))?"
INSIDE = r"(?:[^{}]|\{[^{}]*\})*"
JOINED = r"(?:\s*\\cdot)?\s*"
WORD = rf"{NO_LETTER}{TEXT}\{{{KEPT}(?=[^{{}}]*[^\W\d_]){INSIDE}\}}{POWER}"
# Letters that are units only beside others: 5m may be a product, 5 m/s is none.
SYMBOL = r"(?:[kcmn]?m|[km]?g|m?s|hr?|min|m?L|[kM]?[NJWV]|A|K|k?mol|[kM]?Pa|[kM]?Hz|ft|mi|yd|lb|in)"
SYMBOLS = rf"{SYMBOL}{POWER}(?:\s*(?:\\cdot|\*|\s)\s*{SYMBOL}{POWER})*"
BELOW = rf"\s*/\s*(?:{SYMBOLS}|\(\s*{SYMBOLS}\s*\))"
FRACTION = (
    rf"\\[dt]?frac\s*\{{\s*(?:{WORD}(?:{JOINED}{WORD})*|{SYMBOLS})\s*\}}"
    rf"\s*\{{\s*(?:{WORD}(?:{JOINED}{WORD})*|{SYMBOLS})\s*\}}"
)
UNIT = rf"(?:{WORD}|{FRACTION})"
VALUE = r"(?:(?<=[0-9}])|(?<=\\pi)(?=\s))"
END = r"(?=\s*[.,;]*\s*$)"
COUNTED = (
    r"(?!(?:and|or|base|million|billion|trillion|thousand|hundred|dozen|percent|times|approx\w*)\b"
    rf"|{CHANGED})"
)
LETTERS = r"[A-Za-z\u00c0-\u024f\u0400-\u04ff]"
"""Of words in Latin or Cyrillic letters."""
UNITS = [
    # 18 a day, 18 every day at noon, 18/day
    re.compile(
        rf"{VALUE}(?:\s+(?:an?|each|every)\s+{COUNTED}[A-Za-z]{{3,}}(?:\s+[A-Za-z]+){{0,9}}"
        rf"|\s*/\s*(?:day|week|month|year|hour|person)){END}"
    ),
    # 204 分钟, 204分
    re.compile(rf"(?<=[0-9}}])\s*(?:分钟|分鐘|分|小时|小時|美元){END}"),
    # 5\,\Omega, 5\ \mu\text{m}
    re.compile(
        rf"(?<=[0-9}}])\s*(?:(?:{TEXT}\{{\s*[kM]\s*\}}\s*)?\\Omega|\\mu\s*(?:{WORD}|[msgLFAVW]\b)){END}"
    ),
    # 5 \text{ cm}^2, 9.8 \frac{\text{m}}{\text{s}^2}, 3\,\mathrm{m}\cdot\mathrm{s}^{-1}
    re.compile(rf"(?<=[0-9A-Za-z)}}\]])\s*{UNIT}(?:\s*(?:/|\\cdot)?\s*{UNIT})*{END}"),
    # 9.8 m/s^2, 60 km/h, 5 m s^{-1}, 3 kg m^2/s
    re.compile(
        rf"(?<=[0-9}}])\s*(?:{SYMBOLS}{BELOW}|{SYMBOL}{POWER}\s+{SYMBOL}\s*\^\s*\{{?-[0-9]\}}?){END}"
    ),
    # 2/3 of the pizza
    re.compile(
        rf"{VALUE}\s+of\s+(?:them|(?:the|an?|all|his|her|their|its|our|your|my)\s+[A-Za-z]+){END}"
    ),
    # 5 apples, 60 miles per hour, 3 square feet
    re.compile(
        rf"{VALUE}\s+{COUNTED}(?:{LETTERS}{{3,}}|{SYMBOL}(?=\s+per\b))\.?(?:\s+{LETTERS}+\.?|\s*/\s*[A-Za-z]{{2,}})*{POWER}{END}"
    ),
    # 8 \text{ pairs }(a,b), 8 \text{ solutions in }[0,2\pi]
    re.compile(
        rf"(?<=[0-9}}])\s*{TEXT}\{{\s*(?:(?:distinct|different|possible|such|real|ordered|positive)\s+){{0,2}}"
        rf"(?:values|pairs|triples|solutions|integers|numbers|ways|points|roots|elements"
        rf"|subsets|triangles|functions|sets)\s*(?!{CHANGED})(?:(?:of|in|between|from|for|with|that|satisfying|such)\b[^{{}}]*)?\}}"
        r"\s*(?:\([A-Za-z, ]*\)|\[[^\[\]()]*[\])]|[A-Za-z])?\s*$"
    ),
    # 25 个, 12平方厘米, 6通り; but 25万, 25以上, 5成
    re.compile(
        r"(?<=[0-9}])\s*(?![^\s]*[万亿千百十半余多以上下约倍成折之分点未不或和与到至])[\u3040-\u30ff\u4e00-\u9fff]{1,8}\s*[。.]?\s*$"
    ),
    # 5cm, 12 ft, 5 m
    re.compile(
        rf"{VALUE}(?:\s*(?:cm|km|mm|kg|mg|ft|mph|kph|hrs?|mins?|ml|mL|lbs?|oz|sq\b\.?(?:\s*[A-Za-z]+)?|USD|degrees?|deg"
        rf"|dollars?|cents?|[kM]?Hz|k?Pa)|(?<=[0-9])\s+(?:[gshL]|[kcmn]?m|[kmM]?[NJWVA]|K|in\b\.?|mi|yd)){POWER}{END}"
    ),
]
QUALITY = re.compile(rf"\b{QUALITIES}s?\b", re.IGNORECASE)
ORDER = re.compile(r"[<>]|\\(?:[lgn]eq?|[lg]eqslant|in)(?![A-Za-z])|\\\{")
TEMPERATURE = re.compile(
    r"(\^\s*\{?\s*\\circ\s*\}?|\\degree)\s*(?:\\(?:text|mathrm)\s*\{\s*[CFK]\s*\}|[CFK])(?![A-Za-z])"
)
FACTORS = {
    "dozen": "12",
    "hundred": "10^{2}",
    "thousand": "10^{3}",
    "lakh": "10^{5}",
    "million": "10^{6}",
    "crore": "10^{7}",
    "billion": "10^{9}",
    "trillion": "10^{12}",
}
LARGE = re.compile(
    rf"(?<=[0-9])\s*(?P<opened>{TEXT}\{{)?\s*(?P<words>(?:{'|'.join(FACTORS)})"
    rf"(?:\s+(?:{'|'.join(FACTORS)}))*)\b(?(opened)\s*(?P<closed>\}})?)"
)
BELOW_ZERO = re.compile(
    rf"\s*(?P<number>[0-9.]+)\s*(?:\^?\s*\{{?\s*\\circ\s*\}}?|{TEXT}\{{|[CF]\b|degrees?|[Cc]elsius|[Ff]ahrenheit|[}}\s])*"
    r"below\s+zero\s*\}?"
)
MEMBER = re.compile(
    rf"\s*(?:,(?![0-9]{{3}}(?![0-9]))|;)\s*(?:and\s|or\s|{TEXT}\{{\s*(?:and|or)\s*\}})?\s*"
    rf"|\s*(?:{TEXT}\{{\s*,?\s*(?:and|or)\s*\}}|\b(?:and|or)\b)\s*"
)
LIST = re.compile(
    r"(?P<open>\s*(?:[(\[]|\\\{)?)(?P<inside>.*?)(?P<close>(?:[)\]]|\\\})?\s*)", re.DOTALL
)


def without_units(text: str) -> str:
    """`text` without the units at its end; million and its kind are numbers.

    A unit that each member of a list has is gone from each.
    """
    if "circ" in text or "degree" in text:
        text = TEMPERATURE.sub(r"\1", text)
    text = LARGE.sub(_in_figures, text)
    if "below" in text and (below := BELOW_ZERO.fullmatch(text)):
        return f"-{below['number']}"
    return _without_unit_of_each(text) or _without_unit(text)


def _without_unit(text: str) -> str:
    for pattern in UNITS:
        text = pattern.sub(_unless_quality, text)
    return text


def _unless_quality(found: re.Match[str]) -> str:
    """``n \\text{ odd}`` and ``n>3 \\text{ odd}`` say what n is; 5 odd numbers are five."""
    before = found.string[: found.start()]
    a_set = before[-1] in ")]" and "," in before
    named = before[-1].isalpha() or a_set or ORDER.search(before)
    return found[0] if named and QUALITY.search(found[0]) else ""


def _without_unit_of_each(text: str) -> str | None:
    """``3, 4`` of ``3 cm, 4 cm``; None if the members have no unit, or units that differ."""
    found = LIST.fullmatch(text)
    between = MEMBER.findall(found["inside"]) if found else []
    if not found or not between:
        return None
    members = MEMBER.split(found["inside"])
    values = [_without_unit(member) for member in members]
    units = {
        re.sub(r"\W", "", member[len(value) :]).removesuffix("s")
        for member, value in zip(members, values, strict=True)
    }
    if len(units) > 1 or units == {""}:
        return None
    joined = zip(values, [*between, ""], strict=True)
    return found["open"] + "".join(value + by for value, by in joined) + found["close"]


def _in_figures(found: re.Match[str]) -> str:
    figures = "".join(rf"\cdot {FACTORS[word]}" for word in found["words"].split())
    return figures + (found["opened"] if found["opened"] and not found["closed"] else "")

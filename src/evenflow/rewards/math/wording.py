"""What surrounds a value without being one: words before it, the letter of a choice."""

from __future__ import annotations

import re

TEXT = r"\\(?:text|mbox|textnormal|textrm|textbf|textit|mathrm|mathbf|mathit|operatorname)\*?\s*"

AND = r"(?:(?:and|or|und|oder|et|ou|y|o|e|и|или)(?!['’\w]))"
"""Between two answers, in languages that models answer in."""
COMMAND = re.compile(r"\\[A-Za-z]+")
LONG_WORD = re.compile(r"[A-Za-z]{4}")
# Words before a value that say nothing about it: "less than 5" is kept.
IDLE = (
    r"(?:the|an|final|correct|right|answer|solution|result|value|total|sum|number|count|area|volume"
    r"|length|perimeter|probability|distance|there|here|it|has|have|had|he|she|they|we|get|so|thus"
    r"|hence|therefore|is|are|was|were|be|equals|equal|to|of|option|choice|quadrant|graph|figure|statement|point|ordered|pair|remainder|about|approximately"
    r"|approx\.?|roughly|around)"
)
DENIED = "not|no|never|less|more|least|most|minus|negative|greater|fewer|below|above|between"
# What makes another number of the value that words name.
OTHER = (
    rf"{DENIED}|half|twice|thrice|double|triple|times|squared?|cubed?|square\s+root|reciprocal|opposite|inverse"
    r"|bound|exclud\w+|isn|aren|wasn|wrong|part|third|quarter|tenth|about|almost|nearly|thought|guess\w*|hoped|wanted"
)
LEAD = re.compile(
    rf"^\s*(?:(?:the\s+)?(?:final\s+|correct\s+)?answer(?:\s+is\b|\s*[:=])"
    rf"|{TEXT}\{{(?![^{{}}]*\b(?:{OTHER})\b)"
    r"[^{}0-9]*"
    r"(?:\b(?:is|are|equals|was|were|has|have|had|gets?|needs?|pays?|earns?|spends?|makes?)|[:=])\s*\}"
    rf"|{TEXT}\{{\s*(?:{IDLE}\b[\s:,]*)+\}}"
    rf"|(?:{IDLE}\b[\s:,]*)+(?=[-0-9(\[\\$]|[A-J](?:\W*$|\s*[).:])|[IVX]+\W*$)"
    rf"|{TEXT}\{{\s*(?:{IDLE}\b[\s:,]*)+(?=[-0-9$]|[A-J]\W*$|[IVX]+\W*$))\s*[:=]?\s*(?=\S)",
    re.IGNORECASE,
)
# What a number is, in words before it: "The number of ways is 7", "Total cost = 12", 一共有12个.
NAMED_VALUE = re.compile(
    rf"\s*(?:(?!.*\b(?:{OTHER})\b)(?=[A-Za-z'’ ]*[A-Za-z]{{4}})[A-Za-z][A-Za-z'’ ]{{2,80}}"
    r"(?:\s(?:is|are|was|were|equals)\s+|\s?[:=]\s*)(?=[-0-9$\\]\S*(?:\s+[A-Za-z]+){0,3}\W*$)"
    r"|(?![^0-9]*[不非负減减约倍少多小大半除])[\u4e00-\u9fff，]{1,12}\s?(?=[0-9$]))",
    re.IGNORECASE,
)


def without_lead(text: str) -> str:
    """`text` without idle words before the value, as in ``\\text{The answer is }5``."""
    found = LEAD.match(text)
    if not found:
        return text
    rest = text[found.end() :]
    return rest.replace("}", "", 1) if found[0].count("{") > found[0].count("}") else rest


TRUTHS = ("yes", "no", "true", "false")
# What an answer of one word is said of, or a kind of: "The graph is an ellipse", "even function".
OF_WORD = re.compile(
    rf"(?!.*\b(?:{OTHER}|nor|or|if|but|{'|'.join(TRUTHS)})\b)(?:(?:[a-z]+\s+){{1,7}}(?:is|are|was|represents)\s+(?:facing\s+)?)?"
    r"(?:(?:an?|the)\s+)?(?P<word>[a-z]{3,})(?:\s+(?:functions?|numbers?|triangles?))?\.?",
    re.IGNORECASE,
)
IN_TEXT = re.compile(rf"\s*{TEXT}\{{([^{{}}]*)\}}\s*\.?\s*")


def with_one_word(gold: str, said: str) -> str:
    """The word of a sentence that says what the gold does, in one word; any other text as it
    is."""
    ours, theirs = (IN_TEXT.sub(r"\1", text).strip(" $.") for text in (gold, said))
    if not ours.isalpha() or len(theirs) > 100:
        return said
    found = OF_WORD.fullmatch(theirs)
    return ours if found and found["word"].lower() == ours.lower() else said


def without_name(gold: str, said: str) -> str:
    """`said` without the words that name its value, where the gold has a value alone."""
    found = NAMED_VALUE.match(said)
    is_value = re.search(r"\d", gold) and not LONG_WORD.search(COMMAND.sub("", gold))
    return said[found.end() :] if found and is_value else said


TRUTH = rf"(?P<word>{'|'.join(TRUTHS)})"
REASONED = re.compile(
    rf"\s*(?:{TEXT}\{{)?\s*{TRUTH}\b\s*(?:\}}\s*)?(?:[,;:.]|[-–—]|(?:because|since|as)\b)"
    r"(?!.*\b(?:or|yes|no|true|false|but|if|unless|except|only|when\w*|provided|apart|for|really|some\w*"
    r"|assum\w+|under|maybe|perhaps|possibly|almost|until|while|where|otherwise|however|although"
    r"|actually|wait)\b).*",
    re.IGNORECASE | re.DOTALL,
)
STATED = re.compile(
    rf"\s*(?:{TEXT}\{{)?\s*(?:(?:the|this|that)\s+)?(?:\w+\s+is\s+)?{TRUTH}\s*[.}}\s]*",
    re.IGNORECASE,
)


def in_one_word(text: str) -> str:
    """Yes, no, true or false, of ``\\text{Yes, because }5>3`` and ``\\text{It is true}``; any other
    text as it is."""
    found = REASONED.fullmatch(text) or STATED.fullmatch(text)
    return found["word"] if found else text


SENSE = re.compile(
    r"(?<![\\\w])(?P<word>north|south|east|west|up|down|above|below|left|right|(?P<against>counter-?|anti-?)?clockwise"
    r"|profit|loss|early|late|before|after|ahead|behind|into|out\s+of|inside|outside|forward|backward"
    r"|increas(?:e|ing)|decreas(?:e|ing)|faster|slower|max(?:imum)?|min(?:imum)?|(?:earli|lat)er|more|fewer|less)(?:wards?|s|d)?\b",
    re.IGNORECASE,
)


SENSES = {
    "max": "maximum",
    "min": "minimum",
    "earlier": "early",
    "later": "late",
    "fewer": "less",
    "increasing": "increase",
    "decreasing": "decrease",
}


def senses(text: str) -> list[str]:
    """Where a value points, in words and in their order: east, north for "30° east of north"."""
    found = SENSE.finditer(text)
    words = ("against the clock" if m["against"] else m["word"].lower() for m in found)
    return [SENSES.get(word, word) for word in words]


QUALITIES = (
    r"(?:(?:non)?(?:positive|negative)|odd|even|prime|composite|(?:ir)?rational|real|complex|integers?"
    r"|integral|natural|whole|(?:in)?finite|(?:un)?bounded|(?:in|de)creasing|constant|true|false)"
)
SYNONYMS = {
    "dne": "doesnotexist",
    "notpossible": "impossible",
    "therearenone": "none",
    "thereisnone": "none",
}
OF_NAME = re.compile(
    r"(?:(?:for)?(?:all|any|every))?(?:[a-z](?:is|are)?)?(?:an?)?"
    rf"(?P<quality>{QUALITIES}{{1,2}}?)(?:integers?|numbers?)?[a-z]?"
)


UNSAID = re.compile(
    r"[^\w<>^%+\-./!,\[\]]|_|(?<![0-9])[.,]|[.,](?![0-9])|(?<=[0-9]),(?=[0-9]{3}(?![0-9]))"
    r"|(?<![0-9])[/!]|/(?![0-9])|(?<=[^\W\d_]{2})-(?![0-9])|(?<=\w)-(?=[^\W\d_]{2})|\+(?!\w)"
)
"""Of an answer in words: what is no sign of a number, nor the end of an interval."""


def letters(text: str) -> str:
    """What is compared of an answer in words: ``nisodd`` and ``alloddn`` are odd. Signs and points
    of numbers count, other punctuation does not."""
    found = UNSAID.sub("", text.casefold())
    quality = OF_NAME.fullmatch(found)
    return quality["quality"] if quality else SYNONYMS.get(found, found)


# --- choices -----------------------------------------------------------------------------------

# No two ways to read one text: with a choice at every \text{ a long row of them would never end.
OPENING = r"(?:\\(?:text|textbf|textrm|mathrm|mathbf|mbox|bf|rm)(?![A-Za-z])|\*\*|\$|\{|\s)*"
LABEL = re.compile(
    rf"^{OPENING}(?:\(\s*(?P<between>[A-J])\s*\)|(?P<before>[A-J])\s*(?:\)|[.:](?=[\s}}*]|\\|$)))"
    r"(?P<rest>.*)$",
    re.DOTALL,
)
ANOTHER = re.compile(r"(?<![A-Za-z0-9(\\])(?:\([A-J]\)|[A-J][).:](?=\s|\\|\}|$))")


AGAINST = re.compile(
    r"[\s})*:,.~$-]*(?:\\text\s*\{\s*)?(?:(?:is|was)\s+)?(?:not\b|isn|in(?:correct|valid)\b|wrong\b|false\b"
    r"|maybe\b|perhaps\b|eliminated\b|excluded\b|if\b|unless\b|[A-J][\s}.]*$)"
)
"""What takes a choice back, or names another one."""


def choice(text: str) -> tuple[str, str] | None:
    """The letter of a choice and what it says: "C" and "5 apples" of ``(C) 5 apples``.

    None for what is no choice, or several.
    """
    found = LABEL.match(text)
    if not found or ANOTHER.search(found["rest"]):
        return None
    if AGAINST.match(found["rest"]):
        return None
    rest = found["rest"].strip(" *$~").removeprefix("\\ ").removeprefix("\\quad").strip()
    if rest.startswith("}"):  # of \textbf{(C)} 5
        rest = rest[1:].strip(" *$~").removeprefix("\\ ").strip()
    elif rest.count("}") > rest.count("{") and rest.endswith("}"):  # of \text{(C) 5}
        rest = rest[:-1].strip()
    if rest[:1] in (",", ";", "/", "+", "-", "=", "^", "(", "|", "&") or re.match(
        r"(?:\\text\{)?\s*(?:or|and)\b|\\(?:cdot|times|cup|cap|in|le|ge|lor)", rest
    ):
        return None
    return found["between"] or found["before"], rest

"""What a response ends with, where it does not say that this is its answer."""

from __future__ import annotations

import re

from evenflow.rewards.math.claims import BETWEEN, BOLD, SENTENCE_ENDS, VERBS, pointed_out
from evenflow.rewards.math.wording import LONG_WORD, OTHER

CHANGING = re.compile(
    rf"\b(?:{OTHER}|plus|over|or|if|but|than|to|base|mod|until|unless|when|where|while|except"
    r"|cannot|neither|nor|none|nobody|hardly|might|may|maybe|perhaps|probably|could|would|thought|guess\w*|expect\w*|hoped|wanted|first|initially"
    r"|originally|previously|false|incorrect|unlikely|fail\w*)\b|n't\b",
    re.IGNORECASE,
)
"""Words that make another value of a number in their sentence, or set a condition."""
NUMBER = r"[-−]?(?:\\?\$)?[0-9](?:[0-9,]{0,30}[0-9])?(?:\.[0-9]{1,30})?(?:/[0-9]{1,9})?%?"
# A sentence with one number, of which nothing else is said.
TOLD = re.compile(
    rf"(?P<before>[A-Za-z'’ ,]{{2,100}}{VERBS}(?<![:=])(?:\s+(?:exactly|just|only))?)\s+"
    rf"(?P<value>{NUMBER})(?P<behind>(?:[\s,]+[A-Za-z'’]+){{0,20}})[\s.!]*",
    re.IGNORECASE,
)
CONCLUDES = re.compile(r"(?:so|thus|hence|therefore)\b", re.IGNORECASE)
ONE = rf"(?:[A-Za-z](?:_\w)?\s?=\s?)?{NUMBER}"
SOLVED = re.compile(
    rf"[a-z]+,?\s+(?:we\s+(?:get|have|find)\s+)?(?P<value>[A-Za-z](?:_\w)?\s?=\s?{NUMBER})\.",
    re.IGNORECASE,
)
LABEL = r"(?:total|result|solution|answer)(?:\s\(in\s[a-z]{1,20}\))?[*_]{0,2}\s?[:→][*_\s]{0,4}"
LEADS = r"(?:∴|⇒|=>|=|(?:so|thus|hence|therefore)\b|因此|所以)[,，]?\s{0,2}"
# A line that is a value: 18, (1, 2), "m = 1, n = 3", "**Total:** $18".
LINE = re.compile(
    rf"[*_]{{0,3}}(?P<label>{LABEL})?(?:{LEADS})?[*_]{{0,3}}"
    rf"(?P<value>\(\s?{NUMBER}(?:\s?,\s?{NUMBER}){{1,5}}\s?\)|{ONE}(?:,\s{ONE}){{0,5}}(?:\s[A-Za-z]{{3,12}})?)"
    r"[*_.!。\s]{0,4}",
    re.IGNORECASE,
)
ITEM = re.compile(r"[0-9]{1,3}[.)]\s*")
"""The beginning of an item of a list that was cut off."""
LETTER = re.compile(r"(?:\*\*(?:[Oo]ption\s)?\(?(?P<bold>[A-J])\)?\.?\*\*|\((?P<plain>[A-J])\))\.?")
# Before a word or a letter in bold print that a sentence ends with.
SAYS = re.compile(
    r"(?:so|thus|hence|therefore|it\s+is|it['’]s)\b(?:.{0,80}\b(?:is|are|was|it['’]s|facing|choose|pick|select))?"
    r"\s+(?:(?:an?|the|option|facing)\s+){0,2}\(?\Z",
    re.IGNORECASE,
)
WORDS = re.compile(r"\(?[A-J]\)?|(?:no\s)?[A-Za-z]{3,20}(?:\s[A-Za-z]{2,20}){0,2}")
SAID_OF_IT = re.compile(
    r"\b(?:is|are|was|were|has|have|would|could|if|but|except|unless|rather|instead|than)\b"
)


def told(said: str) -> str:
    """``18 dollars a day`` of "She makes 18 dollars a day."; anything else as it is."""
    found = TOLD.fullmatch(said) if len(said) < 2 * BETWEEN else None
    if not found or not LONG_WORD.search(found["before"]):
        return said
    if CHANGING.search(found["before"]) or CHANGING.search(found["behind"]):
        return said
    return found["value"] + re.sub("['’]", "", found["behind"])


def last_line_says(text: str) -> str | None:
    """The value that the last line is, behind its label, or alone under an empty line and a
    sentence that has ended; the letter of a choice, likewise."""
    before, _, line = text.strip().rpartition("\n")
    line, above = line.strip(), before.strip()
    choice, found = LETTER.fullmatch(line), LINE.fullmatch(line)
    if not above or ITEM.fullmatch(line) or not (choice or found):
        return None
    labelled = found is not None and found["label"]
    apart = before != before.rstrip(" \t").rstrip("\n") and above.endswith((".", "!", "。"))
    if not labelled and not apart:
        return None
    if choice:
        return choice["bold"] or choice["plain"]
    assert found is not None
    return None if CHANGING.search(found["value"]) else found["value"]


def last_sentence_says(text: str) -> str | None:
    """What the last sentence points out with a number: 7 of "There are **7** ways in total."."""
    lines = text.strip().rpartition("\n")[2]
    *_, start = [0, *(found.end() for found in SENTENCE_ENDS.finditer(lines, 0, len(lines) - 1))]
    sentence = lines[start:].strip()
    found = pointed_out(sentence)
    if not found or not re.search(r"\d", found):
        return _said_in_bold(sentence) or _concluded(sentence)
    return None if SAID_OF_IT.search(sentence.rpartition(found)[2]) else found


def _concluded(sentence: str) -> str | None:
    """18 dollars of "Therefore, she makes 18 dollars.", and x = 5 of "So x = 5."."""
    if not CONCLUDES.match(sentence) or not sentence.endswith("."):
        return None
    if solved := SOLVED.fullmatch(sentence):
        return solved["value"]
    return None if (found := told(sentence)) == sentence else found


def bold_says(text: str) -> str | None:
    """What a short sentence has in bold print, where none of its words makes another value of it:
    25% of "The price fell by **25%**."."""
    if "**" not in text or not text.endswith((".", "!")) or CHANGING.search(text):
        return None
    return last_sentence_says(text)


def _said_in_bold(sentence: str) -> str | None:
    """The word, or the letter of a choice, in bold print that a sentence ends with: "It is
    **even**."."""
    bold = list(BOLD.finditer(sentence))
    if len(bold) != 1 or not WORDS.fullmatch(bold[0][1]):
        return None
    before, behind = sentence[: bold[0].start()], sentence[bold[0].end() :]
    if CHANGING.search(before) or not SAYS.match(before) or behind.strip(" .!)"):
        return None
    return bold[0][1]

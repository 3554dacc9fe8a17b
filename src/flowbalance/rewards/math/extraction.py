"""The answer that a response commits itself to, as it is written there."""

from __future__ import annotations

import re

from flowbalance.rewards.thoughts import spoken

CLAIM = re.compile(
    r"\banswer[\s*]{0,9}(?:is\b|=|:)[\s*:]{0,9}|\bfinal answer\**[ \t]*\n\s{0,9}", re.IGNORECASE
)
CLAIM_ENDS = re.compile(
    r"\n|(?<!\\)(?<!sq)[.!?](?=\s|\$\s|\*|$)|\$\$\s|\\\]"
    r"|[,;]?\s+(?:because|since|which|as|so|where|I hope)\b"
)
SPAN = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$|\\\[(.+?)\\\]|\\\((.+?)\\\)", re.DOTALL)
# A formula that may go over several lines, and that ends the line where it ends.
FORMULA = re.compile(r"(?:\$\$(.+?)\$\$|\\\[(.+?)\\\]|\$([^$]+)\$)[.\s*]*(?:$|\n)", re.DOTALL)
LONGEST = 1000
"""Characters of an answer; the longest gold of MATH has 159."""
PLAIN = 120
"""Characters of a response that may be an answer without a word around it."""
SENTENCE = re.compile(
    r"[a-z]{2}[.!?:]\s+[A-Z]|\n\s*\n"
    r"|\b(?i:so|thus|hence|therefore|is|are|was|we|it|have|has|get|then|which)\b|\bI\b"
)


def extract(text: str) -> str | None:
    """The final answer in a response; None if it commits itself to none.

    Only what stands after the last thought counts (nothing, if a thought does not end).
    There, in this order: the last ``\\boxed{…}`` or ``\\fbox{…}`` (a box that is cut off is no
    answer: what it was to revise is withdrawn); what follows the last ``####``; what follows the
    last "answer is" or "answer:" in its sentence; the formula that the last line ends with; the
    whole text where it is nothing but a short answer. "Page 5" is not 5: no number is picked out
    of prose.
    """
    said = spoken(text)
    if said is None:
        return None
    found = last_box(said)
    if found is None:
        found = _marked(said)
    if found is None:
        found = _claimed(said)
    if found is None:
        found = _stated(said)
    return found or None


def last_box(text: str) -> str | None:
    """What stands in the last ``\\boxed{…}`` or ``\\fbox{…}``; empty if cut off, None if none."""
    opened = max(text.rfind("\\boxed"), text.rfind("\\fbox"))
    if opened < 0:
        return None
    rest = text[opened + (6 if text.startswith("\\boxed", opened) else 5) :].lstrip()
    if not rest.startswith("{"):  # TeX takes the next token: \boxed 5
        return rest.split(None, 1)[0].strip("$.,") if rest else ""
    depth = 0
    for at, character in enumerate(rest):
        if character in "{}" and not _escaped(rest, at):
            depth += 1 if character == "{" else -1
            if depth == 0:
                return rest[1:at].strip()
    return ""


def _escaped(text: str, at: int) -> bool:
    """An odd number of backslashes before it: ``\\{`` is a brace to see, ``\\\\{`` ends a row."""
    before = at
    while before and text[before - 1] == "\\":
        before -= 1
    return (at - before) % 2 == 1


def _marked(text: str) -> str | None:
    _, mark, after = text.rpartition("####")
    return after.strip().split("\n", 1)[0].strip() if mark else None


def _claimed(text: str) -> str | None:
    claims = list(CLAIM.finditer(text))
    if not claims:
        return None
    said = text[claims[-1].end() :].lstrip(" \t\n*")
    if display := FORMULA.match(said):
        return (display[1] or display[2] or display[3]).strip()
    end = CLAIM_ENDS.search(said)
    return said[: end.start() if end else None].strip(" \t*:")


def _stated(text: str) -> str | None:
    text = text.strip()
    spans = list(SPAN.finditer(text[-2 * LONGEST :]))
    if spans and re.fullmatch(r"[\s.*]*", text[-2 * LONGEST :][spans[-1].end() :]):
        whole = len(spans) == 1 and spans[0].start() == 0
        if whole or not _is_answer(text):
            return next(group for group in spans[-1].groups() if group is not None).strip()
    return text if _is_answer(text) else None


def _is_answer(text: str) -> bool:
    """Nothing but an answer: short, and no sentence."""
    return len(text) <= (LONGEST if "\\begin" in text else PLAIN) and not SENTENCE.search(text)

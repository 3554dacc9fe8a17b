"""The answer that a response commits itself to, as it is written there."""

from __future__ import annotations

import re
from collections import deque

from evenflow.rewards.math.boxes import boxed
from evenflow.rewards.math.claims import (
    ABOUT,
    ALSO,
    BESIDE,
    BETWEEN,
    CLAIM,
    EITHER,
    LONGEST,
    MOST,
    beside,
    claimed,
)
from evenflow.rewards.math.denials import denied_elsewhere, revised
from evenflow.rewards.math.endings import bold_says, last_line_says, last_sentence_says, told
from evenflow.rewards.math.normalisation import normalise
from evenflow.rewards.math.remarks import without_remark
from evenflow.rewards.math.turns import own_turn, without_cut_off
from evenflow.rewards.math.values import far_apart, is_number
from evenflow.rewards.math.wording import AND, LONG_WORD
from evenflow.rewards.thoughts import spoken

LABEL = re.compile(r"^(?:\*\*)?(\(?[A-J]\)|[A-J][.:])\*\*")  # of a choice
BARE = re.compile(r"^[*`]+|(?<![\^_*`])[*`]+$")  # Markdown's; the star of N^* stays
# Tokens and signs that end an answer, where they were decoded with it.
END = re.compile(
    r"(?:<\|[\w-]{1,40}\|>|</s>|<eos>|<end_of_turn>|\$?\\(?:black)?square\$?|\$\\Box\$|[■□∎]|\bQ\.?E\.?D\b\.?"
    r"|[✅✓✔☑✨★⭐\U0001f300-\U0001faff\ufe0f])\Z"
)
LONGEST_END, MOST_ENDS = 50, 99
"""Characters of one, and how many are taken off."""
TAG = re.compile(r"</?(?:final_?)?answer>", re.IGNORECASE)
# "So the **final answer" at the beginning of its sentence: said here, and of this question.
FINAL = re.compile(
    r"(?:[.!]\s|\n|\A[\s$*.]*)[\s*_>]{0,9}(?:(?:so|thus|hence|therefore|actually|but|the|my|our)\b[\s,*]{1,9}){0,3}"
    r"(?:final|correct|right|actual|revised|corrected|true)[\s*]{1,4}\Z",
    re.IGNORECASE,
)
FURTHER = re.compile(
    r"\?|\b(?:question|problem|exercise|human|user)\b(?!\s+(?:asks|asked|wants|wanted|says|said)\b)",
    re.IGNORECASE,
)
"""Another question begins; what "the question asks for" is this one."""
# What a repeated instruction has: "Put the answer in \\boxed{}."
EMPTY_BOX = re.compile(
    r"\\(?:boxed|fbox)\s?\{(?:[\s._…?]|\\[ ,;:!]|\\(?:quad|[lc]?dots)(?![a-z])){0,20}\}"
)
BEFORE_EMPTY = re.compile(r"\b(?:in|within|inside|into|using|with|an?|the)\s{1,3}\$?\Z")
QUOTED = re.compile(r"['\"‘“]([^'\"‘’“”]{1,80})['\"’”]\.?")
MARK = re.compile(r"#{4,}[ \t]*([^\n]*)")  # and the marks that close a heading
# A heading: words, or a number of a section and words. "5 apples" is none.
HEADING = re.compile(
    r"[*_\s]*(?:[^\W\d_]{2,}(?![^\W\d_]|[/(^*+=])|[0-9]{1,2}[.):][\s*]*[^\W\d_]{2,}|[A-Z][.:)]?\s+[^\W\d_]{2,})"
)
NEGATED = re.compile(
    r"(?:(?:[0-9})]|\*\*)\s*,?\s*or\b|\bnot|\bnever|n't|\bcannot|\bat\s+(?:most|least)|\b(?:less|more|greater|fewer|larger|smaller|rather"
    r"|other)\s+than|\bdivisible\s+by|\bmultiples?\s+of|\bexclud\w+|\breject\w*|\bexcept|\binstead\s+of)\s+"
    r"(?:(?:be|equals?|to|for|that)\s+)*\Z",
    re.IGNORECASE,
)
"""What takes the formula behind it back, or bounds it."""
FIGURE = re.compile(r"[0-9]")
LETTERS = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2}")
"""Of a unit, or a remark: then the value may be the same one."""
ALIKE = re.compile(rf"\b{AND}\b|,")
VALUE_OF = re.compile(r"\s*([A-Za-z])(?:_\{?\w+\}?|\([a-z]\))?\s*=")
SPAN = re.compile(
    r"\$\$(.+?)\$\$|(?<!\\)\$((?:[^$\\]|\\.)+)\$|\\\[(.+?)\\\]|\\\((.+?)\\\)|\*\*([^*\n]{0,80}?[0-9][^*\n]{0,80})\*\*",
    re.DOTALL,
)
BOLD_WORDS = re.compile(r"(?<![\w)*])\*\*([^*\n]+)\*\*(?![\w(*])")  # and no power, 2**3
PLAIN = 120
"""Characters of a response that may be an answer without a word around it."""
SENTENCE = re.compile(
    r"[a-z]{2}[.!?:]\s+[A-Z]|\n\s*\n|[\u4e00-\u9fff]{2}[，。；：]\s*\S|[\u4e00-\u9fff]{9}|[\u4e00-\u9fff]{2}。\s*$"
    r"|\b(?i:so|thus|hence|therefore|is|are|was|we|it|have|has|get|then|which)\b|\bI\b"
)


def extract(text: str) -> str | None:
    """The final answer in a response; None if it commits itself to none.

    Only what is `spoken`, after the last thought, counts. There, in this order: what the last
    ``<answer>…`` holds; the last ``\\boxed{…}`` or ``\\fbox{…}`` (a box that is cut off is no
    answer: what it was to revise is withdrawn); what follows the last ``####`` that is no heading;
    what follows the last "answer is" or "answer:" in its sentence; the formula that the last line
    ends with; the whole text where it is nothing but a short answer; what the last line or the last
    sentence comes to (`endings`). "Page 5" is not 5: other numbers are not picked out of prose.

    Answers side by side, as in ``\\boxed{4} or \\boxed{5}``, are a list of them.
    """
    said = said_at_last(text)
    if said is None:
        return None
    tagged = last_tagged(said)
    found = committed(said if tagged is None else tagged)
    if found is None:
        found = _stated(said) if tagged is None else tagged
    elif ABOUT.fullmatch(found):
        found = _stated(said) or found
    found = BARE.sub("", LABEL.sub(r"\1", found.strip())) if found else ""
    return told(without_remark(_freed(found))) or None


def _freed(found: str) -> str:
    """Without quotation marks around it, and the bracket that closes what began before it."""
    if quoted := QUOTED.fullmatch(found):
        return quoted[1]
    loose = found[-1:] in (")", "]") and not re.search(r"[(\[,]", found) and found[0] != "]"
    return found[:-1].rstrip() if loose else found


def said_at_last(text: str) -> str | None:
    """What is `spoken`, up to the tokens that end it or to another turn, without the empty boxes of
    an instruction."""
    if (said := spoken(text)) is None:
        return None
    said = EMPTY_BOX.sub(_unless_asked, _without_end(said.rstrip()))
    return without_cut_off(own_turn(said, lambda text: last_tagged(text) or committed(text)))


def _without_end(text: str) -> str:
    for _ in range(MOST_ENDS):
        if not (end := END.search(text, max(0, len(text) - LONGEST_END))):
            break
        text = text[: end.start()].rstrip()
    return text


def _unless_asked(box: re.Match[str]) -> str:
    before = box.string[max(0, box.start() - 20) : box.start()]
    return "" if BEFORE_EMPTY.search(before) else box[0]


def committed(said: str) -> str | None:
    """The answer in the last box, after the last ``####``, or after the last claim; empty where
    there is one that is cut off.

    What is taken back right behind it ("Wait, that is wrong") leaves the word to what follows.
    """
    if (box := boxed(said)) is not None:
        found, end = box
        if (later := _overruled(said, end, found)) is not None:
            return later
    elif (found := _marked(said)) is not None:
        return found
    elif claim := claimed(said):
        found, begin = claim
        end = begin + len(found)
    else:
        return None
    if found and FIGURE.search(found) and (behind := revised(said, found, end)):
        return committed(said[behind:]) or _stated(said[behind:]) or ""
    return found


def _overruled(text: str, end: int, held: str) -> str | None:
    """The number of a "final answer" behind the last box, which ends there, that is another one
    than what the box holds."""
    last = deque(CLAIM.finditer(text, end), 1)
    if not last or FURTHER.search(text, end, last[0].start()):
        return None
    if not FINAL.search(text[max(end, last[0].start() - 80) : last[0].start()]):
        return None
    value, _ = claimed(text[last[0].start() :]) or ("", 0)
    if max(len(value), len(held)) > LONGEST or LETTERS.search(value):
        return None
    said, before = normalise(value), normalise(held).rpartition("=")[2]
    another = is_number(said) and is_number(before) and far_apart(before, said)
    return value if another else None


def last_tagged(text: str) -> str | None:
    """What stands in the last ``<answer>…</answer>``; None if there is none.

    The last may be without an end, which samplers cut off where it is what they stop at.
    """
    if "<" not in text:
        return None
    spans = deque[tuple[int, str, int]](maxlen=MOST)  # begin, what is in it, end
    begin = at = None
    for tag in TAG.finditer(text):
        if tag[0][1] != "/":
            begin, at = tag.start(), tag.end()
        elif begin is not None and at is not None:
            spans.append((begin, text[at : tag.start()].strip(), tag.end()))
            begin = None
    if begin is not None:
        spans.append((begin, text[at:].strip(), len(text)))
    return beside(text, [*spans])


def _marked(text: str) -> str | None:
    """What follows the last ``####``, unless it is a heading: words before other text."""
    if "####" not in text:
        return None
    end, found = len(text.rstrip()), None
    for mark in MARK.finditer(text):
        said = mark[1].rstrip("# \t").strip()
        if said and (mark.end() >= end or not HEADING.match(said)):
            found = said
    return found


def _stated(text: str) -> str | None:
    text = text.strip()
    if text.startswith("**") and text.endswith("**") and "**" not in text[2:-2]:
        text = text.strip("*")
    tail = text[-2 * LONGEST :]
    spans = [
        (found.start(), next(filter(None, found.groups())).strip(), found.end())
        for found in SPAN.finditer(tail)
        if not found[0].endswith(":**")
    ]
    if spans and re.fullmatch(r"[\s.*。！!]*", tail[spans[-1][2] :]):
        start, last, _ = spans[-1]
        whole = len(spans) == 1 and (start == 0 or ("=" in last and LONG_WORD.search(tail[:start])))
        if whole or not _is_answer(text) or _solutions(tail, spans):
            return _last_of(tail, spans)
    if _is_answer(text):
        return bold_says(text) or BOLD_WORDS.sub(r"\1", text)
    return last_line_says(tail) or last_sentence_says(tail)


def _last_of(text: str, spans: list[tuple[int, str, int]]) -> str | None:
    """The last formula, with those beside it (but of "n = 3, x = 7" only x's, and both of "x = 1
    and x = 7"); None if denied."""
    if solutions := _solutions(text, spans):
        first = solutions[0][0]
        denied = NEGATED.search(text, max(0, first - 40), first)
        return None if denied else beside(text, solutions)
    start, last, _ = spans[-1]
    negated = NEGATED.search(text, max(0, start - 40), start)
    if negated or denied_elsewhere(text, start, spans[-1][2]):
        return None
    if len(spans) > 1:
        _, before, end = spans[-2]
        between = text[end:start]
        either = EITHER.search(between) or ALSO.search(between)
        if "=" in before + last and not either:
            return last
    return beside(text, spans)


def _solutions(text: str, spans: list[tuple[int, str, int]]) -> list[tuple[int, str, int]]:
    """The last formulas, where they give several numbers to one name: "x = 1, x = 5".

    Empty where they are steps: in rows without a word or a mark between them, of one value, with
    units, or of names that an index tells apart without an "and".
    """
    found = [spans[-1]]
    for span in reversed(spans[:-1]):
        a, b = VALUE_OF.match(span[1]), VALUE_OF.match(found[0][1])
        between = text[span[2] : found[0][0]]
        if not (a and b and a[1] == b[1] and between.strip(" .\n") and len(between) <= BETWEEN):
            break
        joined = a[0].split() == b[0].split() or ALIKE.search(between)
        values = [normalise(span[1][a.end() :]), normalise(found[0][1][b.end() :])]
        step = not all(map(is_number, values)) or not far_apart(*values)
        if step or not joined or "\\text" in span[1] or not BESIDE.fullmatch(between):
            break
        found.insert(0, span)
    return found if len(found) > 1 else []


def _is_answer(text: str) -> bool:
    """Nothing but an answer: short, and no sentence."""
    return len(text) <= (LONGEST if "\\begin" in text else PLAIN) and not SENTENCE.search(text)

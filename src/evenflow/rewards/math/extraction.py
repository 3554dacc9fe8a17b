"""The answer that a response commits itself to, as it is written there."""

from __future__ import annotations

import json
import re
from collections import deque

from evenflow.rewards.fences import fenced
from evenflow.rewards.math.remarks import without_remark
from evenflow.rewards.math.wording import DENIED
from evenflow.rewards.thoughts import spoken

CLAIM = re.compile(
    r"\banswer[\s*]{0,9}(?:is\b|=|[:：])[\s*:]{0,9}"
    r"|(?:\bfinal|#)[ \t*]{1,4}answer\**[ \t]*\n\s{0,9}|\*\*(?:final\s+)?answer\.\*\*[\s*]{0,9}"
    r"|\b(?:option|choice)[\s*]{0,9}(?:is\b|[:：])[\s*:]{0,9}"
    r"|答案[\s*]{0,9}(?:是|为|為|[:：])[\s*:：]{0,9}|\brespuesta(?:\s+final)?\s+es\b[\s*:]{0,9}"
    r"|\bAntwort\s+(?:ist|lautet)\b[\s*:]{0,9}|\bréponse(?:\s+finale)?\s+est\b[\s*:]{0,9}",
    re.IGNORECASE,
)
# A field of JSON, where structured output was asked for.
FIELD = re.compile(
    r'"(?:final[ _]?)?answer"\s*:\s*(?P<value>"(?:[^"\\]|\\.)*"|-?[0-9.]+|\[[^\[\]]*\])',
    re.IGNORECASE,
)
UNESCAPED = re.compile(r"(?<!\\)\\[A-Za-z]{2}")
BULLET = re.compile(r"\s*(?:^|\n)[-•*]\s+")
ITEMS = re.compile(r"[-•][ \t]+[^\n]+(?:\n[-•*][ \t]+(?![^\n]*[A-Za-z]{3})[^\n]+)*")
# "Option C is correct", "(C) is the right answer"
CHOSEN = re.compile(
    r"(?:\b(?:[Oo]ption|[Cc]hoice)[\s*$]{1,9}\(?|\()(?P<letter>[A-J])\)?[\s*$]{1,9}"
    r"is[\s*]{1,9}(?:the[\s*]{1,9})?(?:only[\s*]{1,9})?(?:correct|right)\b"
)
CLAIM_ENDS = re.compile(
    r"\n|(?<!\\)(?<!sq)(?<!approx)(?<!\b[A-J])[.!?。](?=\s|\$\s|\*|$)|\$\$\s|\\\]"
    r"|[,;]?\s+\(?(?:because|since|which|as|so|where|I hope|obtained|using|by\s+(?!\d)|and\s+we)\b"
    r"|(?<=\S)[,;]\s+(?:not\b|i\.e\.|that\s+is\b|namely\b)"
    r"|(?<=\S)\*\*(?=\s+(?!(?:and|or)\b|[*\d$\\])|[:;(])"  # of what was printed bold
)
SENTENCE_ENDS = re.compile(r"\n|(?<!\\)[.!?。](?=\s|$)")
# In a sentence about the answer it is what is printed bold, or what a verb says the answer is.
BOLD = re.compile(r"\*\*([^*\n]{1,200}?)\*\*")
DOLLARS = re.compile(r"\$([^$\n]{1,200})\$")
VERBS = (
    r"(?:\b(?:is|are|was|were|be|equals?|equal\s+to|has|have|had|gets?|gives?|makes?|costs?|needs?"
    r"|earns?|pays?|paid|spends?|spent|total\s+of)|[:=])"
)
VERB = re.compile(
    rf"(?:{VERBS}|\b(?:interval|point|pair|triple|vector|matrix|set|fraction|ratio))\s*\Z",
    re.IGNORECASE,
)
DENYING = re.compile(rf"\b(?:{DENIED})\b", re.IGNORECASE)
# Said of an answer, and none itself.
ABOUT = re.compile(
    r"(?:independent|found|obtained|given|determined|derived|computed|calculated|correct|right|unique"
    r"|based|consistent|verified|confirmed|reasonable|clear)\b[^\d$\\]*"
)
LABEL = re.compile(r"^\*\*(\(?[A-J]\)|[A-J][.:])\*\*")  # of a choice
BARE = re.compile(r"^[*`]+|(?<![\^_*`])[*`]+$")  # Markdown's; the star of N^* stays
BOX = re.compile(r"\\(?:boxed|fbox|framebox)(?![A-Za-z])\s*")
BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
TOKEN = re.compile(r"[^\s{}$]{1,40}")
# Tokens that end an answer, where they were decoded with it.
ENDS = re.compile(r"(?:\s{0,9}(?:<\|[\w-]{1,40}\|>|</s>|<eos>|<end_of_turn>)){1,99}\Z")
FORMATTED = ("", "latex", "tex", "math", "markdown", "md", "text", "txt")
"""Languages of fenced blocks whose boxes are the response's own."""
TAG = re.compile(r"<answer>|</answer>", re.IGNORECASE)
MARK = re.compile(r"#{4,}[ \t]*([^\n]*)")  # and the marks that close a heading
# A heading: words, or a number of a section and words. "5 apples" is none.
HEADING = re.compile(
    r"[*_\s]*(?:[^\W\d_]{2,}(?![^\W\d_]|[/(^*+=])|[0-9]{1,2}[.):][\s*]*[^\W\d_]{2,}|[A-Z][.:)]?\s+[^\W\d_]{2,})"
)
# Between two answers that are one: nothing but signs, "and", "or", a name that is given a value.
NAMED = re.compile(r"(?<![A-Za-z\\])([a-z])\s*=\s*$")
BESIDE = re.compile(
    r"(?:\\(?:text|quad|qquad|mbox)(?![a-z])|[\s$,;.:&*/|~{}()\[\]\\]|\band\b|\bor\b"
    r"|\b[a-z](?:_(?:\w|\{\w{1,3}\}))?\s*=)*",
    re.IGNORECASE,
)
EITHER = re.compile(
    r"(?:\bor\b|\balternatively\b|\bmaybe\b|\bperhaps\b|\botherwise\b|\belse\b"
    r"|\b(?:could|might|may|can)\s+(?:also|equally|well)\b|\\lor\b|\\vee\b)",
    re.IGNORECASE,
)
NEXT_SENTENCE = re.compile(r"[.!?]\s|\n\s*\n|\bnot?\b", re.IGNORECASE)
NEGATED = re.compile(
    r"(?:\bnot|\bnever|n't|\bcannot be|rather than)\s+(?:equal\s+)?\Z", re.IGNORECASE
)
MOST = 20
"""Answers, or claims of one, that are looked at: the last ones."""
BETWEEN = 80
"""Characters between two answers of which either is offered."""
SPAN = re.compile(
    r"\$\$(.+?)\$\$|\$(.+?)\$|\\\[(.+?)\\\]|\\\((.+?)\\\)|\*\*([^*\n]{0,80}?[0-9][^*\n]{0,80})\*\*",
    re.DOTALL,
)
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

    Only what is `spoken`, after the last thought, counts. There, in this order: what the last
    ``<answer>…`` holds; the last ``\\boxed{…}`` or ``\\fbox{…}`` (a box that is cut off is no
    answer: what it was to revise is withdrawn); what follows the last ``####`` that is no heading;
    what follows the last "answer is" or "answer:" in its sentence; the formula that the last line
    ends with; the whole text where it is nothing but a short answer. "Page 5" is not 5: no number
    is picked out of prose.

    Answers side by side, as in ``\\boxed{4} or \\boxed{5}``, are a list of them.
    """
    said = said_at_last(text)
    if said is None:
        return None
    tagged = last_tagged(said)
    found = committed(said if tagged is None else tagged)
    if found is None:
        found = _stated(said) if tagged is None else tagged
    return without_remark(BARE.sub("", LABEL.sub(r"\1", found.strip()))) or None if found else None


def said_at_last(text: str) -> str | None:
    """What is `spoken`, without the tokens that end it."""
    said = spoken(text)
    return None if said is None else ENDS.sub("", said.rstrip())


def committed(said: str) -> str | None:
    """The answer in the last box, after the last ``####``, or after the last claim; empty where
    there is one that is cut off."""
    found = last_box(said)
    if found is None:
        found = _marked(said)
    return _claimed(said) if found is None else found


def last_tagged(text: str) -> str | None:
    """What stands in the last ``<answer>…</answer>``; None if there is none.

    The last may be without an end, which samplers cut off where it is what they stop at.
    """
    if "<" not in text:
        return None
    spans = deque[tuple[int, int, int]](maxlen=MOST)  # begin, end of what is in it, end
    begin = at = None
    for tag in TAG.finditer(text):
        if tag[0][1] != "/":
            begin, at = tag.start(), tag.end()
        elif begin is not None and at is not None:
            spans.append((begin, tag.start(), tag.end()))
            begin = None
    if begin is not None:
        spans.append((begin, len(text), len(text)))
    return _beside(text, [(b, text[b + len("<answer>") : e].strip(), end) for b, e, end in spans])


def last_box(text: str) -> str | None:
    """What stands in the last ``\\boxed{…}`` or ``\\fbox{…}``; empty if cut off, None if none.

    A box in a box is part of it.
    """
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
                spans.append((begin, BOX.sub("", held) if "box" in held else held, end))
        elif token := TOKEN.match(text, inside):  # \boxed 5: TeX takes the next token
            cut_off = False
            spans.append((begin, token[0].rstrip(".,"), token.end()))
    if not boxes:
        return None
    return "" if cut_off or not spans else _beside(text, spans)


def _closing(text: str, opened: int) -> int | None:
    """Where the brace is closed that is opened there; ``\\{`` is none."""
    depth = 0
    for token in BRACE.finditer(text, opened):
        if token[0] in "{}":
            depth += 1 if token[0] == "{" else -1
            if depth == 0:
                return token.end()
    return None


def _beside(text: str, spans: list[tuple[int, str, int]]) -> str | None:
    """The last of the answers, with those that stand beside it: a list, or a hedge.

    An answer of the working, or one that is revised, is followed by words, or by a sentence's end.
    """
    if len(spans) < 2:
        return spans[0][1] if spans else None
    answers = [_named(text, spans[-1])]
    pairs = zip(reversed(spans[-MOST:-1]), reversed(spans[1:]), strict=False)
    for earlier, (start, _, _) in pairs:
        _, before, end = earlier
        between = text[end:start]
        if len(between) > BETWEEN or not before:
            break
        either = EITHER.search(between) and not NEXT_SENTENCE.search(between)
        if not either and not BESIDE.fullmatch(between):
            break
        answers.append(_named(text, earlier))
    found = (
        list(dict.fromkeys(reversed(answers))) if all(said for _, said in answers) else answers[:1]
    )
    if len({name for name, _ in found}) == len(found) > 1:
        return ", ".join(f"{name}={said}" for name, said in found)  # x = [3] and y = [3]
    return ", ".join(dict.fromkeys(said for _, said in found))


def _named(text: str, span: tuple[int, str, int]) -> tuple[str, str]:
    """The name that stands before an answer, as in ``x = \\boxed{3}``, and the answer."""
    start, said, _ = span
    name = NAMED.search(text, max(0, start - 20), start)
    return name[1] if name and "=" not in said else "", said


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


def _claimed(text: str) -> str | None:
    claims = deque(CLAIM.finditer(text), MOST)
    chosen = deque(CHOSEN.finditer(text), 1)
    if chosen and (not claims or claims[-1].start() < chosen[-1].end()):
        return chosen[-1]["letter"]
    fields = deque(FIELD.finditer(text), MOST)
    if fields and (not claims or claims[-1].start() < fields[-1].end()):
        return _beside(text, [(f.start(), _of_field(f["value"]), f.end()) for f in fields])
    if not claims:
        return None
    answers = [_of_claim(_after(text, claim)) for claim in claims]
    return next((each for each in reversed(answers) if not ABOUT.fullmatch(each)), answers[-1])


def _of_field(value: str) -> str:
    """What a field of JSON says; LaTeX may stand there as it is, which is no JSON."""
    try:
        said = None if UNESCAPED.search(value) else json.loads(value, strict=False)
    except ValueError:
        said = None
    if isinstance(said, list):
        return ", ".join(map(str, said))
    return value.strip('"') if said is None else str(said)


def _after(text: str, claim: re.Match[str]) -> str:
    """What follows a claim; the items of a list in the next lines as one line."""
    said = text[claim.end() :].lstrip(" \t\n*")
    if "\n" not in claim[0] or not (items := ITEMS.match(said)):
        return said
    return ", ".join(BULLET.split(items[0])[1:]) + said[items.end() :]


def _of_claim(said: str) -> str:
    """What is claimed, of a text that begins with it."""
    if display := FORMULA.match(said):
        return (display[1] or display[2] or display[3]).strip()
    if pointed := _pointed_out(said):
        return pointed
    end = CLAIM_ENDS.search(said)
    return said[: end.start() if end else None].strip(" \t*:")


def _pointed_out(said: str) -> str | None:
    """What a sentence says that the answer is: 12 of "After 3 weeks she has **12** apples."; None
    where the answer itself stands first, or nothing is pointed out."""
    end = SENTENCE_ENDS.search(said)
    sentence = said[: end.start() if end else None][:LONGEST]
    for mark, told in ((BOLD, None), (DOLLARS, VERB)):
        spans = [
            (found.start(), found[1].strip(), found.end()) for found in mark.finditer(sentence)
        ]
        if not spans:
            continue
        (first, *_), (last, _, behind) = spans[0], spans[-1]
        if not re.search(r"[A-Za-z]{2}", sentence[:first]) or re.search(
            r"[$*\\]", sentence[:first]
        ):
            continue
        if DENYING.search(sentence[:last]) or re.search(r"\d|\bor\b|\bnot\b", sentence[behind:]):
            continue
        if told is None or told.search(sentence[:last]):
            return _beside(sentence, spans)
    return None


def _stated(text: str) -> str | None:
    text = text.strip()
    if text.startswith("**") and text.endswith("**"):
        text = text.strip("*")
    tail = text[-2 * LONGEST :]
    spans = [
        (found.start(), next(filter(None, found.groups())).strip(), found.end())
        for found in SPAN.finditer(tail)
    ]
    if spans and re.fullmatch(r"[\s.*]*", tail[spans[-1][2] :]):
        whole = len(spans) == 1 and spans[0][0] == 0
        if whole or not _is_answer(text):
            return _last_of(tail, spans)
    return text if _is_answer(text) else None


def _last_of(text: str, spans: list[tuple[int, str, int]]) -> str | None:
    """The last formula, with those beside it (but of "n = 3, x = 7" only x's); None if denied."""
    start, last, _ = spans[-1]
    if NEGATED.search(text, max(0, start - 30), start):
        return None
    if len(spans) > 1:
        _, before, end = spans[-2]
        if "=" in before + last and not EITHER.search(text[end:start]):
            return last
    return _beside(text, spans)


def _is_answer(text: str) -> bool:
    """Nothing but an answer: short, and no sentence."""
    return len(text) <= (LONGEST if "\\begin" in text else PLAIN) and not SENTENCE.search(text)

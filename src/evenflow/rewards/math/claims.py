"""What a response says that its answer is, in words; and the answers that stand side by side."""

from __future__ import annotations

import json
import re
from collections import deque

from evenflow.rewards.fences import fenced
from evenflow.rewards.math.denials import at_last, denied_elsewhere, supposed
from evenflow.rewards.math.spelling import GREEK
from evenflow.rewards.math.wording import AND, DENIED

CLAIM = re.compile(
    r"\b(?:answer|ans)(?:\s+to\s+(?:the|this)\s+(?:question|problem)|,\s[^,.\n]{1,40},)?[\s*]{0,9}"
    r"(?:(?:is|must\s+be|(?:should|will|would)\s+be|turns\s+out\s+to\s+be|comes\s+(?:out\s+)?to)\b|=|[:：])"
    r"[\s*:]{0,9}(?:(?:exactly|indeed|simply|just|then|thus|hence|therefore|actually|clearly|now)\b[\s*:]{0,9})?"
    r"|(?:\bfinal|#)[ \t*]{1,4}answer\**[ \t]*\n\s{0,9}"
    r"|\banswers\s+are\b[\s*:]{0,9}|\bfinal\s+(?:result|value)\s+is\b[\s*:]{0,9}|\bfinal\s+answer\s+[-–—]\s+"
    r"|结果(?:是|为)[\s*:：]{0,9}|\bans\.\s+"
    r"|\*\*(?:final\s+)?answer(?:\*\*[ \t]*\n\s|\.\*\*)[\s*]{0,9}"
    r"|\b(?:correct|right|final)\s+(?:option|choice|letter)[\s*]{0,9}(?:is\b|[:：])[\s*:]{0,9}"
    r"|\b(?:option|choice)[\s*]{0,9}(?:is\b|[:：])[\s*:]{0,9}(?=[\s$({]{0,9}(?-i:[A-J])\b(?!\s+[a-z]))"
    r"|(?:答案|选项|選項)[\s*]{0,9}(?:是|为|為|[:：】]|选(?=[\s*:：]{0,9}[A-J]))[\s*:：]{0,9}|(?<![\w])答[:：][\s*]{0,9}"
    r"|故?选[\s*:：]{0,9}(?=[A-J])|\bОтвет[\s*]{0,9}[:：][\s*]{0,9}|答え(?:は|[:：])[\s*:：]{0,9}|\b(?:respuesta|opción)(?:\s+(?:final|correcta))?\s+es\b[\s*:]{0,9}(?:la\s+opción[\s*]{1,9})?"
    r"|\b(?:Antwort|réponse(?:\s+finale)?|respuesta(?:\s+final)?|resposta(?:\s+final)?|risposta(?:\s+finale)?)"
    r"[\s*]{0,3}[:：][\s*]{0,9}|\b(?:risposta(?:\s+(?:finale|corretta|esatta))?\s+è|resposta(?:\s+(?:final|correta))?\s+é)\s[\s*:]{0,9}|정답[은\s*]{0,3}[:：\s][\s*]{0,9}"
    r"|\bAntwort\s+(?:ist|lautet)\b[\s*:]{0,9}|\bréponse(?:\s+(?:finale|correcte|exacte))?\s+est\b(?:\s+donc\b)?[\s*:]{0,9}(?:l['’]option[\s*]{1,9})?",
    re.IGNORECASE,
)
# Before a claim of one more answer: "The answer is 1. The other answer is 5."
ANOTHER = re.compile(
    rf"(?:[.;,$*]|\b{AND})\s{{1,3}}(?:{AND}\s+)?(?:(?:the|an?|its|my)\s+)?"
    rf"(?:second|other|another|third|next|alternative)\s+\Z|\b{AND}\s+(?:the|an?)\s+\Z",
    re.IGNORECASE,
)
# A field of JSON, where structured output was asked for.
FIELD = re.compile(
    r'"(?:final[ _]?)?answer"\s*:\s*(?P<value>"(?:[^"\\]|\\.)*"|-?[0-9.]+|\[[^\[\]]*\])',
    re.IGNORECASE,
)
UNESCAPED = re.compile(r"(?<!\\)\\[A-Za-z]{2}")
QUOTED = re.compile(r"\A>\s{1,3}")
BULLET = re.compile(r"\s*(?:^|\n)[-•*]\s+")
ITEMS = re.compile(r"[-•][ \t]+[^\n]+(?:\n[-•*][ \t]+(?![^\n]*[A-Za-z]{3})[^\n]+)*")
# "Option C is correct", "(C) is the right answer"
CHOSEN = re.compile(
    r"(?:\b(?:[Oo]ption|[Cc]hoice)[\s*$]{1,9}\(?|\()(?P<letter>[A-J])\)?[\s*$]{1,9}"
    r"is[\s*]{1,9}(?:the[\s*]{1,9})?(?:only[\s*]{1,9})?(?:correct|right)\b"
)
# "So $5$ is the only solution.": the value stands first.
IS_ANSWER = re.compile(
    r"is\s+(?:the|our|my)\s+(?:(?:only|final|correct|right|required|desired)\s+){0,2}(?:answer|solution)\b"
    r"(?=[\s*]*(?:[.!](?:\s|$)|$)|\s+to\s+(?:the|this)\s+(?:question|problem)\b)"
)
SUBJECT = re.compile(
    r"(?:\*\*(?P<bold>[^*\n]{1,80})\*\*|\$(?P<formula>[^$\n]{1,200})\$|\\\((?P<round>[^\n]{1,200}?)\\\)"
    r"|(?<![\w$\\.,/+*=(^-])(?P<number>-?\$?\d[\d,]*(?:[./]\d+)?%?))\s+\Z"
)
NOT_ALONE = re.compile(
    r"(?:[0-9$*)}]\s*[,;]|[=<>≤≥≈+*/^-]|\b(?:or|and|not|than|to|if|whether|that)\b|n't)\s*\Z"
)
# 7! = 5040: no end of a sentence
FACTORIAL = (
    r"(?<=[0-9A-Za-z)}])!\s{1,3}(?:[=≈^]|[-+*/×·⋅÷]\s{0,3}[0-9(\\$*]"
    r"|\\(?:times|cdot|div|approx)(?![a-z]))"
)
CLAIM_ENDS = re.compile(
    rf"\n|(?<!\\)(?<!sq)(?<!approx)(?<!\b[A-J])(?!{FACTORIAL})[.!?。](?=\s|\$\s|\*|$)|\$\$\s|\\\]"
    r"|[,;]?\s+\(?(?:because|since|which|as|so|where|I hope|obtained|using|by\s+(?!\d)|and\s+we)\b"
    r"|(?<=\S)[,;]\s+(?:not?\b|i\.e\.|that\s+is\b|namely\b)"
    rf"|(?<=\S)\*\*(?=\s+(?!{AND}\b|[*\d$\\])|[:;(])"  # of what was printed bold
)
NUMBERS = re.compile(r"[0-9](?:[0-9,]*[0-9])?(?:\.[0-9]+)?")
# What a sentence goes on to behind a claim: of "a = 5" to another name, of 1/2 to m + n alone, of
# 18 pairs to 36 shoes; to another value, or to what makes one of it.
OTHERWISE = re.compile(
    r"\A[,;]?\s+so\s+(?P<so>\$?(?P<name>[A-Za-z](?P<sum>\s?[-+*·]\s?[A-Za-z])*)\s?=.*"
    r"|(?P<unit>[0-9][0-9,.]*\s+[a-z]{3,20})\s*\Z)"
    r"|(?<!\bnot )\bbut\s+(?:also\s+)?[$\\({]{0,3}(?P<but>[0-9]\S{0,20})(?!\s+significant)"
    r"|\A[,;]?\s+which\s+(?:must|should|has\s+to|needs\s+to)\s+(?:then\s+)?be\s+"
    r"(?:multiplied|divided|doubled|halved|squared|added|subtracted)\b.*"
)
INSTEAD = re.compile(
    r"\A[\s*]{0,9}not\s+\S{1,30}\s+but\s+(?:rather\s+)?(?=\S{1,30}\s*(?:\n|\Z))", re.IGNORECASE
)
"""not 13 but 12"""
WITH_NOUN = re.compile(r"[0-9]\s+[A-Za-z]{3}")
SENTENCE_ENDS = re.compile(rf"\n|(?<!\\)(?!{FACTORIAL})[.!?。](?=\s|$)")
# In a sentence about the answer it is what is printed bold, or what a verb says the answer is.
BOLD = re.compile(r"\*\*([^*\n]{1,200}?)\*\*")
FORMULAS = re.compile(r"(?<!\\)\$((?:[^$\n\\]|\\.){1,200})\$|\\\(([^\n]{1,200}?)\\\)")
VERBS = (
    r"(?:\b(?:is|are|was|were|be|equals?|equal\s+to|has|have|had|gets?|gives?|makes?|costs?|needs?"
    r"|earns?|pays?|paid|spends?|spent|total\s+of|measures?|weighs?|takes?|requires?|contains?|uses?"
    r"|becomes?|remains?)|[:=])"
)
VERB = re.compile(
    rf"(?:{VERBS}|\b(?:interval|point|pair|triple|vector|matrix|set|fraction|ratio))"
    r"(?:\s+(?:thus|then|therefore|hence|exactly|just|only))?\s*\Z",
    re.IGNORECASE,
)
DENYING = re.compile(rf"\b(?:{DENIED})\b|n['’]t\b", re.IGNORECASE)
# Said of an answer, and none itself.
ABOUT = re.compile(
    r"(?:independent|found|obtained|given|determined|derived|computed|calculated|correct|right|unique"
    r"|in|within|inside|based|consistent|verified|confirmed|reasonable|clear|symmetric|an?\s+(?:\w+\s+)?(?:integer|number"
    r"|fraction|whole))\b(?:[^\d$\\]*|\s+(?:in|of)\s[^.]*)"
)
# Between two answers that are one: nothing but signs, "and", "or", a name that is given a value.
NAMED = re.compile(rf"(?:(?<![A-Za-z\\])([a-z]|\\(?:{GREEK})))\s*=\s*$")
BESIDE = re.compile(
    r"(?:\\(?:text|quad|qquad|mbox)(?![a-z])|[\s$,;.:&*/|~{}()\[\]\\、，；。•–—-]|[和与與或及或者]"
    rf"|\b(?:{AND}|as\s+well\s+as|versus|vs|to|(?:then\s+)?also)\b|または|および|と"
    r"|\n\s{0,9}\(?\d{1,2}[.):]\s|\b(?:option|case|possibility|solution|root|answer|zero)\s*\d\b|(?:\b[a-z]|\\(?:"
    rf"{GREEK}))(?:_(?:\w|\{{\w{{1,3}}\}}))?\s*=)*",
    re.IGNORECASE,
)
EITHER = re.compile(
    r"\bor\b|\bmaybe\b|\bperhaps\b|\botherwise\b|\belse\b|\\lor\b|\\vee\b", re.IGNORECASE
)
# Said of the next answer, though it is in a sentence of its own; or behind it.
ALSO = re.compile(
    r"\balternatively\b|[.;]\s+otherwise,?\s+(?:the\s+answer|it)\b|\b(?:could|might|may|can)\s+(?:also|equally|well)\b",
    re.IGNORECASE,
)
ALSO_BEHIND = re.compile(
    r"[\s$]*(?:is|are|would\s+be|might\s+be)?\s*(?:also|equally|another)\s+(?:an?\s+)?(?:\w+\s+)?"
    r"(?:possible|valid|correct|acceptable|right|solution|answer|option|possibility)\b"
)
# [4] if n is even, [5] if n is odd; [4], if inclusive, [5]
CONDITION = re.compile(
    r"[\s$]*(?P<apart>[,;(]\s*)?(?:if|when|unless|otherwise|else)\b", re.IGNORECASE
)
JOINED = re.compile(
    r"[\s$]*(?P<by>\\approx(?![a-z])|≈|[+<>]|plus|\\(?:cup|cap|pm)(?![a-z])|\\leq?(?![a-z])\s*[a-z]\s*\\leq?(?![a-z]))[\s$]*"
)
"""Between two boxes that are parts of one formula."""
SIGNS = {"≈": r"\approx", "plus": "+"}
NEXT_SENTENCE = re.compile(r"[.!?]\s|\n\s*\n|\bnot?\b", re.IGNORECASE)
MOST = 20
"""Answers, or claims of one, that are looked at: the last ones."""
BETWEEN = 80
"""Characters between two answers of which either is offered."""
# A formula that may go over several lines, and that ends the line where it ends.
FORMULA = re.compile(r"(?:\$\$(.+?)\$\$|\\\[(.+?)\\\]|\$([^$]+)\$)[.\s*]*(?:$|\n)", re.DOTALL)
LONGEST = 1000
"""Characters of an answer; the longest gold of MATH has 159."""


def beside(text: str, spans: list[tuple[int, str, int]]) -> str | None:
    """The last of the answers, with those that stand beside it: a list, or a hedge.

    An answer of the working, or one that is revised, is followed by words, or by a sentence's end.
    """
    spans = _chained(text, spans)
    if len(spans) < 2:
        return spans[0][1] if spans else None
    answers = [_named(text, spans[-1])]
    behind = spans[-1][2]
    offered = bool(ALSO_BEHIND.match(text, behind))  # the last one, beside the one before
    conditional = bool(CONDITION.match(text, behind))
    pairs = zip(reversed(spans[-MOST:-1]), reversed(spans[1:]), strict=False)
    for earlier, (start, _, _) in pairs:
        _, before, end = earlier
        between = text[end:start]
        if len(between) > BETWEEN or not before:
            break
        condition = CONDITION.match(between)
        either = (
            offered
            or ALSO.search(between)
            or (condition and (conditional or condition["apart"]))
            or (EITHER.search(between) and not NEXT_SENTENCE.search(between))
        )
        if not either and not BESIDE.fullmatch(between):
            break
        answers.append(_named(text, earlier))
        offered = False
    found = answers[::-1] if all(said for _, said in answers) else answers[:1]
    if len({*found}) == 1:  # the same once more
        found = found[:1]
    if len({name for name, _ in found}) == len(found) > 1:
        return ", ".join(f"{name}={said}" for name, said in found)  # x = [3] and y = [3]
    return ", ".join(said for _, said in found)


def _chained(text: str, spans: list[tuple[int, str, int]]) -> list[tuple[int, str, int]]:
    """With the parts of a formula as one answer: ``[3/7] \\approx [0.43]``, ``[2] + [3]``."""
    found: list[tuple[int, str, int]] = []
    for start, said, end in spans:
        joined = JOINED.fullmatch(text, found[-1][2], start) if found and said else None
        if joined and found[-1][1]:
            begin, before, _ = found.pop()
            start, said = begin, f"{before} {SIGNS.get(joined['by'], joined['by'])} {said}"
        found.append((start, said, end))
    return found


def _named(text: str, span: tuple[int, str, int]) -> tuple[str, str]:
    """The name that stands before an answer, as in ``x = \\boxed{3}``, and the answer."""
    start, said, _ = span
    name = NAMED.search(text, max(0, start - 20), start)
    return name[1] if name and "=" not in said else "", said


def claimed(text: str) -> tuple[str, int] | None:
    """What a response claims last that its answer is, and where that begins."""
    last = deque(CLAIM.finditer(text), MOST)
    claims = [found for found in last if not supposed(text, found.start())]
    behind = claims[-1].start() if claims else -1
    for chosen in deque(CHOSEN.finditer(text), 1):
        if behind < chosen.end():
            return chosen["letter"], chosen.end()
    if (first := _first(text)) and behind < first[1]:
        return first
    fields = deque(FIELD.finditer(text), MOST)
    if fields and behind < fields[-1].end():
        spans = [(f.start(), _of_field(f["value"]), f.end()) for f in fields]
        return beside(text, spans) or "", spans[-1][2]
    if not claims:
        return None
    answers = [_of_claim(_after(text, claim)) for claim in claims]
    at = next((at for at in range(len(claims) - 1, -1, -1) if not ABOUT.fullmatch(answers[at])), -1)
    begin, found = claims[at].end(), [answers[at]]
    while at > 0:
        end, start = claims[at - 1].end(), claims[at].start()
        another = ANOTHER.search(text, max(end, start - BETWEEN), start)
        if not another or start - end > 2 * BETWEEN:
            break
        at -= 1
        found.insert(0, _of_claim(text[end : another.start()]))
    return ", ".join(found), begin


def _first(text: str) -> tuple[str, int] | None:
    """What stands before the last "is the answer", with where that ends."""
    for verb in deque(IS_ANSWER.finditer(text), 1):
        start = max(0, verb.start() - LONGEST)
        found = SUBJECT.search(text, start, verb.start())
        if found and not NOT_ALONE.search(text, start, found.start()):
            return found[found.lastgroup or 0].strip(), verb.end()
    return None


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
    if "\n" in claim[0]:
        said = QUOTED.sub("", said).lstrip("*")
    if said.startswith("```") and (block := next(fenced(said), None)):
        return block.content.strip()
    if "\n" not in claim[0] or not (items := ITEMS.match(said)):
        return said
    return ", ".join(BULLET.split(items[0])[1:]) + said[items.end() :]


def _of_claim(said: str) -> str:
    """What is claimed, of a text that begins with it."""
    said = INSTEAD.sub("", at_last(said))
    if display := FORMULA.match(said):
        return (display[1] or display[2] or display[3]).strip()
    if pointed := pointed_out(said):
        return pointed
    end = CLAIM_ENDS.search(said)
    claim = said[: end.start() if end else None].strip(" \t*:")
    return _further(claim, said[end.start() :]) if end else claim


def _further(claim: str, rest: str) -> str:
    """A claim, or what its sentence goes on to: "a = 5, so a + b = 12", "7, but 9 if …".

    Where what follows has no number of its own, or the claim is none, nothing changes.
    """
    end = SENTENCE_ENDS.search(rest)
    rest = rest[: end.start() if end else None][:LONGEST]
    numbers = NUMBERS.findall(claim)
    if not numbers or (other := OTHERWISE.search(rest)) is None:
        return claim
    if not other["so"]:
        return claim if other["but"] in numbers else f"{claim}, {other[0]}"
    meant = WITH_NOUN.search(claim) if other["unit"] else "=" in claim or other["sum"]
    found = NUMBERS.findall(other["so"].rpartition("=")[2])
    if not meant or not found or {*numbers} & {*found}:
        return claim
    return other["so"].strip(" \t*:")


def pointed_out(said: str) -> str | None:
    """What a sentence says that the answer is: 12 of "After 3 weeks she has **12** apples."; None
    where the answer itself stands first, or nothing is pointed out."""
    end = SENTENCE_ENDS.search(said)
    sentence = said[: end.start() if end else None][:LONGEST]
    for mark, told in ((BOLD, None), (FORMULAS, VERB)):
        spans = [
            (found.start(), found[found.lastindex or 0].strip(), found.end())
            for found in mark.finditer(sentence)
        ]
        if not spans:
            continue
        (first, *_), (last, _, behind) = spans[0], spans[-1]
        if not re.search(r"[A-Za-z\u4e00-\u9fff]{2}", sentence[:first]) or re.search(
            r"[$*\\]", sentence[:first]
        ):
            continue
        if denied_elsewhere(sentence, last, behind):
            continue
        if DENYING.search(sentence[:last]) or re.search(r"\d|\bor\b|\bnot\b", sentence[behind:]):
            continue
        if told is None or told.search(sentence[:last]):
            return beside(sentence, spans)
    return None

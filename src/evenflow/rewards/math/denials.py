"""What takes an answer back in words: it is denied, only supposed, or revised afterwards."""

from __future__ import annotations

import re

from evenflow.rewards.math.wording import COMMAND, LONG_WORD, TEXT

# Other languages than English, which `extraction.NEGATED` has; and multiples of what follows.
ELSEWHERE = re.compile(
    r"(?:\bno\s+(?:es|son|era|fue|puede\s+ser)|\bn(?:'|’)est\s+pas|\bne\s+(?:sont|vaut|fait)\s+pas"
    r"|\bnicht|\bnon\s+(?:è|sono)|\bn[ãa]o\s+(?:é|s[ãa]o)|\bне\s+(?:равен|равна|равно|является)|[\s—-]не"
    r"|不(?:是|等于|等於|为|為|可能是)|并非|並非|\b(?:doble|mitad|triple|double|moiti[ée]|dobro|metade|doppio|metà)\s+d[eiou]"
    r"|\b(?:Doppelte|H[äa]lfte)\s+von|一半是|两倍是)\s*\Z",
    re.IGNORECASE,
)
ELSEWHERE_BEHIND = re.compile(
    r"[\s$*.]*(?:では(?:ありません|ない)|でない|じゃない|の(?:倍|半分)|(?:이|가)?\s*아니|değil|的(?:两倍|一半))"
)


def denied_elsewhere(text: str, start: int, end: int) -> bool:
    """Whether what stands there is denied in another language than English."""
    before = text[max(0, start - 40) : start]
    return bool(ELSEWHERE.search(before) or ELSEWHERE_BEHIND.match(text, end))


# A claim that nobody makes: "It is not true that the answer is 18."
SUPPOSED = re.compile(
    r"(?:\b(?:wrong|incorrect|invalid|worst|previous|earlier)\s+\Z|(?:\bnot\s+(?:true|the\s+case|correct|possible|clear|sure)\s+(?:that|whether|if)"
    r"|\b(?:doubt|deny|denies)(?:\s+that)?|\bif|\bwhether"
    r"|(?<!\bwe )\b(?:might|may|could|would)\s+(?:\w+\s+)?"
    r"(?:think|say|guess|believe|expect|assume)(?:\s+that)?"
    r"|\b(?:key|book|textbook|students?|people|someone|somebody|others?|some)\s+(?:\w+\s+)?"
    r"(?:say|claim|think|state|suggest|believe)s?(?:\s+that)?)"
    r"\s+(?:(?:the|its|an?|your|my|our)\s+)?(?:(?:final|correct|right)\s+)?\Z)",
    re.IGNORECASE,
)


def supposed(text: str, start: int) -> bool:
    """Whether the claim that begins there is only supposed, or somebody else's."""
    return SUPPOSED.search(text[max(0, start - 80) : start]) is not None


WRONG = (
    r"(?:not\s+(?:right|correct|true)|n['’]t\s+(?:right|correct)|wrong|incorrect)"
    r"(?=\s*(?:[.!;:—–]|,(?!\s+right)|\n|\Z)|\s+(?:because|since|as)\b)"
)
"""Said of the answer, and nothing beside it: not under a condition, nor of another one."""
DENIED = re.compile(
    r"\b(?:but|however|hmm+|wait|no|actually|oops|sorry|hold\s+on)\b(?:(?!\bif\b)[^.!?\n0-9]){0,40}"
    rf"\b(?:that|this|it)(?:\s+(?:is|was)|['’]s)\s*{WRONG}",
    re.IGNORECASE,
)
REPLACED = re.compile(
    r"(?<!\bif )(?<!\bthat )(?<!\bthink )(?<!\bsee )(?<!\bnotice )(?<!\bcase )(?<!\bwhere )"
    r"(?<!\bwhether )"
    r"\bI\s+(?:have\s+|just\s+)?made\s+an?\s+(?:\w+\s+)?(?:mistake|error)\b"
    r"|\bon\s+second\s+thoughts?\b"
    r"|\b(?:my|the)\s+(?:previous|earlier|first|above|initial)\s+(?:answer|result|solution)\s+"
    rf"(?:is|was)\s*{WRONG}",
    re.IGNORECASE,
)
"""Words that may be about what was tried before the answer: another value must follow."""
OTHERS = re.compile(r"[0-9]|\b(?:students?|people|some|many|others?)\b", re.IGNORECASE)
NEAR = 100
"""Characters behind an answer where it is taken back; further on, something else is."""


def revised(text: str, answer: str, end: int) -> int | None:
    """Where the words end that take back an answer, which ends there; None if it stays: if it is
    said once more behind them, or they are about what others say."""
    denied = DENIED.search(text, end, end + NEAR)
    found = denied or REPLACED.search(text, end, end + NEAR)
    if not found or OTHERS.search(text, end, found.start()):
        return None
    values = NUMBER.findall(text[found.end() : found.end() + 4 * NEAR])
    if not values and not denied:
        return None
    return None if {*NUMBER.findall(answer)} & {*values} else found.end()


NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
# "18? No, 20.", "18... no wait, 20", "18, or rather 20"
SWITCHED = re.compile(
    r"(?:[?!.,;…]|\s[—–-])\s{1,3}(?:(?:oh|ah|hmm+)[,.]?\s+)?(?:no(?=\s?[,.:;!…—–]|\s+(?:wait|sorry|it|make|actually|that)\b)"
    r"|wait\b|sorry\b|or\s+rather\b|I\s+mean\b)"
    r"(?:[\s,.:;!…—–-]|\b(?:no|wait|sorry|it\s+is|it['’]s|it\s+should\s+be|make\s+that|actually|I\s+mean|that\s+is)\b){0,20}"
    r"(?<=[\s,.:;!…—–-])(?=[-$\\({*]{0,4}(?:[0-9][0-9.,/]{0,30}|\\?frac\S{1,30})[)}*$%]{0,4}\s*(?:[.!]?\s*\Z|[.!]\s))",
    re.IGNORECASE,
)
"""Before a value that its sentence ends with: "No, 6 is too large" is about another one."""
SWITCHES = re.compile(r"\b(?:no|wait|sorry|rather|mean)\b", re.IGNORECASE)
QUESTIONED = re.compile(r"(?:[^\n?.!]|\.(?=[0-9])){1,60}\?\s{1,3}No\b")


def at_last(said: str) -> str:
    """What a claim comes to that its own sentence, or the next one, puts right; empty where it is
    only taken back."""
    line = said.partition("\n")[0][: 2 * NEAR]
    if not line.isascii() and ELSEWHERE_BEHIND.search(line.partition("。")[0]):
        return ""
    if not SWITCHES.search(line):
        return said
    *_, end = [0, *(found.end() for found in SWITCHED.finditer(line))]
    return "" if not end and QUESTIONED.match(line) else said[end:]


# Of "not K = 8", "half of K = 8" and "at most 0, 1" the value is another one, or none.
NOT_IT = re.compile(
    rf"\s*(?:{TEXT}\{{|[$({{])*\s*(?:(?:it\s+is|is|are|all)\s+)*"
    r"(?:(?:not|never|neither|except|at\s+(?:most|least)|(?:less|more|greater|fewer)\s+than)\b(?=[^=,]{0,80}[=,])"
    r"|(?:half|twice|thrice|double|triple|(?:the\s+)?(?:square|cube|reciprocal|negative|opposite|inverse)\s+"
    r"(?:root\s+)?of)\b(?=[^=]{0,80}=))",
    re.IGNORECASE,
)
SAID_OF_A_SET = re.compile(
    r"[<>]|\\(?:[lgn]eq?|[lgn]eqslant|in|cup|infty|setminus|mathbb|emptyset)(?![a-z])"
)


def says_another(gold: str, said: str) -> bool:
    """Whether the words before an answer's value make another one of it, where the gold is a
    value."""
    if not NOT_IT.match(said):
        return False
    return not (SAID_OF_A_SET.search(gold) or LONG_WORD.search(COMMAND.sub("", gold)))

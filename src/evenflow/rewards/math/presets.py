"""How others grade, for numbers that can be compared with theirs.

Each preset has its own way from a response to right or wrong; none of them is ours. `dapo` follows
the grader of DAPO (arXiv 2503.14476) in verl, `verl.utils.reward_score.math_dapo`, and through it
Minerva's normalisation (arXiv 2206.14858, appendix D): equality of text, whatever the value.
"""

from __future__ import annotations

import re

from evenflow.rewards.math.boxes import last_box
from evenflow.rewards.math.normalisation import normalise
from evenflow.rewards.thoughts import spoken

PRESETS = ("default", "dapo", "math-verify", "boxed-strict")

LAST = 300
"""Characters at a response's end that DAPO reads."""
DAPO_ANSWER = re.compile(r"answer\s*:\s*([^\n]+)", re.IGNORECASE)
# Minerva's words without meaning, in its order: an earlier one may make a later one appear.
MINERVA_REPLACED = {
    "an ": "",
    "a ": "",
    ".$": "$",
    "\\$": "",
    "\\ ": "",
    " ": "",
    "mbox": "text",
    ",\\text{and}": ",",
    "\\text{and}": ",",
    "\\text{m}": "\\text{}",
}
MINERVA_REMOVED = (
    *("square", "ways", "integers", "dollars", "mph", "inches", "hours", "km", "units"),
    *("\\ldots", "sue", "points", "feet", "minutes", "digits", "cents", "degrees", "cm", "gm"),
    *("pounds", "meters", "meals", "edges", "students", "childrentickets", "multiples"),
    *("\\text{s}", "\\text{.}", "\\text{\ns}", "\\text{}^2", "\\text{}^3", "\\text{\n}"),
    *("\\text{}", "\\mathrm{th}", "^\\circ", "^{\\circ}", "\\;", ",\\!", "{,}", '"', "\\dots"),
)
MINERVA_PATTERNS = [
    (re.compile(r"(.*?)(\$)(.*?)(\$)(.*)"), r"$\3$"),
    *((re.compile(rf"\\{name}\{{(.*?)\}}"), r"\1") for name in ("text", "textbf", "overline")),
    (re.compile(r"\\boxed\{(.*)\}"), r"\1"),
    (re.compile(r"frac([^{])(.)"), r"frac{\1}{\2}"),
    (re.compile(r"sqrt([^{])"), r"sqrt{\1}"),
]


def minerva(answer: str) -> str:
    """Minerva's normal form: what follows the last equals sign, without units, text and spaces."""
    text = answer.rpartition("=")[2]
    for old, new in MINERVA_REPLACED.items():
        text = text.replace(old, new)
    for word in MINERVA_REMOVED:
        text = text.replace(word, "")
    for pattern, by in MINERVA_PATTERNS:
        text = pattern.sub(by, text)
    text = text.replace("$", "")
    digits = text.replace(",", "")
    return (digits if digits.isdigit() else text).strip()


def dapo_right(response: str, gold: str) -> tuple[bool, str]:
    """The last "Answer: …" of the last 300 characters equals the gold in Minerva's form."""
    claims = DAPO_ANSWER.findall(response[-LAST:])
    if not claims:
        return False, f'no "Answer:" in the last {LAST} characters'
    right = minerva(claims[-1]) == minerva(gold)
    return right, "the same text" if right else "another text"


def boxed_right(response: str, gold: str) -> tuple[bool, str]:
    """What the last box holds is the gold, written alike up to `normalise`."""
    box = last_box(spoken(response) or "")
    if box is None:
        return False, "no box"
    right = normalise(box) == normalise(gold)
    return right, "the same text" if right else "another text"

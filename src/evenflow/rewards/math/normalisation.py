"""One spelling for what is written in many: delimiters, spaces, units, text, Unicode."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from evenflow.rewards.math.bases import in_base
from evenflow.rewards.math.clauses import WHERE, with_clause
from evenflow.rewards.math.layout import in_one_line
from evenflow.rewards.math.numerals import in_figures
from evenflow.rewards.math.rules import COMMAND, COMMANDS, COMPILED
from evenflow.rewards.math.spelling import in_latex
from evenflow.rewards.math.units import without_units
from evenflow.rewards.math.wording import TEXT, choice, without_lead

PLAIN_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
NUMBERS = re.compile(r"-?[0-9.]+(?:\s+-?[0-9.]+)+")
GROUPED = re.compile(r"-?[0-9]{1,3}(?:\s+[0-9]{3})+(?:\.[0-9]+)?")  # 10 000
# A list of numbers of which some have thousands' separators, with spaces or words between them.
NUMBER = r"-?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?"
BETWEEN = rf"(?:,\s+|,?\s*(?:\b(?:and|or)\b|{TEXT}\{{\s*(?:and|or)\s*\}})\s*)"
LIST = re.compile(rf"[(\[]?\s*{NUMBER}(?:{BETWEEN}{NUMBER})+\s*[)\]]?")
THOUSANDS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")
# The same in an expression, an equation, a list of equations, an interval.
GROUPS = re.compile(r"(?<![0-9.,^_])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])")
EXPRESSION = re.compile(r"[=+*/^\\A-Za-z]|[0-9)]\s*-")
NAMED_NUMBER = re.compile(r"\s*[A-Za-z]\s*=\s*-?[0-9,.]+\s*")
CLOSE_COMMA = re.compile(r",(?!\s)")
BRACKETS = re.compile(r"[(\[][^()\[\]]*|\\\{[^{}]*")
LOR = re.compile(r"\s*\\(?:lor|vee)(?![A-Za-z])\s*")
# x < 3 and x > 1: both, which a comma between them does not say
BOTH = re.compile(
    rf"^(?P<first>\s*(?P<name>[A-Za-z])\s*(?:[<>]|\\[lg]eq)[^,;]*?)\s*(?:{TEXT}\{{\s*,?\s*and\s*\}}|,?\band\b)\s*"
    r"(?=(?P=name)\s*(?:[<>]|\\[lg]eq))"
)
# the circle, It is Saturday, a right triangle; but a and b
ARTICLE = re.compile(
    r"^\s*(?:(?:it|that|this)\s+(?:is|was)\s+)?"
    r"(?:(?:an|the)\s+|a\s+(?!(?:and|or|is|times|plus|minus|over|divided|squared|cubed|to|mod)\b))?"
    r"(?=[A-Za-z]{3,}(?:\s+[A-Za-z0-9.]+){0,4}\s*\.?\s*$)",
    re.IGNORECASE,
)
OR = re.compile(r"(?<=[0-9A-Za-z)}\]])\s*,?\s+or\s+(?=[-0-9A-Za-z(\[\\])")
CONDITION = re.compile(
    r"[<>]|\\[lgn]eq(?![A-Za-z])|\\mid(?![a-z])|\{\s*[a-zA-Z]\s*[:|]|[\])]\s*,?\s+or\s+[\[(].*\\infty|\\infty.*[\])]\s*,?\s+or\s+[\[(]"
)
TRIGONOMETRY = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc|cis)")
DEGREES = re.compile(r"\^\{?\s*\\circ\s*\}?")
# One name and a value without a name in it: x = 5, f(2) = \frac{1}{2}.
ASSIGNED = re.compile(
    r"(?:\(?(?:[A-Za-z]|[A-Z]{2})'?(?:_\{?\w+\}?)?(?:\([A-Za-z0-9,]*\))?\)?"
    r"|\\(?:vec|overrightarrow|hat|bar|overline)(?:\{[A-Za-z]{1,2}\}| ?[A-Za-z])(?:_\{?\w+\}?)?"
    r"|(?:\\?Pr?|[nEDN]|Var|Cov|\\mathbb\{[PE]\})(?:\((?:[^()]|\([^()]*\))*\)|\[[^\[\]]*\]))=(?P<value>[^=<>]+)"
)
NAMES = re.compile(r"\\[A-Za-z]+|(?P<name>[A-Za-z])")
FONT = re.compile(r"\\(?:mathbf|mathrm|mathit|textbf|text|bf)\s*(?=\{)")
STATEMENTS = re.compile(r"(?:\\text\s*\{)?(?P<signs>[①-⑳](?:[\s,，、;和与及]|and)*)+\}?")
STATEMENT = re.compile("[①-⑳]")


def normalise(answer: str) -> str:
    """One spelling of an answer, so that most right answers equal the gold as text.

    Gone are the delimiters of mathematics, spaces, ``\\left`` and its kind, currency, units and
    degrees (outside trigonometry), thousands' separators written as ``{,}`` or ``,\\!``, a leading
    ``x=`` or ``x\\in``, and full stops at the end. ``\\text{…}`` keeps what is in it.
    Numbers, functions and signs as people type them are brought to LaTeX (`spelling`), numbers in
    words to figures (`numerals`), those in a base to ``1F_{16}`` (`bases`); a choice with its text
    is ``(C)5`` (`wording`); what is said of a name after a value stands at the end (`clauses`).
    ``\\dfrac12`` becomes ``\\frac{1}{2}``, ``.5`` ``0.5``, × and * ``\\cdot``, every kind of
    matrix ``pmatrix``, "and" and "or" between answers a comma. ``%`` stays. No value is computed.
    """
    return _normalised(answer)[0]


def named(answer: str) -> str:
    """The same with its ``x=``."""
    return _normalised(answer)[1]


@lru_cache(maxsize=8192)
def _normalised(answer: str) -> tuple[str, str]:
    if PLAIN_NUMBER.fullmatch(answer):
        return answer, answer
    if STATEMENTS.fullmatch(answer.strip()):
        found = "".join(sorted(set(STATEMENT.findall(answer))))
        return found, found
    answer = " ".join(answer.split())  # long runs of spaces would take patterns long
    text = _apply(COMPILED[0], in_one_line(in_latex(answer)))
    text = COMMAND.sub(lambda m: COMMANDS.get(m[0], m[0]), text).strip()
    text = without_lead(_without_font(_unwrapped(text)))
    if NUMBERS.fullmatch(text) and not GROUPED.fullmatch(text):
        text = ",".join(text.split())
    if found := choice(text):
        letter, says = found
        text = f"({letter}){normalise(says)}" if says else letter
        return text, text
    if (figures := in_figures(text.strip(" ."))) is not None:
        return figures, figures
    text = without_units(text)
    if "," in text and LIST.fullmatch(text):
        text = _without_thousands(text)
    elif "," in text:
        text = _with_plain_numbers(text)
    text = _apply(COMPILED[1], BOTH.sub(r"\g<first>\\land ", text))
    if not CONDITION.search(text):
        text = LOR.sub(" or ", text)
    text, clause = with_clause(text)
    if " or " in text:
        text = OR.sub(r"\\cup " if CONDITION.search(text) else ",", text)
    text = _apply(COMPILED[2], ARTICLE.sub("", text))
    if "circ" in text and not TRIGONOMETRY.search(text):
        text = DEGREES.sub("", text)
    text = _unwrapped(text.rstrip(".,;:").lstrip(",;:"))
    if clause:
        text += f"{WHERE}{{{clause}}}"
        return text, text
    equation, assigned = text, ASSIGNED.fullmatch(text)
    if assigned and not any(
        m["name"] and m["name"] != "i" for m in NAMES.finditer(assigned["value"])
    ):
        text = assigned["value"]
    if len(text) == 3 and text[0] == "(" and text[1].isupper() and text[2] == ")":
        return text[1], text[1]
    return in_base(text) or text, equation


def _apply(rules: list[tuple[str, Callable, str | Callable]], text: str) -> str:
    for needle, substitute, by in rules:
        if needle in text:
            text = substitute(by, text)
    return text


def _without_thousands(text: str) -> str:
    """``1,000, 2,000`` as 1000, 2000; ``1,200, 300`` may be three numbers, and stays."""
    apart = re.split(BETWEEN, text.strip("()[] "))
    grouped = [part for part in apart if "," in part]
    commas_only = len(re.findall(r",\s+", text)) == len(apart) - 1
    if commas_only and len(grouped) < len(apart) and not any(",0" in part for part in grouped):
        return text
    return THOUSANDS.sub("", text)


def _with_plain_numbers(text: str) -> str:
    """``10 \\times 100 = 1,000`` and ``(1,000, \\infty)`` without separators of thousands.

    Where another comma has no space behind it, or these stand in brackets without a comma of
    their own, they may part the members of a list: then the text stays.
    """
    if not EXPRESSION.search(text) or NAMED_NUMBER.fullmatch(text):
        return text
    if CLOSE_COMMA.search(GROUPS.sub("", text)):
        return text
    for brackets in BRACKETS.finditer(text):
        if GROUPS.search(brackets[0]) and "," not in GROUPS.sub("", brackets[0]):
            return text
    return GROUPS.sub(lambda m: m[0].replace(",", ""), text)


def _without_font(text: str) -> str:
    """``\\mathbf{\\frac{7}{12}}`` as what is in it; words, which are no formula, as they are."""
    found = FONT.match(text)
    inside = _unwrapped(text[found.end() :]) if found else text
    return inside if found and inside != text[found.end() :] and "\\" in inside else text


def _unwrapped(text: str) -> str:
    """Without braces around the whole: ``{5}`` is 5."""
    while text.startswith("{") and text.endswith("}"):
        depth = 0
        for at, character in enumerate(text):
            depth += (character == "{") - (character == "}")
            if depth == 0 and at < len(text) - 1:
                return text
        text = text[1:-1]
        if not text or depth:
            break
    return text

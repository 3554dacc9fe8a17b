"""One spelling for what is written in many: delimiters, spaces, units, text, Unicode."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from evenflow.rewards.math.bases import in_base
from evenflow.rewards.math.clauses import WHERE, with_clause
from evenflow.rewards.math.layout import in_one_line
from evenflow.rewards.math.numerals import in_figures
from evenflow.rewards.math.spelling import CONSTANT, in_latex
from evenflow.rewards.math.wording import TEXT, choice, without_lead, without_units

PLAIN_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
NUMBERS = re.compile(r"-?[0-9.]+(?:\s+-?[0-9.]+)+")
GROUPED = re.compile(r"-?[0-9]{1,3}(?:\s+[0-9]{3})+(?:\.[0-9]+)?")  # 10 000
COMMAND = re.compile(r"(?<!\\)\\[A-Za-z]+")
DROPPED = (
    "left right middle big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr bigm Bigm"
    " boldsymbol bm underline therefore implies checkmark blacksquare"
    " USD rm bf it small large Large LARGE huge Huge"
)
COMMANDS = {
    **dict.fromkeys((f"\\{name}" for name in DROPPED.split()), ""),
    **dict.fromkeys((r"\quad", r"\qquad", r"\thinspace"), " "),
    **dict.fromkeys((r"\displaystyle", r"\textstyle", r"\limits"), " "),
    **dict.fromkeys((r"\dfrac", r"\tfrac", r"\cfrac", r"\nicefrac", r"\sfrac"), r"\frac"),
    r"\bigcup": r"\cup",
    **dict.fromkeys((r"\le", r"\leqslant"), r"\leq"),
    **dict.fromkeys((r"\ge", r"\geqslant"), r"\geq"),
    **dict.fromkeys((r"\vert", r"\lvert", r"\rvert"), "|"),
    **dict.fromkeys((r"\times", r"\ast"), r"\cdot "),
    **dict.fromkeys((r"\dots", r"\dotsc", r"\cdots"), r"\ldots "),
    **dict.fromkeys((r"\sim", r"\simeq", r"\thickapprox"), r"\approx "),
    r"\lg": r"\log_{10}",
    r"\ne": r"\neq",
    r"\lt": "<",
    r"\gt": ">",
    r"\langle": "(",
    r"\rangle": ")",
    r"\lbrace": r"\{",
    r"\rbrace": r"\}",
    r"\varnothing": r"\emptyset",
    r"\degree": r"^\circ",
    r"\percent": "%",
    r"\dpercent": "%",
}


def _repeating(found: re.Match[str]) -> str:
    """The digits after the point, of which the last ones repeat."""
    once, *again = found.groups()
    return rf".{once}\overline{{{next(filter(None, again))}}}"


MOD = rf"(?:{TEXT}\{{\s*mod\s*\}}|\\?\b[pb]?mod(?![a-z]))\s*[{{}}]?\s*([^(){{}}\s]{{1,20}})\s*\}}?"

# (what must be there, pattern, replacement), in this order; every pattern takes time linear in the
# length.
RULES = [
    (
        "",
        r"(?:\b(?:US|CA|AU|NZ|HK))?(?:\\\$|(?<!\\)\$)|€|£|¥|₹|¢|(?:\bUSD|\bRs\.?)(?=\s*[0-9])",
        "",
    ),
    ("\\", r"(?<!\\)\\[()\[\]]", ""),
    ("%", r"\\?%", "%"),
    (
        "p",
        rf"(?<=[0-9])\s*({TEXT}\{{\s*)?(?:percent(?:age)?|per cent|pct)\b(?(1)\s*\}})",
        "%",
    ),
    # 2e - 5 is no 2e-5
    ("e", r"(?<=[0-9])(?:\s+e(?=\s*[-+])|e(?=\s+[-+]|[-+]\s))", r"\\cdot e"),
    # (mod 7), \pmod7, \text{ mod }7
    ("mod", rf"(?:{TEXT}\{{)?\s*\(\s*{MOD}\s*\)\s*\}}?\s*$", r" \\pmod{\1}"),
    ("mod", rf"{MOD}\s*$", r" \\pmod{\1}"),
    (",", r"(?<=[0-9])\s*(?:\{,\}|,\s*\\!)\s*(?=[0-9]{3})", ""),  # 1{,}000, 1,\!000
    ("{", r"\{:\}", ":"),  # 3{:}30
    (  # the first and the last digit that repeats
        "\\dot",
        r"(?<=[0-9])\.([0-9]*)\\dot\s*(?:\{([0-9])\}|([0-9]))\s*([0-9]*)\s*\\dot\s*(?:\{([0-9])\}|([0-9]))(?![0-9])",
        lambda m: rf".{m[1]}\overline{{{m[2] or m[3]}{m[4]}{m[5] or m[6]}}}",
    ),
    (  # of \bar, and of a bar above each digit
        ".",
        r"(?<=[0-9])\.([0-9]*)\\(?:bar|overline)\s*(?:\{\s*([0-9]+)\s*\}|([0-9]))(?:\s*(?:\.\.\.|…|\\[lc]?dots))?(?![0-9])",
        _repeating,
    ),
    (
        ".",
        r"(?<=[0-9])\.([0-9]*?)((?:[0-9][\u0304\u0305])+)(?![0-9])",
        lambda m: rf".{m[1]}\overline{{{re.sub('[^0-9]', '', m[2])}}}",
    ),
    (".", r"(?<=[0-9])\.([0-9]*)(?:\(([0-9]+)\)|\\dot\s*\{?([0-9])\}?)(?![0-9])", _repeating),
    (
        ".",
        r"(?<=[0-9])\.([0-9]{0,9}?)(?:([0-9]{2,6})\2|([0-9]{1,6})\3{2,9})\s*(?:\.\.\.|…|\\[lc]?dots(?![a-z]))",
        _repeating,
    ),
    ("\\", r"(?<!\\)\\(?:[!,;:> ]|$)", " "),
    ("~", "~", " "),
    ("\\\\", r"\\\\\s*\[[^\[\]]*\]", r"\\\\"),  # \\[4pt] between rows
    (".", r"\\(?:left|right)\s*\.", ""),
    ("\\", r"\\h?v?phantom\s*(?:\{[^{}]*\}|.)|\\[hv]space\*?\{[^{}]*\}", ""),
    ("*", r"(?<!\*)\*(?!\*)", r"\\cdot "),
    ("**", r"\*\*", "^"),
    ("\\infty", r"(?<![0-9)}\]])\s*\+\s*(?=\\infty)", ""),
    ("\\cr", r"\\cr(?![a-z])", r"\\\\"),
    ("\\not", r"\\not\s*=", r"\\neq "),
    ("\\math", r"\\(?:mathrm|mathit|mathbf)\s+([deiD])(?![A-Za-z])", r"\1"),
    ("cis", rf"(?:{TEXT}\{{\s*cis\s*\}}|(?<![A-Za-z\\])cis(?![A-Za-z]))", r"\\cis "),
    ("^", rf"(?<=[0-9])\s*\^\s*\{{?\s*(?:{TEXT}\{{\s*o\s*\}}|o(?![A-Za-z]))\s*\}}?", r"^\\circ "),
    # an ordinal: 5th, 5^{\text{th}}
    (
        "",
        rf"(?<=[0-9])\s*(?:\^\s*)?\{{?\s*(?:{TEXT}\{{\s*)?(?:st|nd|rd|th)(?![A-Za-z])\s*\}}{{0,2}}\s*$",
        "",
    ),
    ("", rf"^\s*([0-9]+)\s*(?:{TEXT}\{{)?\s*(?:in|out\s+of)\s*\}}?\s*([0-9]+)\s*$", r"\1/\2"),
    (
        "(",
        rf"\s(?:{TEXT}\{{)?\s*\(\s*(?:or\b|=)\s*\}}?(.*?)(?:{TEXT}\{{\s*\)\s*\}}|\))\s*\.?$",
        r", \1",
    ),
    ("%", r"\s\(\s*([0-9.]+\s*%)\s*\)\s*$", r", \1"),
    (",", r"(?<=,)\s*\.\.\.(?=\s*(?:,|\\?\}|$))", r"\\ldots "),
    # 10 over 5, in many ways
    ("choose", rf"^\s*(\w+)\s*(?:{TEXT}\{{)?\s*\bchoose\b\s*\}}?\s*(\w+)\s*$", r"\\binom{\1}{\2}"),
    ("C", r"(?:\{\s*\})?[_^]\s*\{?([0-9]+)\}?\s*C\s*_\s*\{?\s*([0-9]+)\s*\}?", r"\\binom{\1}{\2}"),
    ("C", r"^\s*([0-9]+)\s*C\s*([0-9]+)\s*$", r"\\binom{\1}{\2}"),
    ("C", r"(?<![A-Za-z0-9])C\s*_\s*\{?([0-9]+)\}?\s*\^\s*\{?([0-9]+)\}?", r"\\binom{\1}{\2}"),
    ("C", r"(?<![A-Za-z0-9])C\s*\^\s*\{?([0-9]+)\}?\s*_\s*\{?([0-9]+)\}?", r"\\binom{\2}{\1}"),
    ("\\overline", r"\\overline\s*\{\s*([A-Z]{2})\s*\}", r"\1"),  # a segment
    ("\\mathbb", r"(\\mathbb)\s*([A-Z])", r"\1{\2}"),
    ("matrix", r"(begin|end)\{(?:[bB]|small)?matrix\}", r"\1{pmatrix}"),
    ("array", r"\\begin\{array\}\s*\{[^{}]*\}", r"\\begin{pmatrix}"),
    ("array", r"\\end\{array\}", r"\\end{pmatrix}"),
    (
        "/",
        r"(?<![0-9/.])([0-9]+)\s+([0-9]+)\s*/\s*([0-9]+)(?![0-9/.])",
        r"\1\\frac{\2}{\3}",
    ),  # 2 1/2
    ("", r"(?<![A-Za-z])([aApP])\.?\s?[mM]\.?(?![A-Za-z])", lambda m: m[1].lower() + "m"),
    ("\\", r"\\(?:SI|qty|num)\s*\{([^{}]*)\}(?:\s*\{[^{}]*\})?", r"\1"),
    ("color", r"\\(?:text)?color\s*\{[^{}]*\}", ""),
    ("\\", rf"^\s*{TEXT}\{{([^{{}}]*)\}}\s*\.?\s*$", r"\1"),
    (
        "",
        rf"^\s*(?:(?:negative|minus)\s+|{TEXT}\{{\s*(?:negative|minus)\s*\}}\s*)(?=[0-9.\\])",
        "-",
    ),
    ("approx", r"\s*\(?\bapprox(?:\.|imately)?\)?\s*$", ""),
    ("\\choose", r"\{([^{}]*)\\choose(?![A-Za-z])([^{}]*)\}", r"\\binom{\1}{\2}"),
    ("\\choose", r"^([^{}]*)\\choose(?![A-Za-z])([^{}]*)$", r"\\binom{\1}{\2}"),
    (
        "to",
        rf"^\s*([0-9.]+)\s*(?:{TEXT}\{{\s*to\s*\}}|\bto\b)\s*([0-9.]+)\s*$",
        r"\1:\2",
    ),  # a ratio
]
# A list of numbers of which some have thousands' separators, with spaces or words between them.
NUMBER = r"-?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?"
BETWEEN = rf"(?:,\s+|,?\s*(?:\b(?:and|or)\b|{TEXT}\{{\s*(?:and|or)\s*\}})\s*)"
LIST = re.compile(rf"[(\[]?\s*{NUMBER}(?:{BETWEEN}{NUMBER})+\s*[)\]]?")
THOUSANDS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")
TEXT_RULES = [
    ("or", rf"{TEXT}\{{\s*,?\s*or\s*\}}", " or "),
    ("and", rf"{TEXT}\{{\s*,?\s*and\s*\}}", ","),
    ("\\", rf"{TEXT}\{{([^{{}}]*)\}}", r" \1 "),
    ("either", r"^\s*either\b(?=\s*\S)", ""),
    ("both", r"^\s*both\b(?=\s*\S)", ""),
    ("and", r"(?<=[0-9A-Za-z)}\]])\s*,?\s+and\s+(?=[-0-9A-Za-z(\\])", ","),
]
LOR = re.compile(r"\s*\\(?:lor|vee)(?![A-Za-z])\s*")
# x < 3 and x > 1: both, which a comma between them does not say
BOTH = re.compile(
    rf"^(?P<first>\s*(?P<name>[A-Za-z])\s*(?:[<>]|\\[lg]eq)[^,;]*?)\s*(?:{TEXT}\{{\s*,?\s*and\s*\}}|,?\band\b)\s*"
    r"(?=(?P=name)\s*(?:[<>]|\\[lg]eq))"
)
# the circle, It is Saturday
ARTICLE = re.compile(
    r"^\s*(?:(?:it|that|this)\s+(?:is|was)\s+)?(?:(?:an?|the)\s+)?(?=[A-Za-z]{3,}\s*\.?\s*$)",
    re.IGNORECASE,
)
OR = re.compile(r"(?<=[0-9A-Za-z)}\]])\s*,?\s+or\s+(?=[-0-9A-Za-z(\[\\])")
CONDITION = re.compile(
    r"[<>]|\\[lgn]eq(?![A-Za-z])|\\mid(?![a-z])|\{\s*[a-zA-Z]\s*[:|]|[\])]\s*,?\s+or\s+[\[(].*\\infty|\\infty.*[\])]\s*,?\s+or\s+[\[(]"
)
# What TeX takes where there are no braces: \frac12, \frac\pi4, \binom nk.
ONE = rf"([0-9A-Za-z]|\\(?:{CONSTANT})(?![A-Za-z]))"
SHORT_RULES = [
    ("\\", rf"\\(frac|binom)(?![a-z])\s*{ONE}\s*{ONE}", r"\\\1{\2}{\3}"),
    ("\\", rf"\\(frac|binom)\s*(\{{[^{{}}]*\}})\s*{ONE}", r"\\\1\2{\3}"),
    ("\\sqrt", rf"\\sqrt\s*{ONE}", r"\\sqrt{\1}"),
    (".", r"(?<![0-9])\.(?=[0-9])", "0."),
    ("", r"(?<=[_^])\s*([0-9])\s+(?=[0-9])", r"{\1}"),  # \\log_2 8
    ("{", r"(?<=[_^])\s*\{\s*([0-9A-Za-z])\s*\}(?!\s*[0-9])", r"\1"),
    ("\\in", r"(?<![A-Za-z\\])([A-Za-z])\s*\\in(?![A-Za-z])", ""),
    ("\\", r"(\\[A-Za-z]+)\s+(?=[A-Za-z])", "\\1\0"),
    ("", r"\s+", ""),
    ("circ", r"\^\{\\circ\}(?=[A-Za-z])", "^\\\\circ\0"),
    ("circ", r"\^\{\\circ\}", r"^\\circ"),
    ("prime", r"\^\{?\\prime\}?", "'"),
    ("|", r"^\|([A-Z]{2})\|(?==)", r"\1"),
    (")^", r"^(\([^()]*,[^()]*\))\^(?:T|\{?\\top\}?|\{T\})$", r"\1"),  # a column as a row
    ("]^", r"^\[([^()\[\]]*,[^()\[\]]*)\]\^(?:T|\{?\\top\}?|\{T\})$", r"(\1)"),
    ("\0", r"\0", " "),
    (",,", r",,+", ","),
    # (x,y)=(1,2), (x,y)\in\{(1,2)\}
    (")=", r"(?:(?<=^)|(?<=\),))\([A-Za-z](?:,[A-Za-z])+\)=(?=\(|\\begin)", ""),
    (")\\in", r"^\([A-Za-z](?:,[A-Za-z])+\)\\in(?=\\\{)", ""),
    # A(3,4): a point; C(10,5) is a number
    ("(", r"^C\(([0-9]+),([0-9]+)\)$", r"\\binom{\1}{\2}"),
    ("(", r"^[A-Z]=?(?=\([^()]*,[^()]*\)$)", ""),
    (":", r"^[A-Za-z]+(?::[A-Za-z]+)+=", ""),  # a:b:c=3:4:5
    ("\\mapsto", r"^(?:[A-Za-z]:)?[A-Za-z]\\mapsto", ""),  # x \mapsto x^2
    ("\\equiv", r"^[A-Za-z]\\equiv", ""),  # x\equiv5\pmod{7}
    ("]", r"^\](?=[^\[\]()]*,)", "("),  # ]0,1[
    ("[", r"(?<=,)([^\[\](),]*)\[$", r"\1)"),
    ("pmatrix", r"^[(\[](\\begin\{pmatrix\}(?:(?!\\begin).)*\\end\{pmatrix\})[)\]]$", r"\1"),
]
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
COMPILED = [
    [(needle, re.compile(pattern).sub, by) for needle, pattern, by in rules]
    for rules in (RULES, TEXT_RULES, SHORT_RULES)
]


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
    text = without_lead(_without_font(text))
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

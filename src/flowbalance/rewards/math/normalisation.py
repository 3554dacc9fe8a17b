"""One spelling for what is written in many: delimiters, spaces, units, text, Unicode."""

from __future__ import annotations

import re
from functools import lru_cache

PLAIN_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
UNICODE = str.maketrans(
    {
        **dict.fromkeys("−–—﹣－", "-"),
        **dict.fromkeys("×∗", r"\cdot "),
        **dict.fromkeys("·⋅", r"\cdot "),
        **dict.fromkeys("\u00a0\u2009\u202f\u2002\u2003", " "),
        "÷": "/", "π": r"\pi ", "√": r"\sqrt ", "∞": r"\infty ", "°": r"^\circ ",
        "≤": r"\leq ", "≥": r"\geq ", "≠": r"\neq ", "≈": r"\approx ", "±": r"\pm ",
        "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset ", "θ": r"\theta ",
        "½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "⅓": r"\frac{1}{3}",
        "⅔": r"\frac{2}{3}",
    }
)  # fmt: skip
SUPERSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+")
SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")

TEXT = r"\\(?:text|mbox|textnormal|textrm|textbf|textit|mathrm|mathbf|mathit|operatorname)\*?\s*"
# A clause of a list, and a time of day, are no units.
KEPT = r"(?!\s*(?:,|;|and\b|or\b|[apAP]\.?\s?[mM]\b|pi\b|i\s*\}))"
UNITS = [
    # 5 \text{ cm}^2, 12\text{ degrees}.
    re.compile(
        rf"(?<=[0-9A-Za-z)}}])\s*{TEXT}\{{{KEPT}[^{{}}]*[A-Za-z][^{{}}]*\}}"
        r"(?:\s*\^\s*\{?\s*[23]\s*\}?)?(?=\s*[.,;]*\s*$)"
    ),
    # 5 apples, 60 miles per hour, 3 square feet
    re.compile(
        r"(?<=[0-9}])\s+(?!(?:and|or|million|billion|trillion|thousand|hundred|dozen|percent|times)\b)"
        r"[A-Za-z]{3,}\.?(?:\s+[A-Za-z]+\.?)*(?:\s*\^\s*\{?[23]\}?)?(?=[.,;]*\s*$)"
    ),
    # 5cm, 12 ft
    re.compile(
        r"(?<=[0-9}])\s*(?:cm|km|mm|kg|mg|ft|mph|hrs?|mins?|ml|lbs?|oz|USD|degrees?|dollars?|cents?)"
        r"(?:\s*\^\s*\{?[23]\}?)?(?=[.,;]*\s*$)"
    ),
]
# (pattern, replacement), in this order; every pattern takes time linear in the length.
RULES = [
    (r"\\\$|(?<!\\)\$|\\USD\b|€|£|¥", ""),
    (r"(?<!\\)\\[()\[\]]", ""),
    (r"\\d?percent\b|\\?%|(?<=[0-9])\s*(?:percent|per cent)\b", "%"),
    (r"(?<=[0-9])\s*(?:\{,\}|,\s*\\!)\s*(?=[0-9]{3})", ""),  # 1{,}000, 1,\!000
    (r"(?<!\\)\\(?:[!,;:> ]|(?:quad|qquad|displaystyle|limits|thinspace)(?![A-Za-z]))|~", " "),
    (r"\\\\\s*\[[^\[\]]*\]", r"\\\\"),  # \\[4pt] between rows
    (r"\\(?:left|right)\s*\.", ""),
    (r"\\(?:left|right|[bB]igg?[lrm]?)(?![A-Za-z])", ""),
    (r"\\h?v?phantom\s*(?:\{[^{}]*\}|.)|\\[hv]space\*?\{[^{}]*\}", ""),
    (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
    (r"\\(?:le|leqslant)(?![A-Za-z])", r"\\leq"),
    (r"\\(?:ge|geqslant)(?![A-Za-z])", r"\\geq"),
    (r"\\ne(?![A-Za-z])", r"\\neq"),
    (r"\\lt(?![A-Za-z])", "<"),
    (r"\\gt(?![A-Za-z])", ">"),
    (r"\\langle(?![A-Za-z])", "("),
    (r"\\rangle(?![A-Za-z])", ")"),
    (r"\\lbrace(?![A-Za-z])", r"\\{"),
    (r"\\rbrace(?![A-Za-z])", r"\\}"),
    (r"\\[lr]?vert(?![A-Za-z])", "|"),
    (r"\\(?:times|ast)(?![A-Za-z])|(?<!\*)\*(?!\*)", r"\\cdot "),
    (r"\*\*", "^"),
    (r"\\degree(?![A-Za-z])", r"^\\circ"),
    (r"\+?\\infty|\binfinity\b|\binf\b", r"\\infty"),
    (r"(begin|end)\{(?:[bB]|small)?matrix\}", r"\1{pmatrix}"),
    (r"\\begin\{array\}\s*\{[^{}]*\}", r"\\begin{pmatrix}"),
    (r"\\end\{array\}", r"\\end{pmatrix}"),
    (r"(?<![0-9/.])([0-9]+)\s+([0-9]+)\s*/\s*([0-9]+)(?![0-9/.])", r"\1\\frac{\2}{\3}"),  # 2 1/2
    (r"(?<![A-Za-z])[aA]\.?\s?[mM]\.?(?![A-Za-z])", "am"),
    (r"(?<![A-Za-z])[pP]\.?\s?[mM]\.?(?![A-Za-z])", "pm"),
]
TEXT_RULES = [
    (rf"{TEXT}\{{\s*(?:,\s*)?(?:and|or)\s*\}}", ","),
    (rf"{TEXT}\{{([^{{}}]*)\}}", r" \1 "),
    (r"(?<=[0-9A-Za-z)}\]])\s*,?\s+(?:and|or)\s+(?=[-0-9A-Za-z(\\])", ","),
    (r"\\(?:rm|bf|it)(?![A-Za-z])", ""),
]
SHORT_RULES = [
    (r"\\frac\s*([0-9A-Za-z])\s*([0-9A-Za-z])", r"\\frac{\1}{\2}"),
    (r"\\frac\s*(\{[^{}]*\})\s*([0-9A-Za-z])", r"\\frac\1{\2}"),
    (r"\\sqrt\s*([0-9A-Za-z])", r"\\sqrt{\1}"),
    (r"(?<![0-9])\.(?=[0-9])", "0."),
    (r"(?<=[_^])\s*([0-9])\s+(?=[0-9])", r"{\1}"),  # \\log_2 8
    (r"(?<=[_^])\s*\{\s*([0-9A-Za-z])\s*\}(?!\s*[0-9])", r"\1"),
    (r"(?<![A-Za-z\\])([A-Za-z])\s*\\in(?![A-Za-z])", ""),
    (r"(\\[A-Za-z]+)\s+(?=[A-Za-z])", "\\1\0"),
    (r"\s+", ""),
    (r"\0", " "),
    (r",,+", ","),
    (r"^\([A-Za-z](?:,[A-Za-z])+\)=(?=\(|\\begin)", ""),  # (x,y)=(1,2)
    (r"^[(\[](\\begin\{pmatrix\}(?:(?!\\begin).)*\\end\{pmatrix\})[)\]]$", r"\1"),
    (r"^(-?[0-9.]+)_\{10\}$", r"\1"),
]
TRIGONOMETRY = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)")
DEGREES = re.compile(r"\^\{?\s*\\circ\s*\}?")
# One name and a value without a name in it: x = 5, f(2) = \frac{1}{2}.
ASSIGNED = re.compile(
    r"\(?[A-Za-z]{1,2}'?(?:_\{?\w+\}?)?(?:\([A-Za-z0-9,]*\))?\)?(?==)=(?P<value>[^=<>]+)"
)
NAMES = re.compile(r"\\[A-Za-z]+|(?P<name>[A-Za-z])")
COMPILED = [
    [(re.compile(pattern), by) for pattern, by in rules]
    for rules in (RULES, TEXT_RULES, SHORT_RULES)
]


@lru_cache(maxsize=8192)
def normalise(answer: str) -> str:
    """One spelling of an answer, so that most right answers equal the gold as text.

    Gone are the delimiters of mathematics, spaces, ``\\left`` and its kind, currency, units and
    degrees (outside trigonometry), thousands' separators written as ``{,}`` or ``,\\!``, a leading
    ``x=`` or ``x\\in``, and full stops at the end. ``\\text{…}`` keeps what is in it.
    ``\\dfrac12`` becomes ``\\frac{1}{2}``, ``.5`` ``0.5``, × and * ``\\cdot``, every kind of
    matrix ``pmatrix``, "and" and "or" between answers a comma. ``%`` stays. No value is computed.
    """
    if PLAIN_NUMBER.fullmatch(answer):
        return answer
    text = answer.translate(UNICODE)
    text = SUPERSCRIPT.sub(lambda m: f"^{{{m[0].translate(SUPERSCRIPTS)}}}", text)
    text = _apply(COMPILED[0], text).strip()
    for pattern in UNITS:
        text = pattern.sub("", text)
    text = _apply(COMPILED[1], text)
    text = _apply(COMPILED[2], text)
    if not TRIGONOMETRY.search(text):
        text = DEGREES.sub("", text)
    text = _unwrapped(text.rstrip(".,;:").lstrip(",;:"))
    assigned = ASSIGNED.fullmatch(text)
    if assigned and not any(m["name"] and m["name"] != "i" for m in NAMES.finditer(assigned[1])):
        text = assigned["value"]
    choice = re.fullmatch(r"\(([A-Z])\)", text)
    return choice[1] if choice else text


def _apply(rules: list[tuple[re.Pattern[str], str]], text: str) -> str:
    for pattern, by in rules:
        text = pattern.sub(by, text)
    return text


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

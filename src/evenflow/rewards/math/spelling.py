"""Mathematics as people type it, `2*sqrt(3)` or `½π`, brought to LaTeX."""

from __future__ import annotations

import math
import re
import unicodedata
from datetime import date, time
from decimal import Decimal
from fractions import Fraction
from typing import Any

# What NFKC, which makes ４ to 4 and ﬁ to fi, would spoil or leaves as it is.
SIGNS = str.maketrans(
    {
        **dict.fromkeys("−–—﹣－‐‑‒", "-"),
        **dict.fromkeys("×∗⋅·•✕", r"\cdot "),
        **dict.fromkeys("\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007", " "),
        **dict.fromkeys("\u2008\u2009\u200a\u202f\u205f\u3000", " "),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", ""),
        **dict.fromkeys("∣｜", "|"), **dict.fromkeys("∶：", ":"),
        **dict.fromkeys("、،", ","), **dict.fromkeys("。｡", "."),
        "٫": ".", "٬": ",", "’": "'", "÷": "/", "∕": "/", "⁄": "/",
        "π": r"\pi ", "∞": r"\infty ", "°": r"^\circ ", "º": r"^\circ ",
        "≤": r"\leq ", "⩽": r"\leq ", "≦": r"\leq ", "≥": r"\geq ", "⩾": r"\geq ", "≧": r"\geq ",
        **dict.fromkeys("或", " or "), **dict.fromkeys("和与及且", " and "),
        "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ",
        "≠": r"\neq ", "≈": r"\approx ", "≃": r"\approx ", "±": r"\pm ", "∓": r"\mp ",
        "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset ", "∖": r"\setminus ",
        "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}",
        "ℂ": r"\mathbb{C}", "⟨": "(", "⟩": ")", "′": "'",
        "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "δ": r"\delta ", "ε": r"\epsilon ",
        "θ": r"\theta ", "λ": r"\lambda ", "μ": r"\mu ", "ρ": r"\rho ", "σ": r"\sigma ",
        "τ": r"\tau ", "φ": r"\phi ", "ϕ": r"\phi ", "ω": r"\omega ",
    }
)  # fmt: skip
RAISED = re.compile("[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹ⁿⁱ]+")
LOWERED = re.compile("[₊₋]?[₀₁₂₃₄₅₆₇₈₉]+")
SMALL = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿⁱ₀₁₂₃₄₅₆₇₈₉₋₊", "0123456789-+ni0123456789-+")
ROOTS = {"√": r"\sqrt", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]"}
ROOT = re.compile(r"([√∛∜])\s*([0-9]+(?:\.[0-9]+)?)?")

FUNCTION = (
    "sqrt|cbrt|arcsin|arccos|arctan|asin|acos|atan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc"
    "|ln|log2|log10|log|exp"
)
GREEK = (
    "alpha|beta|gamma|delta|epsilon|zeta|eta|theta|kappa|lambda|mu|nu|xi|rho|sigma|tau|varphi|phi"
    "|chi|psi|omega"
)
CONSTANT = "pi|theta|alpha|beta|gamma|delta|epsilon|lambda|rho|sigma|tau|phi|omega"
WORDS = re.compile(
    r"(?<![A-Za-z\\])(?:"
    rf"(?P<function>{FUNCTION})(?:\s*(?=[({{^])|(?=\s*_)|\s*(?P<number>[0-9]+(?:\.[0-9]+)?)|(?![A-Za-z]))"
    rf"|(?P<constant>{CONSTANT})(?![A-Za-z])"
    r"|(?P<infinity>[Ii]nfinity|[Ii]nf|oo)(?![A-Za-z])"
    r"|(?P<binomial>binom|comb)\s*\(\s*(?P<above>[^(),]+),\s*(?P<below>[^(),]+)\)"
    r"|(?P<brackets>abs|floor|ceil)\s*\(\s*(?P<inside>[^()]*)\)"
    r")"
)
BRACKETS = {
    "abs": ("|", "|"),
    "floor": (r"\lfloor ", r"\rfloor "),
    "ceil": (r"\lceil ", r"\rceil "),
}
LATEX = {"asin": "arcsin", "acos": "arccos", "atan": "arctan"}
SIGNED = [
    (re.compile(r"\+/-|^\s*\+-"), r"\\pm "),
    (re.compile(r"(?<=[)\]])\s*U\s*(?=[(\[])"), r"\\cup "),
    (re.compile(r"<=|=<"), r"\\leq "),
    (re.compile(r">=|=>"), r"\\geq "),
    (re.compile(r"(?<![0-9)])\s*!=|<>"), r"\\neq "),  # 5!=120 is an equation
    (
        re.compile(r"(?<=[0-9])\s*[xX]\s*(?=10\s*(?:\^|\*\*))|(?<=[0-9])\s+x\s+(?=[0-9])"),
        r"\\cdot ",
    ),
    (re.compile(r"(?<=[0-9])'(?=[0-9]{3}(?![0-9]))|(?<=[0-9])_(?=[0-9]{3}(?![0-9]))"), ""),
]
NUMBERS = int | Decimal | Fraction
TIMES = date | time
PLAIN = re.compile(r"[A-Za-z]{2}|[<>!]=|=[<>]|<>|[0-9]\s*[xX'_]|\+/?-|[)\]]\s*U")


def in_latex(text: str) -> str:
    """`text` in ASCII, functions and constants as commands: ``2√13`` is ``2\\sqrt{13}``,
    ``pi/2`` ``\\pi /2``, ``５ x 10²`` ``5\\cdot 10^{2}``."""
    if not text.isascii():
        text = _ascii(text)
    if not PLAIN.search(text):
        return text
    for pattern, by in SIGNED:
        text = pattern.sub(by, text)
    return WORDS.sub(_command, text)


def digits(text: str) -> str:
    """`text` with the digits 0 to 9 in place of those of other scripts and widths."""
    if text.isascii():
        return text
    return "".join(
        str(unicodedata.decimal(c)) if not c.isascii() and c.isdecimal() else c for c in text
    )


def _ascii(text: str) -> str:
    text = digits(text)
    text = RAISED.sub(lambda m: f"^{{{m[0].translate(SMALL)}}}", text)
    text = LOWERED.sub(lambda m: f"_{{{m[0].translate(SMALL)}}}", text)
    # A number is under the whole of the sign: √13 is no \sqrt{1}3.
    text = ROOT.sub(lambda m: ROOTS[m[1]] + (f"{{{m[2]}}}" if m[2] else " "), text)
    text = "".join(_fraction(c) for c in text)
    return unicodedata.normalize("NFKC", text.translate(SIGNS)).translate(SIGNS)


def _fraction(character: str) -> str:
    """½ as ``\\frac{1}{2}``; anything else as it is."""
    if character.isascii() or "⁄" not in (apart := unicodedata.normalize("NFKC", character)):
        return character
    above, _, below = apart.partition("⁄")
    return rf"\frac{{{above}}}{{{below}}}"


def _command(found: re.Match[str]) -> str:
    if name := found["function"]:
        name, number = LATEX.get(name, name), found["number"]
        if name in ("log2", "log10"):  # without brackets, the logarithm of 2, of 10
            called = found.end() < len(found.string) and found.string[found.end()] in "({"
            return rf"\log_{{{name[3:]}}}" if called else rf"\log {name[3:]}{number or ''}"
        name = r"\sqrt[3]" if name == "cbrt" else "\\" + name
        if number and "sqrt" in name:
            return f"{name}{{{number}}}"
        return f"{name} {number or ''}"
    if found["constant"]:
        return f"\\{found['constant']} "
    if found["infinity"]:
        return r"\infty "
    if found["brackets"]:
        before, after = BRACKETS[found["brackets"]]
        return f"{before}{found['inside']}{after}"
    return rf"\binom{{{found['above']}}}{{{found['below']}}}"


def as_one(gold: Any) -> Any:
    """A row's gold as one: several right values (a list, a tuple, an array) as a list with commas,
    each of them what follows its last ``####``; as it is where one of them cannot be read."""
    gold = gold.tolist() if hasattr(gold, "tolist") else gold  # NumPy's
    if not isinstance(gold, list | tuple):
        return gold
    try:
        return ", ".join(written_out(as_one(each)).rpartition("####")[2].strip() for each in gold)
    except ValueError:
        return gold


def written_out(gold: Any) -> str:
    """A gold as text; ValueError says why it is none.

    A float is its shortest spelling without an exponent: 27.0 is 27, 1e-05 is 0.00001, and 6.02e23
    is 602 with 21 zeros, not what the nearest float comes to. Parquet files bring decimals, dates
    and bytes, too.
    """
    if isinstance(gold, bytes):
        return gold.decode()
    if isinstance(gold, bool) or not isinstance(gold, str | float | NUMBERS | TIMES):
        raise ValueError(f"the gold is no text but {type(gold).__name__}")
    if isinstance(gold, float | Decimal) and not math.isfinite(gold):
        raise ValueError(f"the gold is {gold}: no value was given")
    if not isinstance(gold, float):
        return f"{gold:f}" if isinstance(gold, Decimal) else str(gold)
    text = f"{Decimal(repr(float(gold) + 0.0)):f}"  # + 0.0, as -0.0 is 0
    return text.rstrip("0").rstrip(".") if "." in text else text

"""What is written in many ways, and how it is rewritten: the tables of `normalisation`."""

from __future__ import annotations

import re

from evenflow.rewards.math.spelling import CONSTANT, GREEK
from evenflow.rewards.math.wording import AND, TEXT

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


def _between(found: re.Match[str]) -> str:
    """An "and" or "or" of another language is a comma."""
    return found[1] if re.search(r"\b(?:and|or)\b", found[1]) else ", "


def _plus_minus(found: re.Match[str]) -> str:
    """``1 \\mp 2`` alone is ``1 \\pm 2``."""
    return found[0] if "\\pm" in found[1] else rf"{found[1]}\pm"


MOD = rf"(?:{TEXT}\{{\s*mod\s*\}}|\\?\b[pb]?mod(?![a-z]))\s*[{{}}]?\s*([^(){{}}\s]{{1,20}})\s*\}}?"

# (what must be there, pattern, replacement), in this order; every pattern takes time linear in the
# length.
OVER = r"(?:\{\s*([0-9a-z+ -]+)\}|([0-9a-z]))"
RULES = [
    # **1** and **5**, `1` or `5`: marks of Markdown between answers
    (
        "**",
        rf"(?<=\S)\*\*(\s*[,;、，]\s*(?:{AND}\s+)?|\s+{AND}\s+)\*\*(?=\S)",
        _between,
    ),
    ("**", r"([=:,(]\s*)\*\*(?=\S)", r"\1"),
    ("`", "`", ""),
    ("__", "__", ""),
    ("<", r"<(b|strong|em|u)>([^<>]*)</\1>", r"\2"),
    ("です", r"\s*です\s*[。.]?\s*$", ""),
    ("입니다", r"\s*입니다\s*\.?\s*$", ""),
    ("approx.", r"^\s*approx\.\s+", "approximately "),
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
    # 17 mod 5 = 2, and 2^{100} \\equiv 2 \\pmod 7
    (
        "mod",
        r"^[^=]{0,60}(?:\\bmod|\bmod\b)\s*\}?\s*\{?\s*[0-9]+\s*\}?\s*\)?\s*=\s*(-?[0-9]+)\s*$",
        r"\1",
    ),
    (
        "\\equiv",
        r"^(?:[0-9^{}()+\s!-]|\\(?:cdot|times|equiv)(?![a-z]))*\\equiv(?=[^=]*\bp?mod)",
        "",
    ),
    # (mod 7), \pmod7, \text{ mod }7
    ("mod", rf"(?:{TEXT}\{{)?\s*\(\s*{MOD}\s*\)\s*\}}?\s*$", r" \\pmod{\1}"),
    ("mod", rf"{MOD}\s*$", r" \\pmod{\1}"),
    ("∠", "∠", r"\\angle "),
    (  # 3{,}5 and 0{,}125 are decimals, 3{,}500 has thousands
        "{,}",
        r"(?<![0-9.,}])(0|[0-9]+(?=\{,\}(?![0-9]{3}(?![0-9]))))\{,\}(?=[0-9]+(?![0-9,.{]))",
        r"\1.",
    ),
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
    # x = 1 \quad x = 5
    (
        "quad",
        r"(?<=[0-9)}])(?<!or\})(?<!or \})(?<!and\})(?<!and \})"
        r"\s*\\q?quad\s*(?=[A-Za-z](?:_(?:[0-9A-Za-z]|\{\w{1,3}\}))?\s*=)",
        ", ",
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
        rf"(?<=[0-9])\s*(?:\^\s*)?(?P<brace>\{{\s*)?(?P<text>{TEXT}\{{\s*)?(?:st|nd|rd|th)(?![A-Za-z])"
        r"(?(text)\s*\})(?(brace)\s*\})(?=\s*\}?\s*$)",
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
    ("\\", r"\\(?:vec|overrightarrow)\s*(?:\{\s*([A-Za-z])\s*\}|([A-Za-z])(?![A-Za-z]))", r" \1\2"),
    ("C", rf"(?<![A-Za-z0-9])C\s*_\s*{OVER}\s*\^\s*{OVER}", r"\\binom{\1\2}{\3\4}"),
    ("C", rf"(?<![A-Za-z0-9])C\s*\^\s*{OVER}\s*_\s*{OVER}", r"\\binom{\3\4}{\1\2}"),
    ("\\overline", r"\\overline\s*\{\s*([A-Z]{2})\s*\}", r"\1"),  # a segment
    ("\\mathbb", r"(\\mathbb)\s*([A-Z])", r"\1{\2}"),
    ("matrix", r"(begin|end)\{(?:[bB]|[bBp]?small)?matrix\}", r"\1{pmatrix}"),
    ("array", r"\\begin\{array\}\s*\{[^{}]*\}", r"\\begin{pmatrix}"),
    ("array", r"\\end\{array\}", r"\\end{pmatrix}"),
    (
        "/",
        r"(?<![0-9/.])([0-9]+)\s+([0-9]+)\s*/\s*([0-9]+)(?![0-9/.])",
        r"\1\\frac{\2}{\3}",
    ),  # 2 1/2
    ("", r"(?<![A-Za-z])([aApP])\.?\s?[mM]\.?(?![A-Za-z])", lambda m: m[1].lower() + "m"),
    ("box", r"\\(?:hbox|colorbox\s*\{[^{}]*\})\s*\{([^{}]*)\}", r"\1"),
    ("\\", r"\\(?:math(?:sf|tt|cal|frak|bin)|texttt|textsf|emph)\s*\{([^{}]*[0-9][^{}]*)\}", r"\1"),
    ("\\mathcal", r"\\mathcal\s*\{?\s*O(?![A-Za-z])\s*\}?", "O"),
    ("\\tag", r"\\tag\*?\s*\{[^{}]*\}", ""),
    ("\\{", r"\\(max|min|gcd|lcm)\s*\\\{([^{}]*)\\\}", r"\\\1(\2)"),
    ("\\&", r"\s*\\&\s*", " and "),
    (
        "or ",
        rf",?\s*(?:{TEXT}\{{)?\s*\bor\s+(?:about|approximately|roughly|around)\s*\}}?",
        r" \\approx ",
    ),
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
TEXT_RULES = [
    ("or", rf"{TEXT}\{{\s*,?\s*or\s*\}}", " or "),
    ("and", rf"{TEXT}\{{\s*,?\s*and\s*\}}", ","),
    ("\\", rf"{TEXT}\{{([^{{}}]*)\}}", r" \1 "),
    ("either", r"^\s*either\b(?=\s*\S)", ""),
    ("", r"(?<=[0-9)}\]])\s+(?:und|oder|et|ou|или)\s+(?=[-0-9(\[\\])", ","),
    ("both", r"^\s*both\b(?=\s*\S)", ""),
    ("and", r"(?<=[0-9A-Za-z)}\]])\s*,?\s+and\s+(?=[-0-9A-Za-z(\\])", ","),
]
# What TeX takes where there are no braces: \frac12, \frac\pi4, \binom nk.
ONE = rf"([0-9A-Za-z]|\\(?:{CONSTANT})(?![A-Za-z]))"
# A name in a tuple of names: \theta, x_0, x', \bar{x}, f(0)
ENTRY = (
    rf"(?:\\(?:bar|hat|vec|overline|tilde)(?:\{{[A-Za-z]\}}|\s?[A-Za-z])|\\(?:{GREEK})\s?|[A-Za-z])'{{0,2}}"
    r"(?:_(?:\{\w{1,5}\}|\w))?(?:\(-?[0-9A-Za-z]\))?"
)
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
    (")=", rf"(?:(?<=^)|(?<=\),))\({ENTRY}(?:,{ENTRY})+\)=(?=\(|\\begin)", ""),
    (")\\in", r"^\([A-Za-z](?:,[A-Za-z])+\)\\in(?=\\\{)", ""),
    # A(3,4): a point; C(10,5) is a number
    ("(", r"^C\(([0-9]+),([0-9]+)\)$", r"\\binom{\1}{\2}"),
    ("=(", r"^[A-Za-z]{3,20}=(?=\([^()]*,[^()]*\)$)", ""),  # \text{Center} = (2,-1)
    ("(", r"^[A-Z]=?(?=\([^()]*,[^()]*\)$)", ""),
    (":", r"^[A-Za-z]+(?::[A-Za-z]+)+=", ""),  # a:b:c=3:4:5
    ("\\mapsto", r"^(?:[A-Za-z]:)?[A-Za-z]\\mapsto", ""),  # x \mapsto x^2
    ("\\equiv", r"^[A-Za-z]\\equiv", ""),  # x\equiv5\pmod{7}
    ("]", r"(^|\\cup|\\cap)\](?=[^\[\]()]*,)", r"\1("),  # ]0,1[
    ("[", r"(?<=,)([^\[\](),]*)\[(?=$|\\cup|\\cap)", r"\1)"),
    ("-\\{", r"(?<=[)\]])-(?=\\\{[^{}]*\}$)", r"\\setminus"),  # (0,36) - \{9\}
    ("\\mp", r"^([^±]*)\\mp(?![a-z])(?!.*\\[mp][mp](?![a-z]))", _plus_minus),
    ("pmatrix", r"^[(\[](\\begin\{pmatrix\}(?:(?!\\begin).)*\\end\{pmatrix\})[)\]]$", r"\1"),
]
COMPILED = [
    [(needle, re.compile(pattern).sub, by) for needle, pattern, by in rules]
    for rules in (RULES, TEXT_RULES, SHORT_RULES)
]
"""Before units are taken off, after that, and without spaces."""

"""Answers that are laid out: systems of equations in rows, vectors as sums of unit vectors."""

from __future__ import annotations

import re

SYSTEM = re.compile(
    r"(?:[A-Za-z](?:_\{?\w\}?)?(?:\([a-z]\))?\s*=\s*)?(?:\\left\s*)?(?:\\\{|\\lbrace)?\s*"
    r"\\begin\{(?P<kind>cases|dcases|aligned|alignedat|align\*?|array|gathered|split)\}"
    r"(?P<columns>\{[lcr|0-9\s]*\})?(?P<inside>(?:(?!\\begin\{).)*?)\\end\{(?P=kind)\}"
    r"(?:\s*\\right\s*(?:\.|\\\}))?",
    re.DOTALL,
)
RELATED = r"(?:=|<|>|\\(?:leq?|geq?|neq?|leqslant|geqslant)(?![A-Za-z]))"
# A row that says something of a name: x = 1, 0 < y
ROW = re.compile(
    rf"[A-Za-z](?:_\{{?\w\}}?)?\s*{RELATED}.+|[^=<>,]{{1,40}}{RELATED}[^,]+", re.DOTALL
)
FURTHER = re.compile(rf"\s*{RELATED}")
ROW_ENDS = re.compile(r"\\\\(?:\s*\[[^\[\]]*\])?")

# Of a function by cases: "2n & n > 1", "2n, if n > 1", "2n (n > 1)"
PIECE = re.compile(
    r"(?P<value>[^&]*?)\s*(?:,?\s*&|,|(?P<open>\())\s*(?P<condition>[^&]*?)(?(open)\))", re.DOTALL
)
RELATION = re.compile(rf"{RELATED}|\\in(?![A-Za-z])")
IF = re.compile(
    r"\\(?:text|mbox|textrm|mathrm)\s*\{\s*,?\s*(?:if|when|for|where|as)\s*\}|\b(?:if|when|for|where)\b"
)
OTHERWISE = re.compile(
    r"\\(?:text|mbox|textrm|mathrm)\s*\{\s*(?:otherwise|else|elsewhere)\.?\s*\}|\b(?:otherwise|else|elsewhere)\b"
)
PIECES = re.compile(r"\\begin\{cases\}(?P<inside>[^&]+&.*)\\end\{cases\}", re.DOTALL)
SEPARATED = r"\\"

HAT = r"\\(?:hat|vec|widehat|overrightarrow|mathbf|boldsymbol|bm|textbf|mathbb)"
HATTED = re.compile(rf"{HAT}(?![a-z])")
UNIT_VECTOR = re.compile(
    rf"(?:{HAT}\s*\{{?\s*){{1,2}}\\?(?P<axis>[ijk])(?:math)?(?![A-Za-z])\s*\}}{{0,2}}"
)
TERM = re.compile(r"\s*(?P<sign>[+-]?)\s*(?P<times>[^+-]*?)\s*(?:\\cdot|\*)?\s*@(?P<axis>[ijk])")
AXES = "ijk"


def in_one_line(text: str) -> str:
    """A system in rows as the list of its rows, ``2\\mathbf{i}-\\mathbf{j}`` as ``(2,-1)``."""
    if r"\begin" in text and (found := SYSTEM.fullmatch(text.strip())):
        return _in_pieces(found["inside"]) or _rows(found["inside"]) or text
    if HATTED.search(text):
        return _components(text) or text
    return text


def _in_pieces(inside: str) -> str | None:
    """A function by cases, ``\\begin{cases}value & condition…``: commas and "if" are gone."""
    pieces = []
    for row in ROW_ENDS.split(inside):
        said = row.strip(" \t\n.,;")
        if not said:
            continue
        found = PIECE.fullmatch(said)
        if not found or RELATION.search(found["value"]):
            return None
        condition = OTHERWISE.sub("otherwise", IF.sub(" ", found["condition"])).strip(" ,.")
        if condition != "otherwise" and not (RELATION.search(condition, 1)):
            return None
        pieces.append(f"{found['value'].strip(' ,;')} & {condition}")
    return rf"\begin{{cases}}{SEPARATED.join(pieces)}\end{{cases}}" if pieces else None


def pieces_of(text: str) -> list[tuple[str, str]] | None:
    """The values and conditions of normalised text that is a function by cases."""
    found = PIECES.fullmatch(text)
    rows = [row.partition("&") for row in found["inside"].split(SEPARATED)] if found else []
    return [(value, condition) for value, _, condition in rows] or None


def _rows(inside: str) -> str | None:
    """``x=1,y=2`` of such rows; one that begins with a relation goes on with the row before it."""
    rows: list[str] = []
    for row in ROW_ENDS.split(inside):
        said = row.replace("&", "").strip(" \t\n.,;")
        if not said:
            continue
        if rows and FURTHER.match(said):
            rows[-1] += said
        else:
            rows.append(said)
    return ", ".join(rows) if rows and all(map(ROW.fullmatch, rows)) else None


def _components(text: str) -> str | None:
    """The coefficients of unit vectors, of which at least two are there."""
    plain = UNIT_VECTOR.sub(lambda m: f"@{m['axis']}", text)
    found: dict[str, str] = {}
    at = 0
    while term := TERM.match(plain, at):
        if term["axis"] in found or (at and not term["sign"]):
            return None
        found[term["axis"]] = term["sign"].replace("+", "") + (term["times"].strip() or "1")
        at = term.end()
    if len(found) < 2 or plain[at:].strip(" ."):
        return None
    axes = AXES if "k" in found else AXES[:2]
    return f"({','.join(found.get(axis, '0') for axis in axes)})"

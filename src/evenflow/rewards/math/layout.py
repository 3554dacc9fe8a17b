"""Answers that are laid out: systems of equations in rows, vectors as sums of unit vectors."""

from __future__ import annotations

import re

SYSTEM = re.compile(
    r"(?:\\left\s*)?(?:\\\{|\\lbrace)?\s*"
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
        return _rows(found["inside"]) or text
    if HATTED.search(text):
        return _components(text) or text
    return text


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

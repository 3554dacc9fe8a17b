"""How an answer is built: the members of lists, tuples and sets, the cells of matrices."""

from __future__ import annotations

import re
from collections.abc import Sequence

from evenflow.rewards.math.spelling import GREEK

NAME = rf"(?:[a-z]|\\(?:{GREEK}))(?:_[0-9a-z])?"
ASSIGNED = re.compile(rf"((?:{NAME}=)+)([^=]+)")
PLACES = {name: place for place, name in enumerate(GREEK.split("|"))}
COORDINATES = ("r", r"\rho", r"\theta", r"\phi", r"\varphi", "z")
"""In the order that cylindrical and spherical ones have."""


def split(text: str, separators: Sequence[str]) -> list[str]:
    """Split where no bracket is open; ``(0,1]`` is as good a pair of brackets as any."""
    found: list[str] = []
    depth = start = at = 0
    while at < len(text):
        if text.startswith(("\\begin", "\\end"), at):
            depth += 1 if text[at + 1] == "b" else -1
        depth += (text[at] in "([{") - (text[at] in ")]}")
        here = depth == 0 and next((s for s in separators if text.startswith(s, at)), None)
        if here:
            found.append(text[start:at])
            start = at = at + len(here)
        else:
            at += 1
    return [*found, text[start:]]


def parts(text: str) -> tuple[str, list[str]]:
    """The kind, "list", "set" or a pair of brackets, and the members; a list may have one."""
    opened = "\\{" if text.startswith("\\{") else text[:1]
    if opened in ("(", "[", "\\{") and _closes_at_end(text):
        inside = text[len(opened) : -2 if opened == "\\{" else -1]
        if opened == "\\{":
            return "set", members(inside)
        if len(ordered := split(inside, (",", ";"))) > 1:
            return opened + text[-1], ordered
    return "list", members(text)


def _closes_at_end(text: str) -> bool:
    depth = 0
    for at, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0 and at > 1:
            return at == len(text) - 1
    return False


def members(text: str) -> list[str]:
    """Between commas or, where there are any, semicolons; ``1\\pm2`` is two."""
    between = split(text, (";",))
    between = between if len(between) > 1 else split(text, (",",))
    expanded = []
    for member in filter(None, between):
        if "\\pm" in member:
            expanded += [
                member.replace("\\pm", "+").replace("\\mp", "-"),
                member.replace("\\pm", "-").replace("\\mp", "+"),
            ]
        else:
            expanded.append(member)
    return expanded


def by_names(assigned: Sequence[str]) -> list[str]:
    """The values of ``x=1`` and ``y=2``, by the names' order, of ``x=y=1`` twice the one; none
    where others are among them."""
    found = [ASSIGNED.fullmatch(each) for each in assigned]
    named = [(name, m[2]) for m in found if m for name in m[1].split("=")[:-1]]
    whole = all(found) and len(dict(named)) == len(named) > 1
    names = {name for name, _ in named}
    if r"\theta" in names and names <= {*COORDINATES}:
        named.sort(key=lambda each: COORDINATES.index(each[0]))
    else:  # Greek ones behind the others, by their alphabet
        named.sort(key=lambda each: (each[0][0] == "\\", _place(each[0])))
    return [value for _, value in named] if whole else []


def _place(name: str) -> tuple[int, str]:
    """Of a name in its alphabet."""
    letter, _, index = name.removeprefix("\\").partition("_")
    return PLACES[letter] if name[0] == "\\" else ord(letter), index


def nested(text: str) -> str | None:
    """``[[1,2],[3,4]]`` as a matrix."""
    if not (text.startswith("[[") and text.endswith("]]")):
        return None
    rows = split(text[1:-1], (",",))
    if not all(row[:1] == "[" and row[-1:] == "]" for row in rows):
        return None
    cells = r"\\".join("&".join(split(row[1:-1], (",",))) for row in rows)
    return rf"\begin{{pmatrix}}{cells}\end{{pmatrix}}"


def rows_of(inside: str) -> list[list[str]]:
    """The cells of a matrix, row by row."""
    return [row.split("&") for row in inside.split("\\\\") if row]

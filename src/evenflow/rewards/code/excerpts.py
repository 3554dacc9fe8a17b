"""Whether a block shows once more what an earlier one has in full."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from evenflow.rewards.code.names import LITERALS, masked

SAYS = re.compile(r"print\((?:[rfbu]{0,2}(?:'[^'\n]*'|\"[^\"\n]*\"))?\)")
"""A line that prints words, or an empty line."""
AND_SO_ON = re.compile(
    r"#[ \t]*(?:\.\.\.|…|(?:the )?(?:rest|remainder) (?:of|is|as)\b|same (?:as|code)\b"
    r"|(?:existing|previous|remaining|other) (?:code|logic|steps|methods)\b)",
    re.IGNORECASE,
)
"""A comment in place of code."""
SPACED = re.compile(r" ?([^\w\s]) ?")
LEAVES = re.compile(r"(?:return|raise|yield)\b")


@dataclass(frozen=True)
class Line:
    """A line of code, without comments and white space around signs, and how far it is indented."""

    text: str
    indent: int


def code_lines(code: str) -> list[Line]:
    """The lines that hold code: no comments, no docstrings. A header of a function is but that."""
    bare = LITERALS.sub(lambda m: "" if m[0].startswith("#") else m[0], code)
    found = []
    for line, plain in zip(bare.split("\n"), masked(code).split("\n"), strict=True):
        if plain.strip():
            text = SPACED.sub(r"\1", " ".join(line.split()))
            text = "def" if text.startswith("def ") and text.endswith(":") else text
            expanded = line.expandtabs(4)
            found.append(Line(text, len(expanded) - len(expanded.lstrip())))
    return found


def is_elided(lines: Sequence[Line]) -> bool:
    """Whether ``...`` stands among other lines of its suite, for those that are left out."""
    for at, line in enumerate(lines):
        if line.text == "..." and (
            (at > 0 and lines[at - 1].indent >= line.indent)
            or (at + 1 < len(lines) and lines[at + 1].indent == line.indent)
        ):
            return True
    return False


def leaves_out(code: str) -> bool:
    """Whether a comment says that there is more."""
    return AND_SO_ON.search(code) is not None


def is_excerpt(lines: Sequence[Line], whole: Sequence[Line], says_so: bool) -> bool:
    """Whether all lines of a definition, or of a program, stand in an earlier, longer one, in this
    order, and it is not complete: it `says_so`, or ends early.

    What ends like the earlier one, or by leaving the function, or lacks only words that are
    printed, is a revision.
    """
    part = [line for line in lines if line.text != "..."]
    if not part or len(part) >= len(whole):
        return False
    left_out: list[Line] = []
    rest = iter(whole)
    for line in part:
        for other in rest:
            if other.text == line.text:
                break
            left_out.append(other)
        else:
            return False
    left_out += rest
    if all(SAYS.fullmatch(line.text) for line in left_out):
        return False
    if says_so:
        return True
    last, body = part[-1], part[min(1, len(part) - 1)]
    leaves = LEAVES.match(last.text) and body.indent == last.indent > part[0].indent
    return not (leaves or _from(part, last) == _from(whole, whole[-1]))


def _from(lines: Sequence[Line], last: Line) -> Line:
    """A line as far indented as it is from the first one."""
    return Line(last.text, last.indent - lines[0].indent)

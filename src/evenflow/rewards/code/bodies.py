"""The body of a function whose header is given, with whatever indentation it was written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from evenflow.rewards.code.names import LINE, LITERALS, definitions, masked

HEADER = re.compile(r"^(?P<indent>[ \t]*)(?:async[ \t]+)?def[ \t]+(?P<name>\w+)", re.MULTILINE)
MEMBER = re.compile(r"(?:async|def|class)\b|@")
RETURN = re.compile(r"return\b")
SPACE = re.compile(r"[ \t]*")
NOTHING = ("", "pass", "...")
INSIDE = "\0"
"""Before a line that begins within a string."""


@dataclass(frozen=True)
class _Stub:
    """A function that a text ends with, whose body is to come."""

    name: str
    outer: str
    """The indentation of its header."""
    inner: str
    """The indentation of its body."""


@dataclass(frozen=True)
class _Logical:
    """A line of a program as Python counts them, which may hold several of the text."""

    at: int
    """The first line of the text."""
    indent: str
    text: str
    opens: bool
    """Whether a suite must follow."""


def is_body(code: str) -> bool:
    """Whether a block is the body of a function rather than a program: it is indented, or returns
    outside functions."""
    return code[:1].isspace() or _returns(_logical(_marked(code)))


def as_body(setup: str, code: str) -> str:
    """The code, indented as the body of the function that the setup ends with, if it is that.

    It is where it begins indented; or could not stand alone, for it returns outside functions, or
    the first of its lines has lost its indentation. What defines the function is left alone.
    """
    stub = _stub(setup)
    if stub is None or stub.name in definitions(code):
        return code
    marked = _marked(code)
    found = _logical(marked)
    lines = LINE.findall(code)
    if not found:
        return code
    if not _fit(found, stub):
        ends = ("", stub.outer)
        suite = [each.indent for each in found[1:]]
        suite = suite[: next((at for at, each in enumerate(suite) if each in ends), len(suite))]
        if not suite:
            return code
        first = replace(found[0], indent=min(suite, key=_columns))
        lines[first.at] = first.indent + lines[first.at].lstrip(" \t")
        found[0] = first
        if not _fit(found, stub):
            return code
    elif found[0].indent == stub.outer and MEMBER.match(found[0].text):
        return code  # another function of the same class
    elif not found[0].indent and not _returns(found):
        return code
    base = found[0].indent
    inner = base if base and _columns(base) == _columns(stub.inner) else stub.inner
    for at, line in enumerate(lines):
        if not line.strip() or marked[at].startswith(INSIDE):
            continue
        if line.startswith(base):
            lines[at] = inner + line[len(base) :]
        elif at < found[0].at:  # a comment
            lines[at] = inner + line
    return "".join(lines)


def _stub(setup: str) -> _Stub | None:
    """The function without a body that a text ends with."""
    plain = masked(setup)
    headers = list(HEADER.finditer(plain))
    if not headers:
        return None
    depth, at = 0, headers[-1].end()
    while at < len(plain) and (depth > 0 or plain[at] != ":"):
        depth += (plain[at] in "([{") - (plain[at] in ")]}")
        at += 1
    beside, _, below = setup[at + 1 :].partition("\n")
    if plain[at + 1 :].strip() not in NOTHING or (beside.strip() and beside.strip()[0] != "#"):
        return None
    outer = headers[-1]["indent"]
    starts = (line for line in below.split("\n") if line.strip())
    inner = next((SPACE.match(line) for line in starts if line.strip()[0] != "#"), None)
    return _Stub(headers[-1]["name"], outer, inner[0] if inner else f"{outer}    ")


def _marked(code: str) -> list[str]:
    """The lines without comments and what stands in strings, those that begin in one marked."""
    plain = LITERALS.sub(
        lambda m: "" if m[0].startswith("#") else f"'{f'{chr(10)}{INSIDE}' * m[0].count(chr(10))}'",
        code,
    )
    return plain.split("\n")


def _logical(marked: Sequence[str]) -> list[_Logical]:
    found: list[_Logical] = []
    depth, goes_on = 0, False
    for at, line in enumerate(marked):
        if not line.strip():
            continue
        opens = line.rstrip().endswith(":")
        if depth > 0 or goes_on or line.startswith(INSIDE):
            if found:
                found[-1] = replace(found[-1], opens=opens)
        else:
            text = line.lstrip(" \t")
            found.append(_Logical(at, line[: len(line) - len(text)], text, opens))
        depth += sum(map(line.count, "([{")) - sum(map(line.count, ")]}"))
        goes_on = line.rstrip().endswith("\\")
    return found


def _fit(lines: Sequence[_Logical], stub: _Stub) -> bool:
    """Whether Python takes the indentation of lines, the first as it is."""
    levels = sorted({0, _columns(stub.outer), _columns(lines[0].indent)})
    opened = False
    for line in lines:
        column = _columns(line.indent)
        if opened != (column > levels[-1]):
            return False
        if opened:
            levels.append(column)
        while levels[-1] > column:
            levels.pop()
        if levels[-1] != column:
            return False
        opened = line.opens
    return True


def _returns(lines: Sequence[_Logical]) -> bool:
    """Whether a ``return`` stands at the margin's level, outside functions."""
    function: int | None = None
    for line in lines:
        column = _columns(line.indent)
        if function is not None and column <= function:
            function = None
        if function is None and RETURN.match(line.text):
            return True
        if function is None and re.match(r"(?:async[ \t]+)?def\b", line.text):
            function = column
    return False


def _columns(indent: str) -> int:
    return len(indent.expandtabs(8))

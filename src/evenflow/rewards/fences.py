"""Fenced blocks in an answer: CommonMark's rules, and what models write instead.

CommonMark (0.31, section 4.5): a fence is a line of three or more backticks or tildes; it is closed
by a line of as many or more of the same, indented by at most three spaces, or by the text's end.
Here a fence may stand in list items and quotes at any depth; their marks and indentation are taken
off its lines. Beyond CommonMark: a fence within a triple-quoted string of a program closes nothing,
one at the end of a program's last line closes, one of Python opens at the end of a line of prose or
after a program that was never closed, and a program may begin beside its fence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

OPENING = re.compile(
    r"(?P<lead>(?:[ \t]|>|[-*+][ \t]|\d{1,9}[.)][ \t])*)"
    r"(?:(?P<ticks>`{3,})(?P<info>[^`\n]*)|(?P<tildes>~{3,})(?P<words>[^\n]*))\s*\Z"
)
IN_PROSE = re.compile(
    r"[^`\n]*[^`\s][ \t]*(?P<ticks>`{3,})[ \t]*(?P<info>py(?:thon)?3?)\s*\Z", re.I
)
# What closes with the fence: a tag, a model's special token, a box; or a sentence.
AFTER = re.compile(
    r"(`{3}|~{3})(?:\s*(?:</[\w-]{1,30}>|<\|[\w-]{1,40}\|>|\}))+$"
    r"|(?<!\S)(`{3,}|~{3,})[ \t]+[A-Za-z][\w',.]*[ \t]+\S.*$"
)
LANGUAGE = re.compile(r"\{?\s*\.?([\w+#-]+)")
PYTHON = re.compile(r"(?:i|c)?py(?:thon|py)?[\d.-]*")
# ```python def f(x): …, ```import math
BESIDE = re.compile(
    rf"(?:(?i:{PYTHON.pattern})\s+)?(?P<code>(?:(?:async\s+)?def\s+\w+\s*\(|class\s+\w+\s*[(:]"
    r"|import\s+\w|from\s+[\w.]+\s+import\s|print\s*\().*)"
)
QUOTED = re.compile(r" {0,3}> ?")
COMMENT_OR_STRING = re.compile(
    r"#[^\n]*|('''|\"\"\")|'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"", re.DOTALL
)
# A fence with a model's special token behind it is a line: the next turn may begin in the same one.
LINE = re.compile(r"[ \t]*(?:`{3,}|~{3,})[ \t]*<\|[\w-]{1,40}\|>(?=[^\n])|[^\n]*\n|[^\n]+")
TAB = 4


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    language: str
    """The first word after the fence, in lower case; empty if there is none."""
    content: str
    start: int
    """Where its fence begins in the text, with what is before it in a list item or quote."""
    end: int
    """Behind the line that closes it."""

    @property
    def is_python(self) -> bool:
        """Whether it says that it is."""
        return PYTHON.fullmatch(self.language) is not None


@dataclass(frozen=True)
class _Fence:
    mark: str
    language: str = ""
    quotes: int = 0
    indent: int = 0
    at: int = 0
    """Where it begins in its line."""
    beside: str = ""
    """The program's first line, where it stands in the fence's."""

    def within(self, line: str) -> str:
        """The line without the marks of the quotes that the block stands in."""
        for _ in range(self.quotes):
            line = QUOTED.sub("", line, count=1)
        return line

    def before_closing(self, line: str) -> str | None:
        """What stands before a closing fence at the line's end; None if there is no such fence."""
        line = AFTER.sub(lambda m: m[1] or m[2], line.rstrip())
        before = line.rstrip(self.mark[0])
        return before if len(line) - len(before) >= len(self.mark) else None

    def starts_anew(self, line: str) -> bool:
        """Whether a line is a fence of Python, of such a mark: no line of a program is."""
        another = opening(line) if OPENING.match(line) else None
        return (
            another is not None
            and another.mark.startswith(self.mark)
            and PYTHON.fullmatch(another.language) is not None
        )


def fenced(text: str, code_first: bool = False) -> Iterator[Block]:
    """The blocks of a text, whose lines end with ``\\n``, one after another.

    With `code_first` the text begins within a block of Python, whose fence stood before it.
    """
    lines = LINE.findall(text)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    fence = _Fence("```", "python") if code_first else None
    first = place = 0  # of the block's content, of its fence
    while place < len(lines):
        if fence is None:
            fence = opening(lines[place])
            first = place + 1
        if fence is None:
            place += 1
            continue
        last, end, glued = _closing(lines, first, fence)
        content = [" " * fence.indent + fence.beside + "\n"] if fence.beside else []
        content += [fence.within(line) for line in lines[first:last]]
        if glued is not None:
            content.append(glued + "\n")
        start = starts[place] + fence.at
        yield Block(fence.language, _dedented(content, fence.indent), start, starts[end])
        fence, place = None, end


def opening(line: str) -> _Fence | None:
    """The fence that a line opens a block with."""
    if "```" not in line and "~~~" not in line:
        return None
    found = OPENING.match(line)
    if found is None:
        found = IN_PROSE.match(line)
        return found and _Fence(found["ticks"], found["info"].lower(), at=found.start("ticks"))
    info = (found["info"] or found["words"] or "").strip()
    beside = BESIDE.match(info)
    language = LANGUAGE.match(info[: beside.start("code")] if beside else info)
    _, quote, inner = found["lead"].rpartition(">")
    return _Fence(
        found["ticks"] or found["tildes"],
        language[1].lower() if language else "",
        found["lead"].count(">"),
        _columns(inner[1:] if quote and inner.startswith(" ") else inner),
        beside=beside["code"] if beside else "",
    )


def _closing(lines: Sequence[str], first: int, fence: _Fence) -> tuple[int, int, str | None]:
    """Where a block's lines end, where the text goes on, and what of the block stands in the line
    of its closing fence.

    A fence in a string of a program, or indented too far, closes if nothing better does.
    """
    program = not fence.language or PYTHON.fullmatch(fence.language) is not None
    quote, nested = "", False  # of an open string; whether a fence has opened within it
    quoted: int | None = None  # the first in a string
    far: int | None = None  # the first indented too far
    for at in range(first, len(lines)):
        line = fence.within(lines[at])
        before = fence.before_closing(line)
        if before is None:
            if quote and opening(line):
                if quoted is not None:
                    break  # the string was never closed, and this is another block
                nested = True
            elif program and not quote and fence.starts_anew(line):
                if far is None:
                    return at, at, None
                break
        elif before.strip():
            if program and open_string(before, quote) == "":
                return at, at + 1, before
        elif quote and nested:
            nested = False
        elif quote:
            quoted = at if quoted is None else quoted
        elif _columns(before) > fence.indent + 3:
            far = at if far is None else far
        else:
            return at, at + 1, None
        if program:
            quote = open_string(line, quote) or ""
    if quote and quoted is not None:  # a string that was never closed
        return quoted, quoted + 1, None
    if far is not None:
        return far, far + 1, None
    return len(lines), len(lines), None


def open_string(line: str, quote: str = "") -> str | None:
    """The mark of the triple-quoted string that is open after a line of Python, empty if none is,
    None in a comment; `quote` is what was open before it."""
    at = 0
    while True:
        if quote:
            at = line.find(quote, at)
            if at < 0:
                return quote
            at, quote = at + 3, ""
        found = COMMENT_OR_STRING.search(line, at)
        if found is None:
            return ""
        if found[0].startswith("#"):
            return None
        at, quote = found.end(), found[1] or ""


def _columns(space: str) -> int:
    """How far a line's start is indented."""
    return len(space.expandtabs(TAB))


def _dedented(lines: Sequence[str], columns: int) -> str:
    """Lines without the fence's indentation, up to what each has of it; as they are where the
    first is indented less than the fence."""
    started = next((line for line in lines if line.strip()), "")
    if _columns(started[: len(started) - len(started.lstrip())]) < columns:
        columns = 0
    return "".join(_without(line, columns) for line in lines)


def _without(line: str, columns: int) -> str:
    width = at = 0
    while at < len(line) and line[at] in " \t" and width < columns:
        width += 1 if line[at] == " " else TAB - width % TAB
        at += 1
    return " " * max(0, width - columns) + line[at:]

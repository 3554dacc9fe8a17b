"""A program in a text without fences: inline, indented, or between lines of prose."""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence
from textwrap import dedent

from evenflow.rewards.code.names import (
    ASSIGNMENT,
    LINE,
    READS,
    definitions,
    masked,
    runs_on_input,
)

INLINE = re.compile(r"(?<!`)(`{1,3})(?!`)(?:py(?:thon)?3? +)?(?P<code>[^`\n]+)\1(?!`)")
RETURN = re.compile(r"\s*return\b\s*\S")
STARTS = re.compile(
    r"(?:async def|def|class)\s+\w+\s*[(:]|import [\w., ]+$|from [\w.]+ import |@\w+"
    r"|\w+(?:,\s*\w+)*\s*=\s*(?:\w+\(|\[|sys\.)|print\(|for \w.* in .*:$"
)
IDEOGRAMS = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
PUNCTUATION = re.compile("[\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f]")
"""Of Chinese and Japanese, which no program has outside strings and comments."""
HEADING = re.compile(r"#{2,6} +\S")
CALL = re.compile(r"(?!O\()[A-Za-z_][\w.]*(?:\[[^\]\n]*\])?(?:\(| *[-+*/%|&^]{1,2}= )")
BLOCK = re.compile(r"(?:if|for|while|with|try|else|elif|except|finally)\b.*:\s*(?:#.*)?$")
# A sentence, a heading or a list of Markdown: what no statement begins with.
PROSE = re.compile(
    r"(?!\w+(?:, ?\*?\w+)* ?=)[A-Z][\w'’]*(?:[,.;:!?]? [\w'’`*\-]+){2}|[A-Z][a-z]+ [a-z]+[.!]\s*$"
    r"|\*\*\w|-{3,}\s*$|[A-Z]\w+(?: \w+){0,3}:\s*$"
    r"|#{2,} \w|[-*] \w|[0-9]+\. |>{1,3} "
    rf"|(?!(?:{'|'.join((*keyword.kwlist, *keyword.softkwlist))})\b)[a-z][\w'’]* "
    r"(?!(?:and|as|else|for|if|in|is|not|or)\b)[a-z][\w'’-]* [\w'’`*(]"
    rf"|[{IDEOGRAMS}][^=(.\[\n]*\.?\s*$"
    r"|[^\W\d_A-Za-z]\w*,? (?!(?:and|as|else|for|if|in|is|not|or)\b)[^\W\d_]"
)


def without_fences(said: str, name: str | None) -> str:
    """The last program in inline code, if there is one, or between lines of prose; else what may be
    the body of a function: the one line that returns in inline code, or all before a sentence;
    else all of the text."""
    for found in reversed(list(INLINE.finditer(said))):
        code = found["code"].strip()
        if name in definitions(code) if name else READS.search(code) and "print" in code:
            return code
    found = _between_prose(said, name) or _between_prose(_indented(said), name)
    if found or not name:
        return found or said
    bodies = {m["code"].strip() for m in INLINE.finditer(said) if RETURN.match(m["code"])}
    return bodies.pop() if len(bodies) == 1 else up_to_prose(said) or said


def _between_prose(said: str, name: str | None) -> str:
    """A program without a fence: from a line that begins one, up to a sentence; empty if none."""
    lines = LINE.findall(said)
    start = next((at for at, line in enumerate(lines) if STARTS.match(line)), len(lines))
    above = [at for at in range(start) if not _goes_with_code(lines[at])]
    start = above[-1] + 1 if above else 0  # constants above the first function
    code = up_to_prose("".join(lines[start:]))
    fit = name in definitions(code) if name else runs_on_input(code)
    return code if fit else ""


def _goes_with_code(line: str) -> bool:
    """Whether a line may stand above a program's first definition, and is no sentence."""
    if not line.strip() or line[0] in " \t#)]}":
        return not PROSE.match(line)
    return bool(ASSIGNMENT.match(line) or BLOCK.match(line)) and not PROSE.match(line)


def _indented(said: str) -> str:
    """The lines that Markdown takes for code: indented, after an empty one or another of them."""
    kept: list[str] = []
    before = ""
    for line in LINE.findall(said):
        goes_on = not before.strip() or (kept and before == kept[-1])
        if line.startswith(("    ", "\t")) and goes_on:
            kept.append(line)
        elif kept and not line.strip():
            kept.append("\n")
        before = line
    return dedent("".join(kept))


def up_to_prose(code: str) -> str:
    """The lines before the first that is a sentence at the margin, outside strings."""
    lines, kept = LINE.findall(code), []
    headings = _headings(lines)
    for at, (line, plain) in enumerate(zip(lines, LINE.findall(masked(code)), strict=True)):
        is_code = plain[0].isspace() and at not in headings
        if not is_code and (PROSE.match(line) or PUNCTUATION.search(plain)):
            break
        kept.append(line)
    return "".join(kept)


def _headings(lines: Sequence[str]) -> set[int]:
    """Where lines are headings of Markdown, and no comments: no code comes after them."""
    found, code_follows = set(), False
    for at in range(len(lines) - 1, -1, -1):
        line = lines[at]
        if HEADING.match(line) and not code_follows:
            found.add(at)
        elif line.strip() and not line.startswith("#"):
            code_follows = _is_code(line)
    return found


def _is_code(line: str) -> bool:
    """Whether a line looks like one of a program."""
    if PROSE.match(line):
        return False
    if line[0] in " \t@)]}\"'" or STARTS.match(line) or BLOCK.match(line):
        return True
    return bool(ASSIGNMENT.match(line) or CALL.match(line))

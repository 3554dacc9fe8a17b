"""The program in an answer."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from textwrap import dedent

from evenflow.rewards.code.choice import CODE, Asked, Part, chosen, defines
from evenflow.rewards.code.names import (
    ASSIGNMENT,
    LINE,
    READS,
    definitions,
    masked,
    runs_on_input,
    tidied,
)
from evenflow.rewards.fences import Block, fenced, open_string, opening
from evenflow.rewards.thoughts import spoken

CODE_FIRST = re.compile(
    r"\s*^(?:(?:async )?def \w+ ?\(|class \w+ ?[(:]|import \w|from [\w.]+ import |@\w"
    r"|(?: {4}|\t)\s*\S)",
    re.MULTILINE,
)
"""How a text begins that is code from its first line, or goes on with a function's stub."""
ELEMENT = re.compile(
    r"<code\b(?P<attributes>[^>]{0,200})>(?P<code>[^<]*(?:<(?!/?code\b)[^<]*)*)</code>",
    re.IGNORECASE,
)
TAG = re.compile(r"</?(?:span|br|pre|div|font|em|strong)\b[^<>]{0,200}>", re.IGNORECASE)
"""Of the markup that there may be in an element of code; ``a<b and c>d`` is none."""
ANSWER = re.compile(
    r"(?:<(?:answer|solution|python)>|\[(?:PYTHON|BEGIN)\]"
    r"|\\begin\{(?:lstlisting|minted|verbatim)\}(?:\[[^\]\n]*\])?(?:\{\w+\})?)\n?(?P<code>.*?)"
    r"(?:</(?:answer|solution|python)>|\[(?:/PYTHON|DONE|END)\]"
    r"|\\end\{(?:lstlisting|minted|verbatim)\}|\Z)",
    re.IGNORECASE | re.DOTALL,
)
MARKDOWN = ("markdown", "md")
INLINE = re.compile(r"(?<!`)(`{1,3})(?!`)(?:py(?:thon)?3? +)?(?P<code>[^`\n]+)\1(?!`)")
FUTURE = re.compile(
    r"^from[ \t]+__future__[ \t]+import[ \t]+(?:\([^)]*\)|[^\n;#(]*)[ \t]*;?[ \t]*(?:#[^\n]*)?\n?",
    re.MULTILINE,
)
FIELDS = ("code", "program", "solution", "answer", "completion")
TYPED = re.compile(r"^(?:>>>|\.\.\.)(?: (.*\n?)|\n)", re.MULTILINE)
"""A line as it stands in Python's console."""
STARTS = re.compile(
    r"(?:async def|def|class)\s+\w+\s*[(:]|import [\w., ]+$|from [\w.]+ import |@\w+"
    r"|\w+(?:,\s*\w+)*\s*=\s*(?:\w+\(|\[|sys\.)|print\(|for \w.* in .*:$"
)
CLASS = re.compile(r"^[ \t>]*class[ \t]+Solution\b", re.MULTILINE)
BLOCK = re.compile(r"(?:if|for|while|with|try|else|elif)\b.*:\s*(?:#.*)?$")
# A sentence, a heading or a list of Markdown: what no statement begins with.
PROSE = re.compile(
    r"(?!\w+(?:, ?\*?\w+)* ?=)[A-Z][\w'’]*(?:[,.;:!?]? [\w'’`*\-]+){2}|[A-Z][a-z]+ [a-z]+[.!]\s*$"
    r"|\*\*\w|-{3,}\s*$|[A-Z]\w+(?: \w+){0,3}:\s*$"
    r"|#{2,} \w|[-*] \w|[0-9]+\. |>{1,3} "
)
STUB_ENDS = re.compile(
    r"^(?P<indent>[ \t]*)\S[^\n]*:[ \t]*(?:#[^\n]*)?\n?(?:\s*#[^\n]*)*\s*\Z", re.M
)


def extract(text: str, entry_point: str | None = None) -> str:
    """The program in an answer to a question whose tests call `entry_point`, or run a program.

    Only what stands after the last thought counts (nothing, if a thought does not end). Of the
    blocks fenced as Python, or without a name, the last that defines the entry point, or that reads
    standard input where there is none; else the last one. What it uses of other blocks'
    definitions goes before it, of the nearest earlier one that has it. A block that the end of the
    text cuts off counts as far as it goes. Without blocks: a program in ``<code>``, ``<answer>`` or
    inline code, or the lines of one between lines of prose; else all of the text.
    """
    said = spoken(text)
    if said is None:
        return ""
    said = said.replace("\r\n", "\n").replace("\r", "\n").lstrip("\ufeff")
    asked = _called(said, entry_point)
    blocks = [block for block in _blocks(said) if block.content.strip()]
    parts = [
        Part(flush(block.content, asked.name), block.is_python)
        for block in blocks
        if block.is_python or not block.language
    ]
    if parts:
        return chosen(parts, asked)
    tagged = [found["code"] for found in ANSWER.finditer(said) if not blocks]
    said = tagged[-1] if tagged else said
    said = blocks[-1].content if blocks else said
    if (inside := _of_json(said)) is not None:
        return extract(inside, entry_point)
    return flush(said if blocks else _inline(said, asked.name), asked.name)


def _called(said: str, entry_point: str | None) -> Asked:
    """What an answer must define: the function, or the class, unless the method stands alone."""
    name, _, method = (entry_point or "").partition(".")
    alone = name == "Solution" and method and not CLASS.search(said)
    return Asked(method) if alone else Asked(name or None, method or None)


def _of_json(said: str) -> str | None:
    """The program in an object of JSON, where structured output was asked for."""
    if not said.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(said, strict=False)
    except (ValueError, RecursionError):
        return None
    return next((found[key] for key in FIELDS if isinstance(found.get(key), str)), None)


def _blocks(said: str) -> list[Block]:
    """The blocks of a text; its first lines are one, too, where they are code. Elements of HTML if
    there are no others."""
    if CODE_FIRST.match(said) or _opened_before(said):
        first, *others = fenced(said, code_first=True)
        quote = ""
        for line in LINE.findall(first.content):
            if not quote and opening(line):
                break
            quote = open_string(line, quote) or ""
        else:
            return [replace(first, content=_up_to_prose(first.content)), *others]
    if blocks := list(fenced(said)):
        return [inner for block in blocks for inner in _within(block)]
    return [
        Block(
            "python" if "py" in found["attributes"].lower() else "",
            html.unescape(TAG.sub("", found["code"])),
            found.start(),
            found.end(),
        )
        for found in ELEMENT.finditer(said)
        if "\n" in found["code"] or CODE.search(found["code"])
    ]


def _within(block: Block) -> list[Block]:
    """The blocks in one of Markdown; else the block itself."""
    return (block.language in MARKDOWN and list(fenced(block.content))) or [block]


def _inline(said: str, name: str | None) -> str:
    """The last program in inline code, if there is one; else all of the text."""
    for found in reversed(list(INLINE.finditer(said))):
        code = found["code"].strip()
        if name in definitions(code) if name else READS.search(code) and "print" in code:
            return code
    return _between_prose(said, name) or said


def _between_prose(said: str, name: str | None) -> str:
    """A program without a fence: from a line that begins one, up to a sentence; empty if none."""
    lines = LINE.findall(said)
    start = next((at for at, line in enumerate(lines) if STARTS.match(line)), len(lines))
    above = [at for at in range(start) if not _goes_with_code(lines[at])]
    start = above[-1] + 1 if above else 0  # constants above the first function
    code = _up_to_prose("".join(lines[start:]))
    fit = name in definitions(code) if name else runs_on_input(code)
    return code if fit else ""


def _goes_with_code(line: str) -> bool:
    """Whether a line may stand above a program's first definition, and is no sentence."""
    if not line.strip() or line[0] in " \t#)]}":
        return not PROSE.match(line)
    return bool(ASSIGNMENT.match(line) or BLOCK.match(line)) and not PROSE.match(line)


def _opened_before(said: str) -> bool:
    """Whether a text begins within a block, whose fence stood before it: of its fences, an odd
    number, the first names no language, and what is before it is a program's."""
    lines = LINE.findall(said)
    fences = [(at, found) for at, line in enumerate(lines) if (found := opening(line))]
    if len(fences) % 2 == 0 or fences[0][1].language:
        return False
    before = lines[: fences[0][0]]
    first = next((line for line in before if line.strip()), "")
    began = ASSIGNMENT.match(first) or BLOCK.match(first) or STARTS.match(first)
    began = began or first.startswith(("#", '"""', "'''"))
    return bool(began) and not PROSE.match(first) and CODE.search("".join(before)) is not None


def _up_to_prose(code: str) -> str:
    """The lines before the first that is a sentence at the margin, outside strings."""
    kept: list[str] = []
    for line, plain in zip(LINE.findall(code), LINE.findall(masked(code)), strict=True):
        if PROSE.match(line) and not plain[0].isspace():
            break
        kept.append(line)
    return "".join(kept)


def flush(code: str, name: str | None) -> str:
    """The code with plain spaces, and at the margin if it defines the name, or is a program."""
    code = tidied(code)
    start = code.lstrip("\n")
    if start.startswith(">>> "):
        typed = "".join(found[1] or "\n" for found in TYPED.finditer(start))
        if defines(typed, name) if name else runs_on_input(typed):
            return typed
    if start[:1] in (" ", "\t") and name:
        moved = dedent(code)
        return moved if name in definitions(moved) else code
    return code


def joined(setup: str, code: str) -> str:
    """The code after its setup: an indented one continues it, any other one stands on its own.

    Imports from `__future__` come first, as Python wants them.
    """
    future = [line if line.endswith("\n") else f"{line}\n" for line in _future(setup, code)]
    setup, code = FUTURE.sub("", setup), FUTURE.sub("", code)
    lines = (line for line in code.splitlines() if line.strip())
    continues = next(lines, "").startswith((" ", "\t"))
    stub = setup.rstrip().rpartition("\n")[2].startswith((" ", "\t")) or STUB_ENDS.search(setup)
    if continues and not stub:  # imports, or nothing: there is no body to go on with
        code, continues = dedent(code), False
    if not setup.strip():
        return "".join(future) + code
    if not continues:
        if stub := STUB_ENDS.search(setup):  # without as much as a docstring
            setup = f"{setup.rstrip()}\n{stub['indent']}    pass"
        setup += "\n\n"
    return "".join(future) + setup + code


def _future(*parts: str) -> Sequence[str]:
    return [found[0] for part in parts for found in FUTURE.finditer(part)]

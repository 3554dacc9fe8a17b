"""The program in an answer."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from textwrap import dedent

from evenflow.rewards.code.bodies import is_body
from evenflow.rewards.code.choice import CODE, Asked, Part, chosen, defines, is_whole
from evenflow.rewards.code.cut_off import without_cut_off
from evenflow.rewards.code.labels import is_called_version, is_called_wrong
from evenflow.rewards.code.names import (
    ASSIGNMENT,
    LINE,
    definitions,
    masked,
    runs_on_input,
    tidied,
)
from evenflow.rewards.code.unfenced import BLOCK, PROSE, STARTS, up_to_prose, without_fences
from evenflow.rewards.fences import Block, fenced, open_string, opening
from evenflow.rewards.thoughts import spoken

CODE_FIRST = re.compile(
    r"\s*^(?:(?:async )?def \w+ ?\(|class \w+ ?[(:]|import \w|from [\w.]+ import |@\w"
    r"|(?: {4}|\t)\s*\S)",
    re.MULTILINE,
)
"""How a text begins that is code from its first line, or goes on with a function's stub."""
ELEMENT_OPENS = re.compile(r"<code\b", re.IGNORECASE)
ELEMENT = re.compile(
    r"<code\b(?P<attributes>[^>]{0,200})>(?P<code>[^<]*(?:<(?!/?code\b)[^<]*)*)</code>",
    re.IGNORECASE,
)
TAG = re.compile(r"</?(?:span|br|pre|div|font|em|strong)\b[^<>]{0,200}>", re.IGNORECASE)
"""Of the markup that there may be in an element of code; ``a<b and c>d`` is none."""
ANSWER = re.compile(
    r"(?:<(?:answer|solution|python)>|(?-i:(?<![\w)\]])\[(?:PYTHON|BEGIN|CODE)\])"
    r"|\\begin\{(?:lstlisting|minted|verbatim)\}(?:\[[^\]\n]*\])?(?:\{\w+\})?)\n?(?P<code>.*?)"
    r"(?:</(?:answer|solution|python)>|(?-i:(?<![\w)\]])\[(?:/PYTHON|DONE|END|/CODE)\])"
    r"|\\end\{(?:lstlisting|minted|verbatim)\}|\Z)",
    re.IGNORECASE | re.DOTALL,
)
QUOTED = re.compile(
    r"^'{3}py(?:thon)?3?[ \t]*\n(?P<code>.*?)(?:^'{3}[ \t]*$|\Z)", re.MULTILINE | re.DOTALL
)
"""What stands between quotes for a fence."""
CLOSING = re.compile(
    r"^(?:(?-i:\[(?:/PYTHON|DONE|END|/CODE)\])|</(?:answer|solution|python|code)>"
    r"|\\end\{(?:lstlisting|minted|verbatim)\}|</s>|<(?:end_of_turn|eos)>)[ \t]*$"
    r"|<[|｜][\w▁-]{1,40}[|｜]>",
    re.MULTILINE | re.IGNORECASE,
)
"""What ends a program without a fence, or a turn: alone in its line, or a model's token."""
TOKENS = re.compile(r"\s*(?:<\|[\w-]{1,40}\|>)+\n?")
TOKEN = re.compile(r"(?:<\|[\w-]{1,40}\|>|</s>)\Z")
LONGEST_TOKEN = 44
UNNAMED = ("", "code")
MARKDOWN = ("markdown", "md")
FIELDS = ("final_code", "code", "program", "solution", "answer", "completion")
TYPED = re.compile(r"^(?:>>>|\.\.\.)(?: (.*\n?)|\n)", re.MULTILINE)
"""A line as it stands in Python's console."""
FENCES = ("```", "~~~")
CLASS = re.compile(r"^[ \t>]*class[ \t]+Solution\b", re.MULTILINE)


def extract(text: str, entry_point: str | None = None) -> str:
    """The program in an answer to a question whose tests call `entry_point`, or run a program.

    Only what stands after the last thought counts (nothing, if a thought does not end). Of the
    blocks fenced as Python, or without a name, the last that defines the entry point, or that reads
    standard input where there is none; else the last one. What it uses of other blocks'
    definitions goes before it, of the nearest earlier one that has it. A block that the end of the
    text cuts off counts as far as it goes, without a last statement that is not whole. Without
    blocks: a program in ``<code>``, ``<answer>`` or inline code, or the lines of one between lines
    of prose; else all of the text.
    """
    said = spoken(text)
    if said is None:
        return ""
    said = said.replace("\r\n", "\n").replace("\r", "\n").lstrip("\ufeff")
    said = without_tokens(said)
    asked = _called(said, entry_point)
    said = _up_to_closing(said, asked)
    told = [(before, block) for before, block in _blocks(said) if block.content.strip()]
    blocks = [block for _, block in told]
    parts = [
        Part(
            flush(block.content, asked.name),
            block.is_python,
            is_called_wrong(before, block.content),
            # One that was cut off may be anything yet.
            is_called_version(before) and said[: block.end].rstrip().endswith(FENCES),
        )
        for before, block in told
        if block.is_python or block.language in UNNAMED
    ]
    if parts and (beside := _beside_blocks(said, parts, asked)):
        return _whole(beside, said, asked)
    if parts:
        return _whole(chosen(parts, asked), said, asked)
    marks = () if blocks else (ANSWER, QUOTED)
    tagged = next(filter(None, ([m["code"] for m in each.finditer(said)] for each in marks)), [])
    said = tagged[-1] if tagged else said
    said = blocks[-1].content if blocks else said
    if (inside := _of_json(said)) is not None:
        return extract(inside, entry_point)
    code = flush(said if blocks else without_fences(said, asked.name), asked.name)
    return _whole(code, said, asked)


def _whole(code: str, said: str, asked: Asked) -> str:
    """The code without a last statement that is not whole, for the text ends there."""
    last, end = (text.rstrip().rpartition("\n")[2].lstrip(" \t>") for text in (code, said))
    return without_cut_off(code, asked.name, asked.method, last == end)


def without_tokens(said: str) -> str:
    """A text without a model's special tokens at its ends."""
    if found := TOKENS.match(said):
        said = said[found.end() :]
    while found := TOKEN.search(bare := said.rstrip(), max(0, len(bare) - LONGEST_TOKEN)):
        said = bare[: found.start()]
    return said


def _up_to_closing(said: str, asked: Asked) -> str:
    """A text without fences up to a mark that closes what the prompt has opened (``[BEGIN]`` of
    MBPP's), or ends a turn, where a program stands before it; else all of it."""
    if any(mark in said for mark in FENCES) or not CLOSING.search(said):
        return said
    found = CLOSING.search(masked(said))
    before = said[: found.start()] if found else ""
    opened = ANSWER.search(before) or ELEMENT_OPENS.search(before)
    if opened or not before.strip():
        return said
    code = flush(without_fences(before, asked.name), asked.name)
    return before if is_whole(code, asked) or is_body(code) else said


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


def _beside_blocks(said: str, parts: Sequence[Part], asked: Asked) -> str:
    """The last program that stands outside the blocks of a text, if none of them holds one, or a
    piece of one."""
    codes = [part.code for part in parts]
    if any(is_whole(code, asked) or is_body(code) for code in codes):
        return ""
    if asked.name is None and runs_on_input("\n".join(codes)):
        return ""
    blocks = list(fenced(said))
    starts, ends = [0, *(each.end for each in blocks)], [*(each.start for each in blocks), None]
    for start, end in reversed(list(zip(starts, ends, strict=True))):
        code = flush(without_fences(said[start:end], asked.name), asked.name)
        if is_whole(code, asked):
            return code
    return ""


def _blocks(said: str) -> list[tuple[str, Block]]:
    """The blocks of a text, each after the prose before it; its first lines are one, too, where
    they are code. Elements of HTML if there are no others."""
    if CODE_FIRST.match(said) or _opened_before(said):
        first, *others = fenced(said, code_first=True)
        quote = ""
        for line in LINE.findall(first.content):
            if not quote and opening(line):
                break
            quote = open_string(line, quote) or ""
        else:
            return _told(said, [replace(first, content=up_to_prose(first.content)), *others])
    if blocks := list(fenced(said)):
        return [inner for before, block in _told(said, blocks) for inner in _within(before, block)]
    elements = [
        Block(
            "python" if "py" in found["attributes"].lower() else "",
            html.unescape(TAG.sub("", found["code"])),
            found.start(),
            found.end(),
        )
        for found in ELEMENT.finditer(said)
        if "\n" in found["code"] or CODE.search(found["code"])
    ]
    return _told(said, elements)


def _told(text: str, blocks: Sequence[Block]) -> list[tuple[str, Block]]:
    """Blocks of a text, each after what stands between it and the one before."""
    ends = [0, *(block.end for block in blocks)]
    return [(text[end : block.start], block) for end, block in zip(ends, blocks, strict=False)]


def _within(before: str, block: Block) -> list[tuple[str, Block]]:
    """The blocks in one of Markdown; else the block itself."""
    inner = list(fenced(block.content)) if block.language in MARKDOWN else []
    return _told(block.content, inner) if inner else [(before, block)]


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

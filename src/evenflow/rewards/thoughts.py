"""What a response says once it has thought, whoever opened the thought.

A thought that does not end says nothing, and neither does what stood before it: it may be taken
back. Chat templates of models that reason end with ``<think>\\n``, so the response holds the end of
a thought only, or nothing of it: rewards are told by `opened_thoughts`, and put the mark back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from evenflow.errors import UserError
from evenflow.rewards.compose import text_of
from evenflow.rewards.fences import Block, fenced

MARKS = {
    **{f"<{name}>": f"</{name}>" for name in ("think", "thinking", "thought", "reasoning")},
    "<seed:think>": "</seed:think>",
    "<|think|>": "<|/think|>",
    "<|thinking|>": "<|/thinking|>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "[THINK]": "[/THINK]",
    "◁think▷": "◁/think▷",
    **{
        f"<|channel|>{name}<|message|>": "<|channel|>final<|message|>"
        for name in ("analysis", "commentary")
    },
}
"""How thoughts begin and end, in any case; channels that are not the final one are thoughts."""
ENDS = {opened.lower(): closed for opened, closed in MARKS.items()}
MARK = re.compile("|".join(map(re.escape, (*MARKS, *MARKS.values()))), re.IGNORECASE)
# How channels read where special tokens were left out: "analysisWe need …assistantfinalIt is …".
CHANNEL = re.compile(r"\s*analysis(?=[A-Z])")
FINAL = "assistantfinal"
OPENED = re.compile(f"({'|'.join(map(re.escape, MARKS))})\\s*\\Z", re.IGNORECASE)
QUOTES = "\"'`"
LAST = 100
"""Characters of a prompt's end that are looked at."""
MANY = 16
"""Thoughts after which only the last mark is looked at."""


def spoken(response: str) -> str | None:
    """What follows the last thought; None if a thought does not end.

    A closing mark alone ends a thought, too. Outside thoughts, marks in fenced blocks and in
    quotation marks (``re.sub("<think>.*?</think>", …)``) are text.
    """
    at, unclosed = _end_of_thoughts(response)
    return None if unclosed else response[at:]


def _end_of_thoughts(response: str) -> tuple[int, str]:
    """Where the last thought ends, and the mark of one that does not."""
    at = 0
    if found := CHANNEL.match(response):
        at = response.find(FINAL) + len(FINAL)
        if at < len(FINAL):
            return found.end(), found[0]
    for _ in range(MANY):
        found = _next_mark(response, at)
        if found is None:
            return at, ""
        at = found.end()
        if closed := ENDS.get(found[0].lower()):
            end = re.compile(re.escape(closed), re.IGNORECASE).search(response, at)
            if end is None:
                return at, found[0]
            at = end.end()
    unclosed = ""
    for found in MARK.finditer(response, at):
        at, unclosed = found.end(), found[0] if found[0].lower() in ENDS else ""
    return at, unclosed


def _next_mark(text: str, at: int) -> re.Match[str] | None:
    """The first mark that is not text, from `at` on."""
    blocks: list[Block] | None = None
    quoted = -1  # the end of a line with an opening mark in quotation marks
    for found in MARK.finditer(text, at):
        place, opens = found.start(), found[0].lower() in ENDS
        if blocks is None:
            blocks = list(fenced(text[at:]))
        line = max(at, text.rfind("\n", at, place) + 1)
        before, after = text[max(at, place - 1) : place], text[found.end() : found.end() + 1]
        if any(block.start <= place - at < block.end for block in blocks):
            # In a draft's block that was left open; no program has a mark at a line's start.
            if not opens and not text[line:place].strip(" \t`~"):
                return found
        elif opens and before and before in QUOTES:
            end = text.find("\n", place)
            quoted = len(text) if end < 0 else end
        elif place >= quoted and (opens or not before or before not in QUOTES or before != after):
            return found
    return None


def opened_by(prompt: Any) -> str:
    """The mark with which a prompt ends, or that is open in the assistant's message which it ends
    with; empty if it leaves no thought open, and for what is neither text nor chat messages."""
    if isinstance(prompt, str):
        found = OPENED.search(prompt[-LAST:])
        return found[1] if found else ""
    last = prompt[-1] if isinstance(prompt, list) and prompt else None
    if not isinstance(last, dict) or last.get("role") != "assistant":
        return ""
    said = last.get("content")
    return _end_of_thoughts(said)[1] if isinstance(said, str) else ""


def whole(
    completions: Sequence[Any],
    prompts: Sequence[Any] | None = None,
    opened_thoughts: Sequence[str | None] | str | None = None,
    **_: Any,
) -> list[str]:
    """The texts of answers, each after the mark of the thought that its prompt has opened.

    `opened_thoughts` are the marks, one for all or each its own, empty where there is none; where
    it is not known, the prompt is looked at. What else a reward gets is left alone. UserError for
    what is no such mark.
    """
    count = len(completions)
    if isinstance(opened_thoughts, str):
        opened_thoughts = [opened_thoughts] * count
    marks = [
        opened_by(prompt) if mark is None else mark
        for prompt, mark in zip(
            prompts or [None] * count, opened_thoughts or [None] * count, strict=True
        )
    ]
    for mark in dict.fromkeys(map(str, marks)):
        if mark and mark.lower() not in ENDS:
            raise UserError(
                f"opened_thoughts: {mark!r} does not open a thought; {', '.join(MARKS)} do"
            )
    texts = map(text_of, completions)
    return [f"{mark}\n{text}" if mark else text for mark, text in zip(marks, texts, strict=True)]


def whole_of(row: Mapping[str, Any]) -> str:
    """The text of a saved `response`, after the mark in `opened_thought`, or of its `prompt`."""
    (text,) = whole([row["response"]], [row.get("prompt")], [row.get("opened_thought")])
    return text

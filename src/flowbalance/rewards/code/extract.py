"""The program in an answer."""

from __future__ import annotations

PYTHON = {"python", "python3", "py"}


def extract(text: str) -> str:
    """The last block fenced as Python, else the last fenced block, else all of the text.

    Only what stands after the last ``</think>`` counts (nothing, if the thinking never ends). A
    block that the end of the text cuts off counts as far as it goes.
    """
    _, closed, said = text.rpartition("</think>")
    if not closed and "<think>" in said:
        return ""
    blocks = fenced(said)
    named = [code for language, code in blocks if language in PYTHON]
    if named:
        return named[-1]
    return blocks[-1][1] if blocks else said


def fenced(text: str) -> list[tuple[str, str]]:
    """(language, content) of each block between lines of three backticks."""
    blocks: list[tuple[str, str]] = []
    opened: str | None = None
    content: list[str] = []
    for line in text.splitlines(keepends=True):
        mark = line.strip()
        if opened is None and mark.startswith("```"):
            opened, content = mark[3:].strip().lower(), []
        elif opened is not None and mark == "```":
            blocks.append((opened, "".join(content)))
            opened = None
        elif opened is not None:
            content.append(line)
    if opened is not None:
        blocks.append((opened, "".join(content)))
    return blocks


def joined(setup: str, code: str) -> str:
    """The code after its setup: an indented one continues it, any other one stands on its own."""
    lines = (line for line in code.splitlines() if line.strip())
    continues = next(lines, "").startswith((" ", "\t"))
    return setup + code if continues else f"{setup}\n\n{code}"

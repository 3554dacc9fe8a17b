"""The words behind a command: a file, then settings ``key=value``; alike for all commands."""

from __future__ import annotations

import re
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from evenflow.inputs import expanded
from evenflow.installation import recipe_file

SETTING = re.compile(r"[\w.]+=", re.ASCII)
"""What a setting begins with; ``./a=b.yaml`` is a file all the same."""


def add_words(parser: ArgumentParser, file: str, kind: str) -> None:
    """Let a command take words; `file` says what the first may be, and `evenflow config KIND`
    lists the settings."""
    parser.add_argument(
        "words",
        nargs="*",
        metavar="WORD",
        help=f"{file}, then settings key=value, which override the file's; `evenflow config {kind}`"
        " lists them",
    )


def split_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words before the first setting, which are files, and the others."""
    settings = (place for place, word in enumerate(words) if SETTING.match(word))
    first = next(settings, len(words))
    return list(words[:first]), list(words[first:])


def file_and_settings(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The file, if the first word is none of the settings, and all others, which must be. It is
    looked for here, before anything is imported that takes a second: `installation.recipe_file`."""
    files, settings = split_words(words)
    if not files:
        return None, settings
    found = recipe_file(str(expanded(files[0])))
    return (files[0] if Path(files[0]) == found else str(found)), [*files[1:], *settings]

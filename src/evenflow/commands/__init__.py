"""The commands of `evenflow`, a file each: `HELP`, `add_arguments(parser)`, `run(options)`.

What is slow to import is imported in `run`, so that ``--help`` answers at once.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Protocol

from evenflow.commands import (
    compare,
    config,
    diversity,
    eval,
    exact,
    export,
    grade,
    plan,
    pretrain,
    recipes,
    report,
    sample,
    sandbox,
    train,
    verl,
)


class Command(Protocol):
    """What every file of this folder has."""

    @property
    def HELP(self) -> str:
        """Its line in the list of commands."""
        ...

    def add_arguments(self, parser: ArgumentParser, /) -> None:
        """Add the command's arguments, and what its help says beside them."""
        ...

    def run(self, options: Namespace, /) -> None:
        """Do it."""
        ...


ALL: dict[str, Command] = {
    "train": train,
    "plan": plan,
    "pretrain": pretrain,
    "eval": eval,
    "sample": sample,
    "export": export,
    "compare": compare,
    "exact": exact,
    "grade": grade,
    "diversity": diversity,
    "report": report,
    "verl": verl,
    "sandbox": sandbox,
    "config": config,
    "recipes": recipes,
}

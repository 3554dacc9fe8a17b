"""What verl is told, and where: overrides in hydra's grammar, an environment, files, machines."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PLAIN = re.compile(r"[A-Za-z_/.][\w./\-]*", re.ASCII)
WORDS = {"true", "false", "null", "nan", "inf"}


@dataclass(frozen=True)
class Cluster:
    """Where the run is to be."""

    nodes: int = 1
    gpus_per_node: int = 8

    @property
    def gpus(self) -> int:
        return self.nodes * self.gpus_per_node


@dataclass(frozen=True)
class Files:
    """What was written for the run."""

    folder: Path
    """Of the run: verl's checkpoints come here."""
    recipe: Path
    """By which the reward knows its functions."""
    train: Path
    questions: int
    """In `train`."""
    test: Path | None = None
    log: Path = Path("verl-1.jsonl")
    """Of this start: what `evenflow report` reads."""
    template: str | None = None
    """A chat template under which plain text stays as it is; None: the tokenizer's own."""
    opened_thought: str = ""
    """The mark of the thought that the chat template opens; empty where it opens none."""
    remarks: Sequence[str] = ()
    """What was seen of the prompts and is to be known, a sentence each."""


@dataclass(frozen=True)
class Job:
    """What verl is told."""

    overrides: Mapping[str, Any]
    """Hydra's, by key."""
    passed_on: Sequence[str] = ()
    """Overrides as they were written, which come last and take the place of ours."""
    environment: Mapping[str, str] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    """What of the recipe changes nothing, or is seldom meant, a sentence each."""

    @property
    def arguments(self) -> list[str]:
        """The words behind ``python -m verl.trainer.main_ppo``."""
        taken = {word.partition("=")[0].lstrip("+~") for word in self.passed_on}
        ours = [
            f"{key}={hydra(value)}"
            for key, value in self.overrides.items()
            if key.lstrip("+") not in taken
        ]
        return [*ours, *self.passed_on]

    @property
    def shell(self) -> str:
        """The command for a shell, an argument a line."""
        environment = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        words = [
            *environment,
            "python -m verl.trainer.main_ppo",
            *map(shlex.quote, self.arguments),
        ]
        return " \\\n  ".join(words)


def hydra(value: Any) -> str:
    """A value in the grammar of hydra's overrides."""
    if value is None:
        return "null"
    if isinstance(value, bool | int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{hydra(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(hydra, value)) + "]"
    text = str(value)
    if PLAIN.fullmatch(text) and text.lower() not in WORDS:
        return text
    # A backslash counts only before a quote, or at the end; ${…} would be looked up.
    text = re.sub(r"(\\*)'", lambda found: found[1] * 2 + r"\'", text.replace("${", r"\${"))
    at_the_end = len(text) - len(text.rstrip("\\"))
    return "'" + text + "\\" * at_the_end + "'"

"""All runs of a comparison at a glance, from the metrics that each of them writes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from rich.live import Live
from rich.markup import escape
from rich.table import Table

from evenflow.run.console import console, duration
from evenflow.studies.compare.plan import Run

TAIL = 16384  # bytes: longer than any line of metrics.jsonl
LOOK_EVERY = 1.0  # seconds between looks at the files
PLAIN_EVERY = 30.0  # seconds between lines where there is no terminal


def last_row(path: Path) -> dict[str, Any]:
    """The last whole line of a metrics file, however long the file is; {} if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            lines = file.read().split(b"\n")
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            return row
    return {}


class Progress:
    """A live table in a terminal, plain lines elsewhere."""

    def __init__(self, title: str, runs: Sequence[Run]) -> None:
        self.title, self.runs = title, runs
        self.rows: dict[str, dict[str, Any]] = {}
        self.states: Mapping[str, str] = {}
        self.began = time.monotonic()
        self.looked = self.printed = float("-inf")
        self.done_at_start: float | None = None
        self.live = Live(console=console, get_renderable=self._render, refresh_per_second=2)

    def __enter__(self) -> Self:
        if console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if console.is_terminal:
            self.live.stop()

    def watch(self, states: Mapping[str, str]) -> None:
        """Look at the runs; print a line now and then, and when one of them changes its state."""
        now = time.monotonic()
        changed = self.states != states
        if not changed and now - self.looked < LOOK_EVERY:
            return
        self.looked, self.states = now, dict(states)
        self.rows = {run.name: last_row(run.folder / "metrics.jsonl") for run in self.runs}
        if self.done_at_start is None:
            self.done_at_start = self.done
        if not console.is_terminal and (changed or now - self.printed >= PLAIN_EVERY):
            self.printed = now
            console.print(self.line(), markup=False)

    def share(self, run: Run) -> float:
        """How much of its budget a run has spent."""
        if self.states.get(run.name) in ("measuring", "done", "failed"):
            return 1.0
        return min(
            1.0, self.rows.get(run.name, {}).get("answers", 0) / (run.config.train.answers or 1)
        )

    @property
    def done(self) -> float:
        """The share of all training that is done."""
        return sum(map(self.share, self.runs)) / max(1, len(self.runs))

    @property
    def left(self) -> str:
        """Time left at the pace so far, the last measurements not counted."""
        done, start = self.done, self.done_at_start or 0.0
        if done <= start:
            return "–"
        return duration((time.monotonic() - self.began) / (done - start) * (1 - done))

    def line(self) -> str:
        """The state of everything in one line."""
        finished = sum(state == "done" for state in self.states.values())
        parts = [f"{self.title}: {finished}/{len(self.states)} done"]
        for run in self.runs:
            state = self.states.get(run.name, "waiting")
            if state == "training":
                parts.append(f"{run.name} {self.share(run):.0%}")
            elif state in ("measuring", "failed", "stopped"):
                parts.append(f"{run.name} {state}")
        return "  ".join([*parts, f"left {self.left}"])

    def _render(self) -> Table:
        table = Table(title=f"{self.title}  [dim]left {self.left}[/dim]", title_justify="left")
        for heading in ("run", "state", "answers", "", "steps", "accuracy", "KL ref"):
            table.add_column(heading, justify="left" if heading in ("run", "state") else "right")
        for run in self.runs:
            row = self.rows.get(run.name, {})
            table.add_row(
                escape(run.name),
                self.states.get(run.name, "waiting"),
                f"{row.get('answers', 0):,.0f}",
                f"{self.share(run):.0%}",
                f"{row.get('step', 0)}",
                cell(row, "accuracy", ".1%"),
                cell(row, "kl/reference", ".3f"),
            )
        for name in self.states.keys() - {run.name for run in self.runs}:
            table.add_row(name, self.states[name])
        return table


def cell(row: Mapping[str, Any], name: str, form: str) -> str:
    """A value of a metrics row, or a dash."""
    value = row.get(name)
    return "–" if value is None else format(value, form)

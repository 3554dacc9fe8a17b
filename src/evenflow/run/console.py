"""What a person sees while a run goes on: a live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from evenflow.terminal import printable


class Terminal(Console):
    """A console on which no text of data can command the terminal."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)

    def on_broken_pipe(self) -> None:
        """Let the command line end as it does wherever else its reader is gone."""
        raise


console = Terminal(highlight=False, soft_wrap=True, emoji=False)

PLAIN_EVERY = 10.0  # seconds between lines where there is no terminal


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, as short as may be: ``1:02:03``, ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Display:
    """Progress over `total` steps, from `start` on; `update` shows a few named values beside it."""

    def __init__(self, title: str, total: int, start: int = 0) -> None:
        title = printable(title)
        self.title, self.total, self.start = title, total, start
        self.step = start
        self.began = self.printed = time.monotonic()
        self.values: dict[str, str] = {}
        self.phase = ""
        self.bar = Progress(
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            console=console,
        )
        self.task = self.bar.add_task(title, total=total, completed=start)
        self.live = Live(console=console, get_renderable=self._render, refresh_per_second=4)

    def __enter__(self) -> Self:
        if console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if console.is_terminal:
            self.live.stop()

    @property
    def left(self) -> str:
        """Time left at the pace so far."""
        done = self.step - self.start
        if not done:
            return "–"
        return duration((time.monotonic() - self.began) / done * (self.total - self.step))

    def now(self, phase: str) -> None:
        """Name what is being done."""
        self.phase = phase

    def update(self, step: int, values: Mapping[str, str]) -> None:
        self.step, self.values = step, dict(values)
        self.bar.update(self.task, completed=step)
        late = time.monotonic() - self.printed >= PLAIN_EVERY
        if not console.is_terminal and (late or step in (self.start + 1, self.total)):
            self.printed = time.monotonic()
            shown = "  ".join(f"{name} {value}" for name, value in self.values.items())
            console.print(f"step {step}/{self.total}  {shown}  left {self.left}")

    def _render(self) -> Table:
        grid = Table.grid(padding=(0, 1))
        grid.add_row(self.bar)
        cells = [f"[dim]{name}[/dim] {value}" for name, value in self.values.items()]
        grid.add_row(
            "  ".join([*cells, f"[dim]left[/dim] {self.left}", f"[dim]{self.phase}[/dim]"])
        )
        return grid


def before_after(before: Mapping[str, float], after: Mapping[str, float]) -> Table:
    """The table at the end of a run."""
    table = Table(title="held-out questions", title_justify="left")
    for heading in ("", "before", "after", "change"):
        table.add_column(heading, justify="left" if not heading else "right")
    before = before or dict.fromkeys(after, math.nan)
    for name in (name for name in before if name in after and name not in LEFT_TO_CURVES):
        old, new = before[name], after[name]
        if math.isnan(old) or math.isnan(new):
            cells = *("–" if math.isnan(value) else f"{value:.3f}" for value in (old, new)), "–"
        elif name in PERCENT or name.startswith("pass@"):
            cells = f"{old:.1%}", f"{new:.1%}", f"{100 * (new - old):+.1f} points"
        else:
            cells = f"{old:.3f}", f"{new:.3f}", f"{(new - old) / abs(old):+.1%}" if old else "–"
        table.add_row(name, *cells)
    return table


LEFT_TO_CURVES = tuple(f"pass@{2**power}" for power in range(5, 9))
PERCENT = ("accuracy", "finished", "unknown")


def show_rows(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """A list of facts, aligned."""
    console.print(title, style="bold", markup=False)
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        console.print(f"  {name:<{width}}  {value}", markup=False)

"""Scores as tables show them: their headings, and numbers with their intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from evenflow.evaluation.exact import KS
from evenflow.evaluation.statistics import Estimate


@dataclass(frozen=True)
class Column:
    """A measure: its name in the CSV, its heading, and how it is written."""

    key: str
    heading: str
    percent: bool = False
    digits: int = 2
    higher_is_better: bool = False
    """Whether a search may go by it."""

    def write(self, value: float) -> str:
        return f"{100 * value:.1f}" if self.percent else f"{value:,.{self.digits}f}"

    def difference(self, value: float) -> str:
        return f"{100 * value:+z.1f}" if self.percent else f"{value:+z,.{self.digits}f}"


SCORES = [
    Column("accuracy", "accuracy, exact (%)", percent=True, higher_is_better=True),
    Column("accuracy_sampled", "accuracy, sampled (%)", percent=True, higher_is_better=True),
    Column("distinct@16", "distinct@16", higher_is_better=True),
    Column("effective_solutions", "effective solutions", higher_is_better=True),
    *(Column(f"pass@{k}", f"pass@{k} (%)", percent=True, higher_is_better=True) for k in KS),
    Column("entropy", "entropy (nats)"),
    Column("kl_reference", "KL to the reference (nats)", digits=3),
    Column("residual", "residual"),
    Column("answers", "sampled answers", digits=0),
    Column("sampled_tokens", "sampled tokens", digits=0),
    Column("gradient_steps", "gradient steps", digits=0),
    Column("cpu_seconds", "CPU seconds", digits=0),
]
COLUMNS = {column.key: column for column in SCORES}


def written(found: Estimate | None, write: Callable[[float], str], column: Column) -> str:
    """``39.9 ± 1.8``; without ± where there is one seed, and ``98.0 (93.1 – 100.0)`` where a share
    ± its half would be no share."""
    if found is None:
        return ""
    if found.half is None:
        return write(found.mean)
    low, high = found.mean - found.half, found.mean + found.half
    share = column.percent and write == column.write  # a difference may be below 0
    if share and not 0 <= low <= high <= 1:
        return f"{write(found.mean)} ({write(max(0.0, low))} – {write(min(1.0, high))})"
    return f"{write(found.mean)} ± {column.write(found.half)}"

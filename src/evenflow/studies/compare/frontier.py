"""Curves in place of points: what an algorithm keeps of diversity at each accuracy, over the values
of its dial and along training."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from evenflow.evaluation.statistics import Estimate, estimate, paired
from evenflow.studies.compare.tables import COLUMNS, Column, code, number, written

MEASURES = ("effective_solutions", "distinct@16", "pass@16", "pass@256")
"""What is looked at along accuracy: see `Frontiers.measures`."""
STOPS = (0.25, 0.5, 0.75, 1.0)
"""Where, from the base model's accuracy (0) to the highest that all curves reach (1)."""
GRID = 200

Pair = tuple[float, float]


@dataclass(frozen=True)
class Point:
    """A policy on the way: accuracy and what else is known of it on the held-out questions."""

    variant: str
    seed: int
    step: int
    accuracy: float
    scores: Mapping[str, float]


def pareto(points: Iterable[Pair]) -> list[Pair]:
    """The (accuracy, value) that no other reaches in both, by ascending accuracy."""
    kept: list[Pair] = []
    for accuracy, value in sorted(points, reverse=True):
        if not kept or value > kept[-1][1]:
            kept.append((accuracy, value))
    return kept[::-1]


def at(curve: Sequence[Pair], accuracy: float) -> float | None:
    """The value at an accuracy, in straight lines between the curve's points. None beyond its end;
    before its beginning what its first point has, which is more accurate still."""
    if not curve or accuracy > curve[-1][0] + 1e-9:
        return None
    before = curve[0]
    if accuracy <= before[0]:
        return before[1]
    for after in curve[1:]:
        if accuracy <= after[0]:
            way = (accuracy - before[0]) / (after[0] - before[0])
            return before[1] + way * (after[1] - before[1])
        before = after
    return curve[-1][1]


def mean_over(curve: Sequence[Pair], low: float, high: float) -> float | None:
    """The mean value from one accuracy to another: the area under the curve by its width."""
    values = [at(curve, low + (high - low) * (i + 0.5) / GRID) for i in range(GRID)]
    known = [value for value in values if value is not None]
    return sum(known) / GRID if len(known) == GRID else None


@dataclass
class Frontiers:
    """The points of all runs by curve; the base model begins each of them."""

    baseline: str
    base: Mapping[str, float]
    """The base model's scores, accuracy among them."""
    points: dict[str, list[Point]] = field(default_factory=dict)
    partial: list[tuple[str, int, int, int]] = field(default_factory=list)
    """(label, seed, runs that are measured, runs that there should be) where some lack."""
    ends: list[tuple[str, int]] = field(default_factory=list)
    """(variant, seed) of the runs of which the end alone is known."""

    def measures(self) -> tuple[str, ...]:
        """What some policy has of MEASURES; of few sampled answers the pass@k of the most."""
        every = [point.scores for points in self.points.values() for point in points]
        known = [key for key in MEASURES if any(key in scores for scores in every)]
        passes = [k for k in COLUMNS if k.startswith("pass@") and any(k in s for s in every)]
        return tuple(known or passes[-1:])

    def curve(self, label: str, seed: int, measure: str) -> list[Pair]:
        """What no policy of that seed betters in both, the base model included."""
        own = [
            (point.accuracy, point.scores[measure])
            for point in self.points.get(label, [])
            if point.seed == seed and measure in point.scores
        ]
        begin = [(self.base["accuracy"], self.base[measure])] if measure in self.base else []
        return pareto([*begin, *own]) if own else []

    def seeds(self, label: str) -> list[int]:
        return sorted({point.seed for point in self.points.get(label, [])})

    def reached(self, label: str, measure: str) -> float | None:
        """The highest accuracy that a curve reaches with every seed."""
        curves = [self.curve(label, seed, measure) for seed in self.seeds(label)]
        return min((curve[-1][0] for curve in curves if curve), default=None)

    def risen(self, measure: str) -> Frontiers:
        """The curves that come above the base model's accuracy with every seed."""
        ends = {label: self.reached(label, measure) for label in self.points}
        low = self.base["accuracy"]
        kept = {k: v for k, v in self.points.items() if (end := ends[k]) is None or end > low}
        return replace(self, points=kept)

    def shared(self, measure: str) -> Pair | None:
        """From the base model's accuracy to the highest that every curve of every seed reaches."""
        ends = [e for label in self.points if (e := self.reached(label, measure)) is not None]
        low = self.base["accuracy"]
        return (low, min(ends)) if ends and min(ends) > low else None

    def at(self, label: str, measure: str, accuracy: float) -> dict[int, float]:
        """Seed → value at that accuracy."""
        found = {s: at(self.curve(label, s, measure), accuracy) for s in self.seeds(label)}
        return {seed: value for seed, value in found.items() if value is not None}

    def mean(self, label: str, measure: str, shared: Pair) -> dict[int, float]:
        """Seed → mean over the shared range."""
        found = {s: mean_over(self.curve(label, s, measure), *shared) for s in self.seeds(label)}
        return {seed: value for seed, value in found.items() if value is not None}


def to_csv(frontiers: Frontiers) -> str:
    """Every policy that was measured, a line each."""
    file, measures = io.StringIO(), frontiers.measures()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["curve", "variant", "seed", "step", "accuracy", *measures])
    base = [number(frontiers.base.get(key)) for key in ("accuracy", *measures)]
    writer.writerow(["base model", "", "", 0, *base])
    for label, points in frontiers.points.items():
        for point in points:
            scores = [number(point.scores.get(key)) for key in measures]
            own = (label, point.variant, point.seed, point.step, number(point.accuracy))
            writer.writerow([*own, *scores])
    return file.getvalue()


def to_markdown(frontiers: Frontiers) -> str:
    """For each measure its values at equal accuracy, and the paired differences to the baseline."""
    parts, measures = [], frontiers.measures()
    for measure in measures:
        risen = frontiers.risen(measure)
        shared = risen.shared(measure)
        if shared is None:
            continue
        column, (low, high) = COLUMNS[measure], shared
        parts.append(f"### {column.heading} at equal accuracy\n\n{values(risen, column, shared)}")
        if left := [code(label) for label in frontiers.points if label not in risen.points]:
            parts.append(
                f"Left out: {', '.join(left)}, of which with some seed no policy is more accurate "
                "than the base model."
            )
        rows = differences(risen, column, shared)
        if rows:
            of = code(frontiers.baseline)
            parts.append(f"Paired differences to {of}, seed by seed:\n\n{rows}")
        parts.append(
            f"Shared range: {100 * low:.1f} % (the base model) to {100 * high:.1f} %, the highest "
            "accuracy that every curve reaches with every seed."
        )
    if not measures:
        parts.append("Nothing is known but accuracy; raise evaluation.num_generations.")
    elif not parts:
        parts.append("No curve reaches an accuracy above the base model's with every seed.")
    for label, seed, there, wanted in frontiers.partial:
        parts.append(f"{code(label)}, seed {seed}: a curve of {there} of its {wanted} runs so far.")
    if frontiers.ends:
        listed = ", ".join(f"{code(label)} (seed {seed})" for label, seed in frontiers.ends)
        parts.append(
            "The end alone, as along training nothing was measured, or other questions: "
            f"{listed}. A new folder (output=…) measures all alike."
        )
    return "## Frontiers\n\n" + "\n\n".join(parts) + "\n"


def values(frontiers: Frontiers, column: Column, shared: Pair) -> str:
    """A row a curve: means over seeds ± half of their 95 % intervals."""
    rows = {
        label: [
            *(estimate(list(frontiers.at(label, column.key, a).values())) for a in stops(shared)),
            estimate(list(frontiers.mean(label, column.key, shared).values())),
        ]
        for label in frontiers.points
    }
    return table(frontiers, shared, rows, column, signed=False)


def differences(frontiers: Frontiers, column: Column, shared: Pair) -> str:
    """A row a curve but the baseline's; empty where there is no other, or no baseline."""
    own, rows = frontiers.baseline, dict[str, list[Estimate | None]]()
    for label in frontiers.points if own in frontiers.points else ():
        if label != own:
            rows[label] = [
                paired(frontiers.at(label, column.key, a), frontiers.at(own, column.key, a))
                for a in stops(shared)
            ]
            rows[label].append(
                paired(
                    frontiers.mean(label, column.key, shared),
                    frontiers.mean(own, column.key, shared),
                )
            )
    return table(frontiers, shared, rows, column, signed=True) if rows else ""


def stops(shared: Pair) -> list[float]:
    """The accuracies of the table's columns."""
    low, high = shared
    return [low + share * (high - low) for share in STOPS]


def table(
    frontiers: Frontiers,
    shared: Pair,
    rows: Mapping[str, Sequence[Estimate | None]],
    column: Column,
    *,
    signed: bool,
) -> str:
    """Markdown; of differences those seeds count that both have."""
    write = column.difference if signed else column.write
    paired_with = set(frontiers.seeds(frontiers.baseline))
    heads = [f"at {100 * accuracy:.1f} %" for accuracy in stops(shared)]
    lines = [["algorithm", "seeds", *heads, "mean over the range"]]
    lines.append(["---"] * 2 + ["---:"] * (len(heads) + 1))
    for label, cells in rows.items():
        shown = [written(cell, write, column) for cell in cells]
        seeds = set(frontiers.seeds(label))
        lines.append([code(label), str(len(seeds & paired_with if signed else seeds)), *shown])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

"""Curves in place of points: what an algorithm keeps of diversity at each accuracy, over the values
of its dial and along training."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean

from evenflow.evaluation.columns import COLUMNS
from evenflow.evaluation.statistics import Estimate, estimate, paired

MEASURES = ("effective_solutions", "distinct@16", "pass@16", "pass@256")
"""What is looked at along accuracy: see `Frontiers.measures`."""
STOPS = (0.25, 0.5, 0.75, 1.0)
"""Where, from the base model's accuracy (0) to the highest that all curves reach (1)."""
GRID = 200
ALONG = 80
"""Pieces of a curve that is drawn."""

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

    def band(self, label: str, measure: str) -> list[tuple[float, float, float, float]]:
        """(accuracy, mean, lowest, highest) of its seeds' curves, as far as every seed reaches;
        empty where that is not above the base model."""
        curves = [self.curve(label, seed, measure) for seed in self.seeds(label)]
        low, high = self.base["accuracy"], self.reached(label, measure)
        if high is None or high <= low or not all(curves):
            return []
        found = []
        for i in range(ALONG + 1):
            accuracy = low + (high - low) * i / ALONG
            values = [at(curve, accuracy) or 0.0 for curve in curves]
            found.append((accuracy, fmean(values), min(values), max(values)))
        return found

    def rows(self, measure: str, shared: Pair) -> dict[str, list[Estimate | None]]:
        """Label → the mean over seeds at each of `stops`, and over the range."""
        return {
            label: [
                *(estimate(list(self.at(label, measure, a).values())) for a in stops(shared)),
                estimate(list(self.mean(label, measure, shared).values())),
            ]
            for label in self.points
        }

    def differences(self, measure: str, shared: Pair) -> dict[str, list[Estimate | None]]:
        """The same of what every other curve has more than the baseline's, seed by seed; nothing
        where that is not among them."""
        own = self.baseline
        others = [label for label in self.points if label != own] if own in self.points else []
        return {
            label: [
                *(
                    paired(self.at(label, measure, a), self.at(own, measure, a))
                    for a in stops(shared)
                ),
                paired(self.mean(label, measure, shared), self.mean(own, measure, shared)),
            ]
            for label in others
        }


def stops(shared: Pair) -> list[float]:
    """The accuracies of the table's columns."""
    low, high = shared
    return [low + share * (high - low) for share in STOPS]


def heads(shared: Pair) -> list[str]:
    """What stands over the numbers of a row."""
    return [*(f"at {100 * accuracy:.1f} %" for accuracy in stops(shared)), "mean over the range"]


def read_csv(path: Path) -> Frontiers:
    """The points of a frontier.csv, whose first curve is the baseline. Raises ValueError, KeyError
    or IndexError where it is none."""
    with path.open(newline="", encoding="utf-8") as file:
        first, *rows = csv.DictReader(file)
    found = Frontiers(rows[0]["curve"], _scores(first))
    for row in rows:
        own = _scores(row)
        accuracy = own.pop("accuracy")
        point = Point(row["variant"], int(row["seed"]), int(row["step"]), accuracy, own)
        found.points.setdefault(row["curve"], []).append(point)
    return found


def _scores(row: Mapping[str, str]) -> dict[str, float]:
    """The scores of a line by name; a cell that is empty has none."""
    found = {key: float(row[key]) for key in row if key in COLUMNS and row[key]}
    if not all(map(math.isfinite, found.values())):
        raise ValueError("a score is no number")
    return found

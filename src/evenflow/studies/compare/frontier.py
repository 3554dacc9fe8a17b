"""Curves as CSV and as Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from evenflow.evaluation.columns import COLUMNS, Column, written
from evenflow.evaluation.frontier import Frontiers, Pair, heads
from evenflow.evaluation.statistics import Estimate
from evenflow.studies.compare.tables import code, number


def to_csv(frontiers: Frontiers) -> str:
    """Every policy that was measured, a line each; the baseline's first."""
    file, measures = io.StringIO(), frontiers.measures()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["curve", "variant", "seed", "step", "accuracy", *measures])
    base = [number(frontiers.base.get(key)) for key in ("accuracy", *measures)]
    writer.writerow(["base model", "", "", 0, *base])
    labels = sorted(frontiers.points, key=lambda label: label != frontiers.baseline)
    for label in labels:
        for point in frontiers.points[label]:
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
        own = table(risen, shared, risen.rows(measure, shared), column, signed=False)
        parts.append(f"### {column.heading} at equal accuracy\n\n{own}")
        if left := [code(label) for label in frontiers.points if label not in risen.points]:
            parts.append(
                f"Left out: {', '.join(left)}, of which with some seed no policy is more accurate "
                "than the base model."
            )
        if more := risen.differences(measure, shared):
            rows = table(risen, shared, more, column, signed=True)
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
    lines = [["algorithm", "seeds", *heads(shared)]]
    lines.append(["---"] * 2 + ["---:"] * len(heads(shared)))
    for label, cells in rows.items():
        shown = [written(cell, write, column) for cell in cells]
        seeds = set(frontiers.seeds(label))
        lines.append([code(label), str(len(seeds & paired_with if signed else seeds)), *shown])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

"""Accuracy against diversity over training: what a policy gains, and what it pays for it."""

from __future__ import annotations

from collections.abc import Sequence
from math import isclose
from typing import Any

from evenflow.report.reading import Run, held_out
from evenflow.report.scored import measurements
from evenflow.report.series import rounded
from evenflow.report.sets import question_sets, set_title
from evenflow.report.variants import Variant, dials

MEASURES = {
    "effective_solutions": "effective solutions",
    "distinct@16": "distinct right answers among 16",
    "diversity": "word-pair diversity",
    "pass@16": "pass@16",
}
"""What can stand across accuracy, the first that runs have first."""


def frontiers(runs: Sequence[Run], every: Sequence[Variant]) -> list[dict[str, Any]]:
    """A chart for each set of held-out questions on which some run has both measures:
    {title, measures: [[key, name]], paths: [{run, points: [{step, accuracy, …}]}], dials}."""
    numbers, charts = question_sets(runs), []
    for number in dict.fromkeys(n for n in numbers if n >= 0):
        inside = [i for i, n in enumerate(numbers) if n == number]
        paths = [{"run": i, "points": points(runs[i])} for i in inside]
        paths = [path for path in paths if path["points"]]
        known = {name for path in paths for point in path["points"] for name in point}
        measures = [[key, name] for key, name in MEASURES.items() if key in known]
        if measures:
            there = {path["run"] for path in paths}
            turned = [
                d
                for d in dials(every)
                if there >= {r for v in d["variants"] for r in every[v].runs}
            ]
            title = set_title(runs[paths[0]["run"]])
            charts.append({"title": title, "measures": measures, "paths": paths, "dials": turned})
    return charts


def points(run: Run) -> list[dict[str, float]]:
    """The run's evaluations in order. Where a comparison has measured it before and after, those
    along training are of one kind with that only if their last one says the same: exact scores of
    the same questions."""
    last = run.rows[-1]["step"] if run.rows else 1
    found = {float(row["step"]): held_out(row) for row in run.rows}
    own, measured = (scores.get("accuracy") for scores in (found.get(last, {}), run.after))
    alike = own is not None and measured is not None and isclose(own, measured, rel_tol=1e-6)
    if measurements(run.folder):
        found = (found if alike else {}) | {0.0: run.before, float(last): run.after}
    else:
        found = ({0.0: run.before} if run.before else {}) | found
        if run.after and run.evaluated is None:
            found[float(last)] = run.after
    names = ("accuracy", *MEASURES, "finished")
    # A comparison says of sampled answers that its accuracy is theirs.
    named = {
        step: {name.removesuffix("_sampled"): value for name, value in scores.items()} | scores
        for step, scores in sorted(found.items())
    }
    return [
        {"step": step} | {name: rounded(scores[name]) for name in names if name in scores}
        for step, scores in named.items()
        if "accuracy" in scores and any(name in scores for name in MEASURES)
    ]

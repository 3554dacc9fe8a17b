"""Held-out scores with the questions that they are means over, and how sure they are."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from evenflow.inputs import is_number
from evenflow.report.rows import lines, mapping

QUESTIONS = {"step": is_number, "scores": lambda value: isinstance(value, dict)}
MEASURED = "measured.json"
SHARES = ("accuracy", "accuracy_sampled", "finished", "unknown", "avg@k", "cut_off")
"""Scores that are shares, beside every pass@k."""
Values = dict[str, list[float]]
"""A score's name → its value for each question, NaN where it says nothing."""


def is_share(name: str) -> bool:
    """Whether a score lies between 0 and 1 because it is a share."""
    return name in SHARES or name.startswith("pass@")


def interval_of(name: str, values: list[float]) -> tuple[float, float] | None:
    """The 95 % interval of a mean over questions; None where too few of them say anything."""
    from evenflow.evaluation.statistics import interval, share_interval

    low, high = share_interval(values) if is_share(name) else interval(values)
    return None if math.isnan(low) else (low, high)


def evaluations(folder: Path, notes: list[str]) -> list[dict[str, Any]]:
    """The scores of each question, a line an evaluation; none where the run has kept none."""
    path = folder / "questions.jsonl"
    return lines(path, QUESTIONS, notes, "") if path.is_file() else []


def by_question(folder: Path, evaluated: Sequence[dict[str, Any]]) -> tuple[Values, Values]:
    """The scores of each question before the first step and at the latest evaluation; {} where the
    run has kept none."""
    measured = [measured_values(path) for path in measurements(folder)]
    if measured:
        return measured[1] if len(measured) > 1 else {}, measured[0]
    rows = {int(row["step"]): row["scores"] for row in evaluated}
    last = max(rows, default=0)
    return values_of(rows.get(0, {})), values_of(rows[last]) if last else {}


def values_of(scores: dict[str, Any]) -> Values:
    """Lists of numbers; null is NaN."""
    return {
        name: [float(value) if is_number(value) else math.nan for value in values]
        for name, values in scores.items()
        if isinstance(values, list)
    }


def measurements(folder: Path) -> list[Path]:
    """What a comparison measured of a run, and of its base by the same specification."""
    own = folder / MEASURED
    if not own.is_file():
        return []
    base = folder.resolve().parent.parent / "base" / MEASURED
    if not base.is_file():
        return [own]
    of_run, of_base = (mapping(path, [], "").get("specification") for path in (own, base))
    return [own, base] if of_run == of_base else [own]


def measured_values(path: Path) -> Values:
    """The scores of each question of a measurement: from the probabilities of its right answers,
    or from how many of its answers were right."""
    found = test_set(mapping(path, [], ""))
    masses, counts = found.get("masses"), found.get("counts")
    try:
        if masses:
            from evenflow.evaluation.exact import by_question as exact  # imports torch

            return exact(masses)
        return {"accuracy_sampled": [c / n if n else math.nan for n, c in counts or []]}
    except (TypeError, ValueError, RuntimeError):  # damage: scores without an interval
        return {}


def test_set(measured: dict[str, Any]) -> dict[str, Any]:
    """The questions of a measurement that are like those trained on."""
    sets = measured.get("sets")
    test = sets.get("test") if isinstance(sets, dict) else None
    return test if isinstance(test, dict) else {}


def of_answers(rows: list[dict[str, Any]]) -> Values:
    """What each question's answers of an evaluation have in tokens, cut off and unknown."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        key = row.get("id")
        groups[str(row["prompt"] if key is None else key)].append(row)
    lengths = [[r["tokens"] for r in of if is_number(r.get("tokens"))] for of in groups.values()]
    return {
        "length": [fmean(tokens) for tokens in lengths if tokens],
        "cut_off": [fmean(not r.get("finished", True) for r in of) for of in groups.values()],
        "unknown": [fmean(r["verdict"] == "unknown" for r in of) for of in groups.values()],
    }

"""The steps of a run of verl, under the names of our own metrics."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import fmean
from typing import Any

from evenflow.inputs import is_number
from evenflow.report.rows import Check, is_step, lines

NAMES = {
    "critic/score/mean": "reward/mean",
    "actor/grad_norm": "grad_norm/policy",
    "actor/lr": "learning_rate",
    "actor/entropy": "policy/entropy_exact",
    "response_length/mean": "answer/length",
    "response_length/clip_ratio": "answer/cut_off",
    "timing_s/gen": "seconds/sampling",
    "timing_s/old_log_prob": "seconds/old log-probs",
    "timing_s/ref": "seconds/reference",
    "timing_s/update_actor": "seconds/learning",
    "timing_s/testing": "seconds/evaluation",
    "timing_s/save_checkpoint": "seconds/checkpoint",
}
"""verl's → ours, where the two are the same number. What the plug-in reports has our names already,
some of them behind "actor/"."""
OURS = ("log_z/", "residual/", "weight/", "kl/", "grad_norm/", "policy/")
HELD_OUT = re.compile(r"val-(?:core|aux)/.*/acc/(?:mean@\d+|best@(?P<k>\d+)/mean)")
LINE: dict[str, Check] = {"step": is_step, "data": lambda value: isinstance(value, dict)}


def verl_rows(logs: list[Path], notes: list[str]) -> list[dict[str, Any]]:
    """A row a step. A step that was taken again after a resume is what it was the last time."""
    found: dict[int, dict[str, Any]] = {}
    for path in logs:
        for line in lines(path, LINE, notes, "its steps are not shown"):
            found[int(line["step"])] = row_of(line["data"]) | {"step": int(line["step"])}
    return [found[step] for step in sorted(found)]


def row_of(data: dict[str, Any]) -> dict[str, float]:
    """One step's numbers. Held-out accuracies of several sources are averaged."""
    row: dict[str, float] = {}
    held_out: dict[str, list[float]] = {}
    for name, value in data.items():
        if not is_number(value):
            continue
        if match := HELD_OUT.fullmatch(name):
            score = f"pass@{match['k']}" if match["k"] else "accuracy"
            held_out.setdefault(f"test/{score}", []).append(float(value))
            continue
        ours = NAMES.get(name, name)
        if ours == name and name.startswith("actor/"):
            inner = name.removeprefix("actor/")
            ours = inner if inner.startswith(OURS) else name
        if ours == name or ours not in data:  # what the plug-in says itself goes before verl's
            row[ours] = float(value)
    return row | {name: fmean(values) for name, values in held_out.items()}

"""What lies in the folders of runs and evaluations, as plain data.

A file that is missing or was cut short costs its part of the page and leaves a note; a folder that
holds nothing of ours is refused.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeGuard

import yaml

from flowbalance.errors import UserError

TRAINING = ("config.yaml", "metrics.jsonl", "samples.jsonl", "summary.json")
EVALUATION = ("result.json", "answers.jsonl")


@dataclass
class Run:
    """A folder: a training run, or an evaluation of a benchmark."""

    name: str
    kind: Literal["training", "evaluation"]
    config: dict[str, Any] = field(default_factory=dict)
    """Settings by dotted name."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """metrics.jsonl: one a step."""
    summary: dict[str, Any] = field(default_factory=dict)
    """What the run ended with."""
    before: dict[str, float] = field(default_factory=dict)
    """Held-out scores before the first step."""
    after: dict[str, float] = field(default_factory=dict)
    """The latest held-out scores."""
    samples: list[dict[str, Any]] = field(default_factory=list)
    """samples.jsonl of a training run: one a question and evaluation."""
    answers: list[dict[str, Any]] = field(default_factory=list)
    """answers.jsonl of an evaluation: one an answer."""
    result: dict[str, Any] = field(default_factory=dict)
    """result.json of an evaluation."""
    diversity: dict[str, Any] = field(default_factory=dict)
    """Scores of diversity.json: numbers, or {value, low, high}."""
    notes: list[str] = field(default_factory=list)
    """What is missing or damaged."""

    @property
    def algorithm(self) -> str:
        """The preset, "" where it is not known."""
        return str(self.summary.get("algorithm") or self.config.get("algorithm") or "")

    @property
    def right(self) -> float:
        """The reward from which an answer counts as right."""
        value = self.config.get("reward.right")
        return float(value) if isinstance(value, int | float) else 1.0


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """The runs in order, with names that tell them apart."""
    runs = [read_run(folder) for folder in folders]
    for run, name in zip(runs, names(folders), strict=True):
        run.name = name
    return runs


def names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that differ; a folder given twice gets a number."""
    paths = [folder.resolve() for folder in folders]
    depth = 1
    while depth < max(len(path.parts) for path in paths):
        ends = {path: "/".join(path.parts[-depth:]) for path in paths}
        if len(set(ends.values())) == len(ends):
            break
        depth += 1
    short = ["/".join(path.parts[-depth:]) for path in paths]
    seen: Counter[str] = Counter()
    found = []
    for name in short:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found


def read_run(folder: Path) -> Run:
    """One folder, recognised by the files that lie in it."""
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder")
    if any((folder / name).is_file() for name in EVALUATION):
        return _evaluation(folder)
    if any((folder / name).is_file() for name in TRAINING):
        return _training(folder)
    raise UserError(
        f"{folder}: is neither a run nor an evaluation (it has none of "
        f"{', '.join((*TRAINING, *EVALUATION))}); give the folders of runs, of a comparison those "
        "in its runs/"
    )


def _training(folder: Path) -> Run:
    run = Run(folder.name, "training")
    run.config = flat(_mapping(folder / "config.yaml", run.notes, "no settings are shown"))
    run.rows = _steps(folder / "metrics.jsonl", run.notes, "there are no curves of it")
    run.summary = _mapping(
        folder / "summary.json", run.notes, "not ended; the latest evaluation stands in the table"
    )
    evaluated = [scores for row in run.rows if (scores := held_out(row))]
    run.before = numbers(run.summary.get("before")) or (evaluated[0] if evaluated else {})
    run.after = numbers(run.summary.get("after")) or (evaluated[-1] if evaluated else {})
    if (folder / "measured.json").is_file():  # of a comparison: measured after training
        measured = _mapping(folder / "measured.json", run.notes, "its scores are not shown")
        sets = measured.get("sets")
        test = sets.get("test") if isinstance(sets, dict) else None
        run.after = numbers(test.get("scores") if isinstance(test, dict) else None) or run.after
    run.diversity = _diversity(folder, run.notes)
    if not run.config or run.config.get("evaluation.every") != 0:
        samples = _steps(folder / "samples.jsonl", run.notes, "there are no answers of it to show")
        run.samples = _whole(samples, ("prompt", "answers", "rewards"), run.notes, "samples.jsonl")
    return run


def _evaluation(folder: Path) -> Run:
    run = Run(folder.name, "evaluation")
    run.result = _mapping(folder / "result.json", run.notes, "its scores are not shown")
    answers = _lines(folder / "answers.jsonl", run.notes, "there are no answers of it to show")
    run.answers = _whole(answers, ("prompt", "response", "verdict"), run.notes, "answers.jsonl")
    run.diversity = _diversity(folder, run.notes)
    if (folder / "config.yaml").is_file():
        loss = "no settings are shown"
        run.config = flat(_mapping(folder / "config.yaml", run.notes, loss))
    return run


def _diversity(folder: Path, notes: list[str]) -> dict[str, Any]:
    """The scores of `flowbalance diversity`, where it was asked."""
    if not (folder / "diversity.json").is_file():
        return {}
    found = _mapping(folder / "diversity.json", notes, "its diversity is not shown").get("scores")
    return found if isinstance(found, dict) else {}


def held_out(row: dict[str, Any]) -> dict[str, float]:
    """The held-out scores of a metrics row."""
    found = {name[5:]: value for name, value in row.items() if name.startswith("test/")}
    return numbers(found)


def numbers(values: Any) -> dict[str, float]:
    """The entries that are numbers (a bool is none)."""
    if not isinstance(values, dict):
        return {}
    return {name: float(value) for name, value in values.items() if is_number(value)}


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value of JSON is a finite number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings by dotted name; an empty one holds nothing."""
    rows: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            rows |= flat(value, f"{prefix}{name}.")
        else:
            rows[f"{prefix}{name}"] = value
    return rows


def _mapping(path: Path, notes: list[str], loss: str) -> dict[str, Any]:
    """A JSON or YAML object, or {} and a note that says what its lack costs."""
    if not path.is_file():
        notes.append(f"{path.name} is missing: {loss}")
        return {}
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        found = yaml.safe_load(text) if path.suffix == ".yaml" else json.loads(text)
    except (yaml.YAMLError, ValueError):
        found = None
    if isinstance(found, dict):
        return {str(name): value for name, value in found.items()}
    notes.append(f"{path.name} is damaged or only half written: {loss}")
    return {}


def _lines(path: Path, notes: list[str], loss: str) -> list[dict[str, Any]]:
    """The objects of a JSONL file; lines that are none are left out with a note."""
    if not path.is_file():
        notes.append(f"{path.name} is missing: {loss}")
        return []
    rows, damaged = [], 0
    # Not splitlines(): the JSON text of an answer may hold U+2028 and its like as they are.
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            rows.append(row)
        else:
            damaged += 1
    if damaged:
        notes.append(f"{path.name}: {_count(damaged)} cut short or damaged and left out")
    elif not rows:
        notes.append(f"{path.name} is empty: {loss}")
    return rows


def _steps(path: Path, notes: list[str], loss: str) -> list[dict[str, Any]]:
    """The lines of a file that has one or more a step."""
    return _whole(_lines(path, notes, loss), ("step",), notes, path.name)


def _whole(
    rows: list[dict[str, Any]], fields: tuple[str, ...], notes: list[str], name: str
) -> list[dict[str, Any]]:
    """The rows that have all these fields, and a note on the others."""
    found = [row for row in rows if all(row.get(field) is not None for field in fields)]
    if len(found) < len(rows):
        lost = _count(len(rows) - len(found))
        notes.append(f"{name}: {lost} without {' or '.join(fields)} and left out")
    return found


def _count(lines: int) -> str:
    return "1 line is" if lines == 1 else f"{lines} lines are"

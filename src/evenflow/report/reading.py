"""What lies in the folders of runs and evaluations, as plain data.

A file that is missing or was cut short costs its part of the page and leaves a note; a folder that
holds nothing of ours is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from evenflow.errors import UserError
from evenflow.report.folders import EVALUATION, each_once, holds
from evenflow.report.rows import ANSWERS, METRICS, SAMPLES, is_number, lines, mapping, numbers
from evenflow.report.scored import by_question, evaluations, measurements, test_set
from evenflow.report.verl_log import verl_rows
from evenflow.run.files import flat
from evenflow.run.provenance import starts
from evenflow.run.tracking import OTHER, held_out_scores, measured_otherwise, verl_logs

MODEL = "model"
"""What a pretraining ends with, in its folder."""


@dataclass
class Run:
    """A folder: a training run (pretraining is one), or an evaluation of a benchmark."""

    name: str
    kind: Literal["training", "evaluation"]
    folder: Path = Path()
    config: dict[str, Any] = field(default_factory=dict)
    """Settings by dotted name."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """metrics.jsonl: one a step."""
    summary: dict[str, Any] = field(default_factory=dict)
    """What the run ended with."""
    before: dict[str, float] = field(default_factory=dict)
    """Held-out scores before the first step."""
    after: dict[str, float] = field(default_factory=dict)
    """Held-out scores at the end, or of the latest evaluation after a step."""
    evaluated: int | None = None
    """The step of `after`, where the run went on after it or has not ended."""
    ended: bool = True
    pretraining: bool = False
    """Whether a model was made from demonstrations; it samples no answers and has no summary."""
    samples: list[dict[str, Any]] = field(default_factory=list)
    """samples.jsonl of a training run: one a question and evaluation."""
    answers: list[dict[str, Any]] = field(default_factory=list)
    """answers.jsonl of an evaluation: one an answer."""
    result: dict[str, Any] = field(default_factory=dict)
    """result.json of an evaluation."""
    diversity: dict[str, Any] = field(default_factory=dict)
    """Scores of diversity.json: numbers, or {value, low, high}."""
    starts: list[dict[str, Any]] = field(default_factory=list)
    """provenance.json: what was run, where and when, an entry a start."""
    questions: int | None = None
    """How many held-out questions its scores are of, where the run has kept that."""
    before_of: dict[str, list[float]] = field(default_factory=dict)
    """`before` of each question; NaN says nothing."""
    after_of: dict[str, list[float]] = field(default_factory=dict)
    """`after` of each question."""
    notes: list[str] = field(default_factory=list)
    """What is missing or damaged."""

    @property
    def algorithm(self) -> str:
        """The preset, "" where it is not known."""
        known = self.summary.get("algorithm") or self.config.get("algorithm")
        return str(known or ("pretraining" if self.pretraining else ""))

    @property
    def right(self) -> float:
        """The reward from which an answer counts as right."""
        value = self.config.get("reward.right")
        return float(value) if is_number(value) else 1.0


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """The runs in order, with names that tell them apart; each once, and a comparison by its
    runs."""
    kept, again = each_once(folders)
    runs = [read_run(folder) for folder in kept]
    for run, name in zip(runs, names(kept), strict=True):
        run.name = name
    runs[0].notes += again
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
    run = _evaluation(folder) if holds(folder, EVALUATION) else _training(folder)
    run.starts = starts(folder)
    return run


def _training(folder: Path) -> Run:
    run = Run(folder.name, "training", folder)
    run.config = flat(mapping(folder / "config.yaml", run.notes, "no settings are shown"))
    logs = verl_logs(folder)
    if logs:
        run.rows = verl_rows(logs, run.notes)
    else:
        run.rows = lines(folder / "metrics.jsonl", METRICS, run.notes, "there are no curves of it")
    by_step = evaluations(folder, run.notes)
    if others := measured_otherwise(by_step, by_step[-1].get("measure") if by_step else None):
        run.notes.append(f"what was scored up to step {max(others)} is {OTHER} with the latest")
        run.rows = [without_scores(row) if row["step"] in others else row for row in run.rows]
        by_step = [row for row in by_step if row["step"] not in others]
    evaluated = {int(row["step"]): scores for row in run.rows if (scores := held_out(row))}
    latest = max(evaluated, default=0)
    since = f"its scores are of step {latest}" if latest else "no evaluation after a step yet"
    run.pretraining = is_pretraining(run.config, folder)
    if logs:
        last = run.rows[-1]["step"] if run.rows else 0
        steps = run.config.get("train.steps")
        run.ended = not is_number(steps) or last >= steps
        run.notes.append(f"a run of verl, of which only numbers are kept; {since}")
    elif run.pretraining:
        run.ended = (folder / MODEL).is_dir()
        if not run.ended:
            run.notes.append(f"{MODEL}/ is missing: not ended; {since}")
    else:
        run.summary = mapping(folder / "summary.json", run.notes, f"not ended; {since}")
        run.ended = bool(run.summary)
    own, *base = (measured(path, run.notes) for path in measurements(folder) or [None])
    run.before = (base[0] if base else {}) or numbers(run.summary.get("before"))
    run.before = run.before or evaluated.get(0, {})
    run.after = own or numbers(run.summary.get("after"))
    if not run.after and latest:
        run.after = evaluated[latest]
        run.evaluated = None if run.ended and latest == run.rows[-1]["step"] else latest
    run.before_of, run.after_of = by_question(folder, by_step)
    run.questions = next((len(v) for v in (run.after_of | run.before_of).values()), None)
    run.diversity = _diversity(folder, run.notes)
    if not logs and not run.pretraining and run.config.get("evaluation.every") != 0:
        loss = "there are no answers of it to show"
        run.samples = lines(folder / "samples.jsonl", SAMPLES, run.notes, loss)
    return run


def is_pretraining(config: dict[str, Any], folder: Path) -> bool:
    """Whether a folder is of `evenflow pretrain`: it builds a model and rolls nothing out."""
    sections = {name.partition(".")[0] for name in config}
    built = "architecture" in sections or (folder / MODEL).is_dir()
    return built and bool(sections) and "rollout" not in sections


def measured(path: Path | None, notes: list[str]) -> dict[str, float]:
    """The scores of a comparison, which measures its base and each run after training."""
    if path is None:
        return {}
    found = numbers(test_set(mapping(path, notes, "its scores are not shown")).get("scores"))
    sampled = found.get("accuracy_sampled")
    return found if sampled is None else {"accuracy": sampled} | found


def _evaluation(folder: Path) -> Run:
    run = Run(folder.name, "evaluation", folder)
    run.result = mapping(folder / "result.json", run.notes, "its scores are not shown")
    if run.result and not run.result.keys() & {"avg@k", "pass@k"}:
        run.notes.append("result.json is not of evenflow eval: it has no scores")
        run.result = {}
    loss = "there are no answers of it to show"
    run.answers = lines(folder / "answers.jsonl", ANSWERS, run.notes, loss)
    run.diversity = _diversity(folder, run.notes)
    if (folder / "config.yaml").is_file():
        settings = mapping(folder / "config.yaml", run.notes, "no settings are shown")
        run.config = flat(settings)
    return run


def _diversity(folder: Path, notes: list[str]) -> dict[str, Any]:
    """The scores of `evenflow diversity`, where it was asked."""
    if not (folder / "diversity.json").is_file():
        return {}
    found = mapping(folder / "diversity.json", notes, "its diversity is not shown").get("scores")
    return found if isinstance(found, dict) else {}


def held_out(row: dict[str, Any]) -> dict[str, float]:
    """The held-out scores of a metrics row."""
    return numbers(held_out_scores(row))


def without_scores(row: dict[str, Any]) -> dict[str, Any]:
    """A metrics row without what was measured on held-out questions."""
    return {name: value for name, value in row.items() if not name.startswith("test/")}

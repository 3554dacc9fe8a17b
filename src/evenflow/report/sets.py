"""Which runs were scored on the same held-out questions: only those can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evenflow.inputs import is_number
from evenflow.report.reading import Run
from evenflow.report.rows import mapping
from evenflow.report.scored import measurements


def question_sets(runs: Sequence[Run]) -> list[int]:
    """For each run the number of its set of held-out questions: the same number, the same set.

    By what the runs read, where each of them has kept a mark of it; else by their settings. A run
    without scores makes no set of its own; an evaluation has -1.
    """
    marks = [None if measurements(run.folder) else mark_of(run) for run in runs]
    trained = [i for i, run in enumerate(runs) if run.kind == "training" and scored(run)]
    known = all(marks[i] for i in trained)
    numbers: dict[Any, int] = {}
    keys = [marks[i] if known else settings_key(run) for i, run in enumerate(runs)]
    return [
        numbers.setdefault(keys[i], len(numbers)) if i in trained else -(run.kind == "evaluation")
        for i, run in enumerate(runs)
    ]


def scored(run: Run) -> bool:
    """Whether a training run has scores on held-out questions."""
    return bool(run.before or run.after)


def mark_of(run: Run) -> str | None:
    """A hash of the held-out questions, as the run's latest start read them."""
    inputs = run.starts[-1].get("inputs") if run.starts else None
    for name, mark in inputs.items() if isinstance(inputs, dict) else ():
        if str(name).startswith("held-out questions"):
            return str(mark)
    return None


def settings_key(run: Run) -> tuple[Any, ...]:
    """What settings say of the held-out questions; of a comparison, what it was measured by."""
    config = run.config
    names = ("task", "test", "test_split")
    options = sorted((k, str(v)) for k, v in config.items() if "task_options" in k)
    asked: Any = {
        "questions": config.get("evaluation.questions", config.get("evaluation_questions")),
        "skip": config.get("evaluation.skip", 0),
    }
    for path in measurements(run.folder)[:1]:
        specified = mapping(path, [], "").get("specification")
        inner = specified.get("evaluation") if isinstance(specified, dict) else None
        asked |= inner if isinstance(inner, dict) else {}
    found = [config.get(f"data.{name}", config.get(name)) for name in names]
    return *map(str, (*found, asked["questions"], asked["skip"])), *options


def set_title(run: Run) -> str:
    """A set of held-out questions in words, by one of its runs."""
    config = run.config
    source = config.get("data.task", config.get("task")) or config.get("data.test")
    some = config.get("evaluation.questions", config.get("evaluation_questions"))
    most = f"at most {some:,}" if is_number(some) and some else "held-out"
    count = f"{run.questions:,}" if run.questions else most
    skip = config.get("evaluation.skip")
    return (
        f"{count} questions"
        + (f" of {source}" if source else "")
        + (f", after the first {skip:,}" if is_number(skip) and skip else "")
    )

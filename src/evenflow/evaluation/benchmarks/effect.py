"""Options that are set and change nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from evenflow.config import BenchmarkConfig
from evenflow.data import Row
from evenflow.evaluation.benchmarks.questions import find, is_file
from evenflow.evaluation.benchmarks.verdicts import PRESETS
from evenflow.tasks import TASKS

Rule = tuple[tuple[str, ...], Callable[[BenchmarkConfig, str, Sequence[Row]], bool], str]

RULES: list[Rule] = [
    (
        ("split",),
        lambda c, grader, rows: is_file(find(c)[2] or ""),
        "a file has no splits",
    ),
    (
        ("task_options",),
        lambda c, grader, rows: c.benchmark not in TASKS,
        "only a built-in task has options",
    ),
    (
        ("gold_column",),
        lambda c, grader, rows: grader in ("code", *TASKS),
        "the grader does not look at golds",
    ),
    (
        ("right", "grading_timeout"),
        lambda c, grader, rows: grader in (*PRESETS, "code"),
        "only where the grader is a reward function",
    ),
    (
        ("prompt_template",),
        lambda c, grader, rows: bool(rows) and all(isinstance(r["prompt"], list) for r in rows),
        "every question is chat messages already",
    ),
    (
        ("chat_template_kwargs",),
        lambda c, grader, rows: (
            c.chat is False and not any(isinstance(row["prompt"], list) for row in rows)
        ),
        "chat is false",
    ),
    (("top_p",), lambda c, grader, rows: c.temperature == 0, "temperature: 0 is greedy"),
]


def without_effect(config: BenchmarkConfig, rows: Sequence[Row]) -> list[str]:
    """A sentence for each option that is not at its default, and yet changes nothing."""
    grader = config.grader or find(config)[1].grader
    return [
        f"{name}: {why}"
        for names, idle, why in RULES
        for name in names
        if getattr(config, name) != default_of(name) and idle(config, grader, rows)
    ]


def default_of(name: str) -> object:
    """What an option is if nobody sets it."""
    return BenchmarkConfig.model_fields[name].get_default(call_default_factory=True)

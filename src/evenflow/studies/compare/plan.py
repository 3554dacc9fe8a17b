"""What a comparison consists of: its runs, their folders, and the one budget they share."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from evenflow.config import TrainConfig, load
from evenflow.errors import UserError
from evenflow.run.files import flat, write_atomic
from evenflow.studies.compare.variants import Variant
from evenflow.tasks import get_task

PLAN = "plan.json"
WORDS = {"algorithm": "algorithms=", "seed": "seeds=", "threads": "jobs="}
"""Recipe fields that a comparison sets itself → the word that is meant instead."""


@dataclass(frozen=True)
class Request:
    """What was asked for."""

    command: str
    """As it was typed."""
    recipe: Path
    overrides: tuple[str, ...]
    """Of the recipe, for all runs alike."""
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
    baseline: str
    """The label that the others are compared with."""
    folder: Path
    jobs: int
    grid: Mapping[str, list[str]]
    """The values to search, by name; empty: no search."""
    search_by: str | None
    """A score; None: accuracy, exact where it can be."""
    search_answers: int | None
    ood: Mapping[str, dict[str, Any]] | None
    """Sets of questions out of distribution: task options by name; None: the task's own."""
    ood_questions: int


@dataclass(frozen=True)
class Run:
    """One training run."""

    name: str
    """Different for each."""
    variant: Variant
    seed: int
    config: TrainConfig
    folder: Path


def base_config(request: Request) -> TrainConfig:
    """The recipe with what holds for all runs, its own algorithm included."""
    for override in request.overrides:
        key = override.partition("=")[0]
        if key in WORDS:
            raise UserError(f"{override}: compare takes {WORDS[key]}… instead")
    config = checked(request.recipe, request.overrides)
    evaluation = config.evaluation
    if evaluation.top_p != 1 or evaluation.temperature == 0:
        raise UserError(
            "evaluation.top_p, evaluation.temperature: compare measures distributions (entropy, "
            "KL, exact probabilities); leave top_p at 1 and the temperature above 0"
        )
    return config


def budget(config: TrainConfig) -> int:
    """Sampled answers a run: train.answers, or what the recipe's steps take."""
    return config.train.answers or config.train.steps * batch(config)


def batch(config: TrainConfig) -> int:
    """Answers of a step that drops none."""
    return config.rollout.questions * config.rollout.num_generations


@lru_cache
def checked(recipe: Path, changes: tuple[str, ...]) -> TrainConfig:
    """`load`, once for all seeds: what it warns of is said once."""
    return load(TrainConfig, recipe, changes)


def build_run(
    request: Request,
    variant: Variant,
    seed: int,
    *,
    name: str,
    answers: int,
    folder: Path,
    overrides: Sequence[str] = (),
) -> Run:
    """The run of a variant, checked; `name` tells it from its others, `overrides` come last.

    train.steps, the length of the schedule, is what the answers last for where none are dropped.
    Held-out questions are measured at the end, and on the way only where the user asks for it.
    """
    changes = [*request.overrides, f"algorithm={variant.algorithm}", *variant.overrides, *overrides]
    try:
        config = checked(request.recipe, tuple(changes))
    except UserError as error:
        raise UserError(f"{variant.label}: {error}") from None
    if batch(config) > answers:
        raise UserError(
            f"{variant.label}: a step samples {batch(config)} answers, more than the budget of "
            f"{answers}; raise train.answers or lower rollout.questions"
        )
    steps = math.ceil(answers / batch(config))
    evaluation = config.evaluation
    if not any(change.startswith("evaluation.every=") for change in changes):
        evaluation = evaluation.model_copy(update={"every": 0})
    config = config.model_copy(
        update={
            "seed": seed,
            "threads": 1,
            "output": str(folder),
            "train": config.train.model_copy(update={"answers": answers, "steps": steps}),
            "evaluation": evaluation,
        }
    )
    return Run(f"{variant.label} {name}", variant, seed, config, folder)


def build_runs(request: Request, chosen: Mapping[str, Sequence[str]]) -> list[Run]:
    """All runs, one seed after the other, so that every algorithm has some early.

    `chosen` are the overrides that the search found best for each label.
    """
    answers = budget(base_config(request))
    return [
        build_run(
            request,
            variant,
            seed,
            name=f"seed {seed}",
            answers=answers,
            folder=request.folder / "runs" / f"{variant.slug}-seed{seed}",
            overrides=chosen.get(variant.label, ()),
        )
        for seed in request.seeds
        for variant in request.variants
    ]


def specification(request: Request, config: TrainConfig) -> dict[str, Any]:
    """What the runs are measured by (`measure.measure`); the sets are checked to exist."""
    sets = request.ood
    task = get_task(config.data.task, config.data.task_options) if config.data.task else None
    if sets is None:
        own = getattr(task, "out_of_distribution", None)
        sets = own() if own else {}
    elif sets and task is None:
        raise UserError("ood: names options of a built-in task; this recipe has none (data.task)")
    for options in sets.values():
        assert config.data.task is not None
        changed = get_task(config.data.task, config.data.task_options | options)
        changed.rows("test", request.ood_questions)
    return {
        "evaluation": config.evaluation.model_dump(mode="json"),
        "ood": {name: dict(options) for name, options in sets.items()},
        "ood_questions": request.ood_questions,
    }


def settle(request: Request, runs: Sequence[Run]) -> None:
    """Write the plan into the folder; one that is there may only be gone on with, or added to.

    How runs are measured is no part of it: they can be measured again.
    """
    new = json.loads(json.dumps(as_json(request, runs)))
    path = request.folder / PLAN
    if path.is_file():
        try:
            old = json.loads(path.read_text(encoding="utf-8"))
            difference = first_difference(old, new)
        except (ValueError, LookupError, AttributeError):
            difference = f"{PLAN} is damaged"
        if difference:
            raise UserError(
                f"{request.folder}: holds another comparison ({difference}); give the same words "
                "as before to go on with it, or another folder with output=…"
            )
    request.folder.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(new, indent=1) + "\n")


def as_json(request: Request, runs: Sequence[Run]) -> dict[str, Any]:
    """The plan, before any search has changed it."""
    search = None
    if request.grid:
        search = {
            "grid": dict(request.grid),
            "by": request.search_by,
            "answers": request.search_answers,
        }
    left_out = {"output", "evaluation"}
    return {
        "search": search,
        "runs": {
            run.name: flat(run.config.model_dump(mode="json", exclude=left_out)) for run in runs
        },
    }


def first_difference(old: dict[str, Any], new: dict[str, Any]) -> str | None:
    """What of an old plan a new one does not keep; runs may be added."""
    if old["search"] != new["search"]:
        return "its search is another one"
    for name, settings in old["runs"].items():
        if name not in new["runs"]:
            return f"it has {name} too"
        for key in sorted(settings.keys() | new["runs"][name].keys()):
            before, now = settings.get(key), new["runs"][name].get(key)
            if before != now:
                return f"{key} of {name} was {before}, not {now}"
    return None

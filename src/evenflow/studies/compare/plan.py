"""What a comparison consists of: its runs, their folders, and the one budget they share."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evenflow.config import Change, CompareConfig, TrainConfig, dump, read_yaml, resolve
from evenflow.config.effect import without_effect
from evenflow.errors import UserError
from evenflow.evaluation.columns import COLUMNS
from evenflow.machine import cores
from evenflow.objectives import Objective
from evenflow.run.files import flat, write_atomic
from evenflow.run.kinds import PLAN, STUDY
from evenflow.studies.compare.marks import marks_of
from evenflow.studies.compare.measure import TEST
from evenflow.studies.compare.variants import (
    Variant,
    build_variants,
    check_search,
    dotted,
    is_preset,
    with_dials,
)
from evenflow.tasks import get_task

MEASURED = 6
"""How often a run of a curve is measured on its way."""
INSTEAD = {"algorithm": "algorithms", "seed": "seeds", "threads": "jobs", "output": "output"}
"""Recipe fields that a comparison sets itself → the study's field that is meant instead."""


class Request:
    """What was asked for: a study, checked as far as it can be without its recipe.

    `overrides` are of the recipe, for all runs alike; `command` is what was typed.
    """

    def __init__(self, study: CompareConfig, command: str, folder: Path) -> None:
        self.study, self.command, self.folder = study, command, folder
        self.overrides: list[Change] = list(dotted(study.overrides.items()))
        algorithms = build_variants(study.algorithms)
        self.variants = with_dials(algorithms, study.frontier)
        self.jobs = study.jobs or cores()
        self.baseline, self.point = find_baseline(study.baseline, algorithms, self.variants)
        allowed = [key for key, column in COLUMNS.items() if column.higher_is_better]
        if study.search_by not in (None, *allowed):
            raise UserError(
                f"search_by: {study.search_by!r} cannot be searched by; choose {', '.join(allowed)}"
            )
        for field in ("search_by", "search_answers"):
            if not study.search and getattr(study, field) is not None:
                raise UserError(
                    f"{field}: nothing is searched; name settings to try, e.g. "
                    f"search=train.learning_rate=1e-4,2e-4, or leave {field} out"
                )
        check_search(study.search, self.variants)


def find_baseline(
    named: str | None, algorithms: Sequence[Variant], points: Sequence[Variant]
) -> tuple[str, str]:
    """The labels of the curve and of the row that the others are held against: of a curve the
    point that is named, else that with the preset's own value, else the first."""
    labels = [variant.label for variant in algorithms]
    for point in points:
        if point.label == named and named not in labels:
            return point.curve, point.label
    curve = labels[0] if named is None else named
    if curve not in labels:
        raise UserError(f"baseline: {named!r} is none of the algorithms ({', '.join(labels)})")
    own = [point for point in points if point.curve == curve]
    return curve, next((point for point in own if is_preset(point)), own[0]).label


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
    for key, _ in request.overrides:
        if key in INSTEAD:
            raise UserError(f"{key}: compare takes {INSTEAD[key]}=… instead")
    config = recipe_with(request, ())
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


def recipe_with(request: Request, changes: Sequence[Change]) -> TrainConfig:
    """The recipe with what holds for all runs, and changes after it."""
    return resolve(
        TrainConfig, read_yaml(Path(request.study.recipe)), [*request.overrides, *changes]
    )


def variant_config(
    request: Request, variant: Variant, answers: int, changes: Sequence[Change] = ()
) -> TrainConfig:
    """The recipe of a variant's runs, checked, but for seed and folder; `changes` come last.

    train.steps, the length of the schedule, is what the answers last for where none are dropped.
    Held-out questions are measured at the end, and on the way only where a curve is wanted or the
    user asks for it.
    """
    own = [("algorithm", variant.algorithm), *variant.changes, *changes]
    try:
        config = recipe_with(request, own)
    except UserError as error:
        raise UserError(f"{variant.label}: {error}") from None
    if batch(config) > answers:
        raise UserError(
            f"{variant.label}: a step samples {batch(config)} answers, more than the budget of "
            f"{answers}; raise train.answers or lower rollout.questions"
        )
    steps = math.ceil(answers / batch(config))
    evaluation = config.evaluation
    if not any(key == "evaluation.every" for key, _ in request.overrides):
        every = max(1, steps // MEASURED) if request.study.frontier else 0
        evaluation = evaluation.model_copy(update={"every": every})
    train = config.train.model_copy(update={"answers": answers, "steps": steps})
    return config.model_copy(update={"threads": 1, "train": train, "evaluation": evaluation})


def build_run(variant: Variant, config: TrainConfig, seed: int, name: str, folder: Path) -> Run:
    """A run of a variant; `name` tells it from the variant's others."""
    own = config.model_copy(update={"seed": seed, "output": str(folder)})
    return Run(f"{variant.label} {name}", variant, seed, own, folder)


def build_runs(request: Request, chosen: Mapping[str, Sequence[Change]]) -> list[Run]:
    """All runs, one seed after the other, so that every algorithm has some early.

    `chosen` are the changes that the search found best for each label.
    """
    answers, runs = budget(base_config(request)), request.folder / "runs"
    configs = [
        (variant, variant_config(request, variant, answers, chosen.get(variant.label, ())))
        for variant in request.variants
    ]
    met: list[tuple[str, TrainConfig, Objective]] = []
    for variant, config in configs:
        run = variant.curve, config.model_copy(update={"objective": {}}), config.build_objective()
        if run in met:
            raise UserError(f"frontier: of {variant.curve} two values make the run {variant.label}")
        met.append(run)
        if idle := [
            why
            for why in without_effect(config)
            if why.startswith((f"{variant.dial}:", f"{variant.dial}."))
        ]:
            raise UserError(f"frontier: of {variant.curve} {idle[0]}; turn another dial")
    return [
        build_run(variant, config, seed, f"seed {seed}", runs / f"{variant.slug}-seed{seed}")
        for seed in request.study.seeds
        for variant, config in configs
    ]


def specification(request: Request, config: TrainConfig) -> dict[str, Any]:
    """What the runs are measured by (`measure.measure`); the sets are checked to exist."""
    sets, questions = request.study.ood, request.study.ood_questions
    task = get_task(config.data.task, config.data.task_options) if config.data.task else None
    if sets is None:
        own = getattr(task, "out_of_distribution", None)
        sets = own() if own else {}
    elif sets == "none":
        sets = {}
    elif TEST in sets:
        raise UserError(f"ood: {TEST} is the name of the held-out questions; choose another")
    elif sets and task is None:
        raise UserError("ood: names options of a built-in task; this recipe has none (data.task)")
    for options in sets.values():
        assert config.data.task is not None
        changed = get_task(config.data.task, config.data.task_options | options)
        changed.rows("test", questions)
    return {
        "evaluation": config.evaluation.model_dump(mode="json"),
        "ood": {name: dict(options) for name, options in sets.items()},
        "ood_questions": questions,
    }


def settle(request: Request, runs: Sequence[Run]) -> None:
    """Write plan and study into the folder; a plan that is there may be gone on with, or added to.

    How runs are measured is no part of it: they can be measured again.
    """
    new = json.loads(json.dumps(as_json(request, runs)))
    path = request.folder / PLAN
    if path.is_file():
        try:
            old = json.loads(path.read_text(encoding="utf-8"))
            difference = first_difference(old, new)
            new["inputs"] = old.get("inputs", {}) | new["inputs"]
        except (ValueError, LookupError, AttributeError):
            difference = f"{PLAN} is damaged"
        if difference:
            raise UserError(
                f"{request.folder}: holds another comparison ({difference}); give the same words "
                "and files as before to go on with it, or another folder with output=…"
            )
    request.folder.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(new, indent=1) + "\n")
    whole = request.study.model_copy(update={"output": str(request.folder)})
    write_atomic(request.folder / STUDY, dump(whole))


def as_json(request: Request, runs: Sequence[Run]) -> dict[str, Any]:
    """The plan, before any search has changed it."""
    study, search = request.study, None
    if study.search:
        search = {"grid": study.search, "by": study.search_by, "answers": study.search_answers}
    left_out = {"output", "evaluation"}
    return {
        "search": search,
        "runs": {
            run.name: flat(run.config.model_dump(mode="json", exclude=left_out)) for run in runs
        },
        "inputs": marks_of(runs[0].config),  # all runs have the same
    }


def first_difference(old: dict[str, Any], new: dict[str, Any]) -> str | None:
    """What of an old plan a new one does not keep; runs may be added, and an input whose mark one
    of them does not know counts as the same."""
    if old["search"] != new["search"]:
        return "its search is another one"
    for name, settings in old["runs"].items():
        if name not in new["runs"]:
            return f"it has {name} too"
        for key in sorted(settings.keys() | new["runs"][name].keys()):
            before, now = settings.get(key), new["runs"][name].get(key)
            if before != now:
                return f"{key} of {name} was {before}, not {now}"
    for field, mark in old.get("inputs", {}).items():
        if new["inputs"].get(field, mark) != mark:
            kind = "model" if field.startswith("model") else "file"
            return f"{field} is not the {kind} that it was"
    return None

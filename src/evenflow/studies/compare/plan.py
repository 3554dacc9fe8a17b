"""What a comparison consists of: its runs, their folders, and the one budget they share."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from operator import attrgetter
from pathlib import Path
from typing import Any

from evenflow.config import (
    Change,
    CompareConfig,
    TrainConfig,
    dump,
    fields,
    load,
    read_yaml,
    resolve,
)
from evenflow.config.effect import without_effect
from evenflow.config.reading import settings_of
from evenflow.errors import UserError
from evenflow.evaluation.columns import COLUMNS
from evenflow.machine import cores
from evenflow.objectives import Objective
from evenflow.run.files import flat, write_atomic
from evenflow.run.kinds import PLAN, STUDY
from evenflow.studies.compare.marks import marks_of
from evenflow.studies.compare.variants import (
    Variant,
    build_variants,
    check_search,
    dotted,
    is_preset,
    with_dials,
)

MEASURED = 6
"""How often a run of a curve is measured on its way."""
FIRST_SEED = 1000
"""Trials have a seed of their own."""
RECIPE, CHOSEN = "recipe.yaml", Path("search", "chosen.json")
MEASURED_BY = ("rollout.max_completion_length", "rollout.stop")
"""Fields of the recipe beside `evaluation` that decide what is measured."""
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
    refuse_weights_only(config)
    evaluation = config.evaluation
    if evaluation.top_p != 1 or evaluation.temperature == 0:
        raise UserError(
            "evaluation.top_p, evaluation.temperature: compare measures distributions (entropy, "
            "KL, exact probabilities); leave top_p at 1 and the temperature above 0"
        )
    return config


def refuse_weights_only(config: TrainConfig, where: str = "") -> None:
    """Refuse runs that could not be gone on with once the comparison is interrupted."""
    if config.checkpoint.weights_only:
        raise UserError(
            f"{where}checkpoint.weights_only: compare goes on with interrupted runs, which weights "
            "alone do not allow; set checkpoint.weights_only=false"
        )


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
    request: Request,
    variant: Variant,
    answers: int,
    changes: Sequence[Change] = (),
    *,
    on_the_way: bool = False,
) -> TrainConfig:
    """The recipe of a variant's runs, checked, but for seed and folder; `changes` come last.

    train.steps, the length of the schedule, is what the answers last for where none are dropped.
    Held-out questions are measured at the end, and `on_the_way` or where the user asks for it.
    """
    own = [("algorithm", variant.algorithm), *variant.changes, *changes]
    try:
        config = recipe_with(request, own)
    except UserError as error:
        raise UserError(f"{variant.label}: {error}") from None
    base = base_config(request)
    for key in MEASURED_BY:
        if attrgetter(key)(config) != attrgetter(key)(base):
            raise UserError(
                f"{variant.label}: {key} cannot differ between the runs: all runs are measured "
                f"alike; {key}=… for all of them"
            )
    refuse_weights_only(config, f"{variant.label}: ")
    if batch(config) > answers:
        raise UserError(
            f"{variant.label}: a step samples {batch(config)} answers, more than the budget of "
            f"{answers}; raise train.answers or lower rollout.questions"
        )
    steps = math.ceil(answers / batch(config))
    evaluation = config.evaluation
    if not any(key == "evaluation.every" for key, _ in request.overrides):
        every = max(1, steps // MEASURED) if on_the_way else 0
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
    curves = bool(request.study.frontier)

    def config_of(variant: Variant) -> TrainConfig:
        best = chosen.get(variant.label, ())
        return variant_config(request, variant, answers, best, on_the_way=curves)

    configs = [(variant, config_of(variant)) for variant in request.variants]
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


def trial_seed(request: Request) -> int:
    """The seed of the search's trials, which no run has; once there is a plan it stays as it is,
    whatever seeds are added."""
    seeds = request.study.seeds
    with suppress(OSError, ValueError, LookupError, TypeError, AttributeError):  # `settle` refuses
        old = json.loads((request.folder / PLAN).read_text(encoding="utf-8"))
        if "seed" in old["search"]:
            return int(old["search"]["seed"])
        seeds = [settings["seed"] for settings in old["runs"].values()]
    return next(seed for seed in count(FIRST_SEED) if seed not in seeds)


def settle(
    request: Request, runs: Sequence[Run], others: Sequence[tuple[Path, TrainConfig]] = ()
) -> None:
    """Write plan and study into the folder; a plan that is there may be gone on with, or added to.
    What is refused leaves both as they were: `others` are the folders of what is no run of the
    plan, and their recipes, which must be those that lie there.

    How runs are measured is no part of it: they can be measured again.
    """
    new = json.loads(json.dumps(as_json(request, runs)))
    path = request.folder / PLAN
    if path.is_file():
        try:
            old = json.loads(path.read_text(encoding="utf-8"))
            difference = first_difference(old, new, chosen=(request.folder / CHOSEN).is_file())
            new["inputs"] = old.get("inputs", {}) | new["inputs"]
        except (ValueError, LookupError, TypeError, AttributeError):
            difference = f"{PLAN} is damaged"
        if difference:
            raise UserError(
                f"{request.folder}: holds another comparison ({difference}); give the same words "
                "and files as before to go on with it, or another folder with output=…"
            )
    for folder, config in others:
        refuse_other(folder, config)
    request.folder.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(new, indent=1) + "\n")
    whole = request.study.model_copy(update={"output": str(request.folder)})
    write_atomic(request.folder / STUDY, dump(whole))


def refuse_other(folder: Path, config: TrainConfig) -> None:
    """Refuse a run's folder whose recipe is another one's."""
    path = folder / RECIPE
    if path.is_file():
        before, now = settings_of_run(load(TrainConfig, path, [])), settings_of_run(config)
        if difference := first_change(before, now):
            raise UserError(
                f"{folder}: holds a run with other settings ({difference}); choose another folder "
                "with output=…"
            )


def settings_of_run(config: TrainConfig) -> dict[str, Any]:
    """What makes a run the run it is, by dotted name; how it is measured does not."""
    return flat(config.model_dump(mode="json", exclude={"output", "evaluation"}))


def as_json(request: Request, runs: Sequence[Run]) -> dict[str, Any]:
    """The plan, before any search has changed it."""
    study, search = request.study, None
    if study.search:
        search = {"grid": study.search, "by": study.search_by, "answers": study.search_answers}
        search["seed"] = trial_seed(request)
    return {
        "search": search,
        "runs": {run.name: settings_of_run(run.config) for run in runs},
        "inputs": marks_of(runs[0].config),  # all runs have the same
    }


def first_difference(old: dict[str, Any], new: dict[str, Any], *, chosen: bool) -> str | None:
    """What of an old plan a new one does not keep; runs may be added, and an input whose mark one
    of them does not know counts as the same. What the search goes by may change until it has
    `chosen`."""
    before, now = old["search"], new["search"]
    if before and now:
        free = {"seed": now["seed"]} | ({} if chosen else {"by": now["by"]})
        before = {**before, **free}
    if before != now:
        return "its search is another one"
    for name, settings in old["runs"].items():
        if name not in new["runs"]:
            return f"it has {name} too"
        now = new["runs"][name]
        if change := first_change(with_defaults(settings, now), now, name):
            return change
    for field, mark in old.get("inputs", {}).items():
        if new["inputs"].get(field, mark) != mark:
            kind = "model" if field.startswith("model") else "file"
            return f"{field} is not the {kind} that it was"
    return None


def first_change(before: Mapping[str, Any], now: Mapping[str, Any], of: str = "") -> str | None:
    """The first field that is another one now, with both values."""
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            whose = f" of {of}" if of else ""
            return f"{key}{whose} was {before.get(key)}, not {now.get(key)}"
    return None


def with_defaults(settings: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Settings of a plan from before some of the `known` fields were there, with the value that
    these have where nobody sets them."""
    brought = settings_of(str(settings.get("algorithm")))
    found = {}
    for name, _, default, _ in fields(TrainConfig):
        above = [name[:place] for place, sign in enumerate(name) if sign == "."]
        if name in known and not any(each in settings for each in (name, *above)):
            found[name] = json.loads(json.dumps(brought.get(name, default)))
    return {**found, **settings}

"""Tuning before the comparison: the same grid for every algorithm, on questions that are neither
trained on nor reported."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from evenflow.config import Change
from evenflow.errors import UserError
from evenflow.inputs import read_json
from evenflow.run.files import write_json
from evenflow.studies.compare.plan import (
    CHOSEN,
    Request,
    Run,
    base_config,
    batch,
    budget,
    build_run,
    trial_seed,
    variant_config,
)
from evenflow.studies.compare.variants import Variant, recipe_key

SHARE = 4
"""A trial has a quarter of a run's budget unless the user says otherwise."""


@dataclass(frozen=True)
class Trial:
    """One point of the grid for one algorithm."""

    run: Run
    values: Mapping[str, Any]


def trial_answers(request: Request) -> int:
    """Sampled answers a trial: at least one step of the recipe's."""
    config = base_config(request)
    return request.study.search_answers or max(batch(config), budget(config) // SHARE)


def build_trials(request: Request) -> list[Trial]:
    """Every algorithm at every point of the grid, with a seed that no run has."""
    grid, seed = request.study.search, trial_seed(request)
    answers, folder = trial_answers(request), request.folder / "search"
    trials = []
    for number, values in enumerate(product(*grid.values())):
        point = dict(zip(grid, values, strict=True))
        for variant in request.variants:
            config = variant_config(request, variant, answers, changes_of(variant, point))
            place = folder / f"{variant.slug}-trial{number}"
            trials.append(Trial(build_run(variant, config, seed, f"trial {number}", place), point))
    return trials


def changes_of(variant: Variant, point: Mapping[str, Any]) -> list[Change]:
    """A point of the grid as changes of the variant's recipe."""
    return [(recipe_key(key, variant.algorithm, "search"), value) for key, value in point.items()]


def choose(
    request: Request, trials: Sequence[Trial], scores: Mapping[str, float | None]
) -> dict[str, list[Change]]:
    """The changes of each label's best trial; the first of equals.

    `scores` by the trial's folder, None for one that failed or was not measured, NaN where the
    score is not known. What was chosen once is kept in search/chosen.json and stays, for runs were
    made with it.
    """
    points = chosen_before(request)
    for variant in request.variants:
        own = [trial for trial in trials if trial.run.variant == variant]
        if points.get(variant.label) in [trial.values for trial in own]:
            continue
        known = [
            (score, trial)
            for trial in own
            if (score := scores.get(str(trial.run.folder))) is not None
        ]
        judged = [pair for pair in known if not math.isnan(pair[0])]
        if known and not judged:
            raise UserError(
                f"search: no answer of the trials of {variant.label} could be judged; mend the "
                "reward, or name another score (search_by=…)"
            )
        if not known:
            raise UserError(
                f"search: every trial of {variant.label} failed; see train.log in the folders of "
                f"{request.folder / 'search'}, and try other values"
            )
        points[variant.label] = max(judged, key=lambda pair: pair[0])[1].values
    path = request.folder / CHOSEN
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, points)
    return {each.label: changes_of(each, points[each.label]) for each in request.variants}


def chosen_before(request: Request) -> dict[str, Mapping[str, Any]]:
    """Label → the values that were chosen for it in this folder; of none where nothing was."""
    path = request.folder / CHOSEN
    if not path.is_file():
        return {}
    try:
        points = read_json(path)
    except UserError:
        points = None
    if not isinstance(points, dict):
        raise UserError(f"{path}: is damaged; remove it to choose from the trials once more")
    return points

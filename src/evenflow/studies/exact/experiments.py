"""The runs of `evenflow exact`: every preset on every problem, and the study of fixed points."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from evenflow.config import HeadConfig
from evenflow.objectives import PRESETS, Balance, Choices, Preset
from evenflow.studies.exact.problems import Problem
from evenflow.studies.exact.training import Run, Settings

ALGORITHMS, FIXED_POINTS = "algorithms", "fixed points"

SINGLE = Problem("single, multimodal, prior", 6, 4, False, "multimodal", True, 5.0, rollouts=500)
MIXED = Problem("mixed, plateau, prior", 4, 5, True, "plateau", True, 3.0, rollouts=450)
FREE = Problem("single, unimodal, no prior", 8, 4, False, "unimodal", False, 8.0, rollouts=200)
PROBLEMS = (SINGLE, MIXED, FREE)
"""1,296, 1,365 and 4,096 answers a question: every length, shape and prior occurs."""

SLOPES = {"unimodal": 8.0, "multimodal": 5.0, "plateau": 3.0}  # n, by shape
SHAPES = tuple(SLOPES)


def full_problems() -> list[Problem]:
    """All lengths × shapes × priors at about 10^3 answers, then 10^4 to 10^5."""
    known = {problem.name: problem for problem in PROBLEMS}
    small = []
    for mixed in (False, True):
        for shape in SHAPES:
            for prior in (True, False):
                length, belief = (
                    ("mixed" if mixed else "single"),
                    ("prior" if prior else "no prior"),
                )
                name = f"{length}, {shape}, {belief}"
                letters, limit = (4, 5) if mixed else (6, 4)
                made = Problem(name, letters, limit, mixed, shape, prior, SLOPES[shape])
                small.append(known.get(name, made))
    large = [
        Problem("10,000 answers", 10, 4, False, "multimodal", True, 8.0, rollouts=900),
        Problem("55,987 answers", 6, 6, True, "unimodal", True, 8.0, questions=2, rollouts=900),
        Problem("104,976 answers", 18, 4, False, "unimodal", True, 8.0, questions=2, rollouts=900),
    ]
    return small + large


STUDIED = replace(MIXED, name="fixed points", inverse_temperature=2.0, rollouts=450)
"""The plateau with lengths again, its target less steep: what moves the fixed point shows."""

BASE: dict[str, Any] = {
    "log_z": "group",
    "scale": "sum",
    "reward": "raw",
    "importance": "none",
    "truncation": "none",
    "inverse_temperature": STUDIED.inverse_temperature,
}
PER_TOKEN = {"scale": "mean", "inverse_temperature": STUDIED.inverse_temperature / STUDIED.limit}
CHOICES: dict[str, dict[str, Any]] = {
    "log Z `group`": {},
    "log Z `leave-one-out`": {"log_z": "leave-one-out"},
    "log Z `head`": {"log_z": "head"},
    "log Z `running`": {"log_z": "running"},
    "log Z `offline`": {"log_z": "offline"},
    "log Z `none`": {"log_z": "none"},
    "g `linex`, α −1": {"regression": "linex", "linex_alpha": -1.0},
    "g `linex`, α 1": {"regression": "linex", "linex_alpha": 1.0},
    "g `cosh`": {"regression": "cosh"},
    "w `sequence`, 1 ± 0.2": {"importance": "sequence", "truncation": "symmetric"},
    "s `constant`, β/L": {
        "scale": "constant",
        "scale_length": float(STUDIED.limit),
        "inverse_temperature": STUDIED.inverse_temperature / STUDIED.limit,
    },
    "γ 0.5": {"reference_weight": 0.5},
    "γ 0": {"reference_weight": 0.0},
    "γ of right answers 0.5": {"right_reference_weight": 0.5},
    "γ of right answers 0": {"right_reference_weight": 0.0},
    "questions by 1/p̂": {"question_weight": "inverse"},
    "questions by 1/√p̂": {"question_weight": "root"},
    "rare right answers, τ 0.5": {"rarity": 0.5},
    "δ within −0.5 and 0.1": {"residual_low": 0.5, "residual_high": 0.1},
    "log Z `group` of π_old": {"log_z_policy": "old"},
    "δ of prefixes, λ 0.9": {"log_z": "flow"},
    "δ of prefixes, λ 0.9, on the group's log Z": {"log_z": "flow", "flow_base": "group"},
    "r̃ `centred`, log Z `group`": {"reward": "centred"},
    "r̃ `centred`, log Z `head`": {"reward": "centred", "log_z": "head"},
    "r̃ `group`, log Z `group`": {"reward": "group"},
    "r̃ `group`, log Z `head`": {"reward": "group", "log_z": "head"},
    "s `mean`, log Z `group`": PER_TOKEN,
    "s `mean`, log Z `head`": PER_TOKEN | {"log_z": "head"},
    "s `mean`, log Z `running`": PER_TOKEN | {"log_z": "running"},
    "s `mean`, log Z `none`": PER_TOKEN | {"log_z": "none"},
    "s `mean`, r̃ `group`, log Z `head`": PER_TOKEN | {"reward": "group", "log_z": "head"},
}
"""Each differs from the first by what it names; π* of the table is the first one's target."""
SMALL_GROUPS = ("r̃ `centred`, log Z `head`", "r̃ `group`, log Z `group`")
"""Whose fixed point depends on G: also with four answers a group."""


def head_of(preset: Preset) -> HeadConfig:
    """The head that a preset brings: its settings `head.*`."""
    changes = {
        key.removeprefix("head."): value
        for key, value in preset.settings.items()
        if key.startswith("head.")
    }
    return HeadConfig.model_validate(changes)


def rated(objective: Choices, settings: Settings) -> Settings:
    """A third of the learning rate for what sharpens beyond π*: at the full rate it collapses onto
    the first peak that it meets."""
    if objective.rests_at_target:
        return settings
    return replace(settings, learning_rate=settings.learning_rate / 3)


def algorithm_runs(problem: Problem, seed: int, settings: Settings) -> Iterator[Run]:
    """Every row of PRESETS but those that read a gold answer, which listed answers have no text
    for; and FlowRL at its published β."""
    for name, preset in PRESETS.items():
        if preset.objective.needs.guide:
            continue
        objective = preset.objective.aim(
            problem.inverse_temperature, problem.reference_weight, problem.limit
        )
        own = rated(objective, settings)
        yield Run(ALGORITHMS, problem, name, objective, seed, head_of(preset), own)
    published = PRESETS["flowrl"].objective.model_copy(
        update={"reference_weight": problem.reference_weight}
    )
    own = rated(published, settings)
    yield Run(ALGORITHMS, problem, "flowrl, β 15", published, seed, settings=own)


def fixed_point_runs(seed: int, settings: Settings) -> Iterator[Run]:
    """Each choice by itself, a smaller group, and the bridge to the other family."""
    for label, changes in CHOICES.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is shown here
            objective = Balance(**BASE | changes)
        yield Run(FIXED_POINTS, STUDIED, label, objective, seed, settings=settings)
    small = replace(settings, group_size=4, groups=settings.groups * settings.group_size // 4)
    for label in SMALL_GROUPS:
        objective = Balance(**BASE | CHOICES[label])
        yield Run(FIXED_POINTS, STUDIED, f"{label}, G 4", objective, seed, settings=small)
    target = Balance(**BASE)
    rloo = PRESETS["rloo"].objective.model_copy(
        update={"kl_coefficient": 1 / target.inverse_temperature}
    )
    label = "`rloo`, KL coefficient 1/β"
    yield Run(FIXED_POINTS, STUDIED, label, rloo, seed, settings=settings, prediction=target)


def all_runs(seeds: list[int], *, full: bool, settings: Settings | None = None) -> list[Run]:
    """What a call of `evenflow exact` runs, in order."""
    settings = settings or Settings()
    problems = full_problems() if full else PROBLEMS
    runs = [
        run
        for seed in seeds
        for problem in problems
        for run in algorithm_runs(problem, seed, settings)
    ]
    return runs + [run for seed in seeds for run in fixed_point_runs(seed, settings)]

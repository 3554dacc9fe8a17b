"""What `evenflow compare` and `evenflow exact` are told: many runs, one table."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from evenflow.bounds import Count, PositiveInt, Seed
from evenflow.config.sections import Section
from evenflow.yaml_text import parse_value

SETTING = re.compile(r"[A-Za-z_][\w.]*=")


def split(text: str, separator: str) -> list[str]:
    """Parts between separators outside of brackets; a colon separates only before ``name=``."""
    parts, depth = [""], 0
    for place, character in enumerate(text):
        depth += (character in "{[(") - (character in "}])")
        after = text[place + 1 :]
        if character == separator and depth == 0 and (separator != ":" or SETTING.match(after)):
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def _list(value: Any) -> Any:
    """``tba,grpo`` as a list."""
    return split(value, ",") if isinstance(value, str) else value


def _values(value: Any) -> Any:
    """``0,1,2``, or one number alone, as a list."""
    if isinstance(value, str):
        return [parse_value(part) for part in split(value, ",")]
    return [value] if isinstance(value, int) else value


def _grid(value: Any) -> Any:
    """``train.learning_rate=1e-4,2e-4:train.epochs=1,2`` as a mapping to lists."""
    if not isinstance(value, str):
        return value
    grid: dict[str, Any] = {}
    for setting in split(value, ":"):
        key, _, values = setting.partition("=")
        if key in grid:
            raise ValueError(f"{key} stands there twice")
        grid[key] = _values(values)
    return grid


def _named(grid: dict[str, list[Any]]) -> dict[str, list[Any]]:
    for key, values in grid.items():
        if not key or not values:
            raise ValueError(
                f"{key!r:.60} has no values; write search=train.learning_rate=1e-4,2e-4, or "
                "search: {train.learning_rate: [1e-4, 2e-4]} in a file"
            )
    return grid


def _curves(value: Any) -> Any:
    """True or false, or {label: {field: values}}; of none by name all have their own dials."""
    named = isinstance(value, dict) and all(
        isinstance(dial, dict) and all(isinstance(values, list) for values in dial.values())
        for dial in value.values()
    )
    if not named and not isinstance(value, bool):
        raise ValueError(
            "true, or the dial of some algorithms with its values, e.g. "
            "frontier='{grpo: {entropy_bonus: [0, 0.001]}}'"
        )
    return value or value == {}


def _different(seeds: list[int]) -> list[int]:
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"{seeds}: name different whole numbers, e.g. seeds=0,1,2")
    return seeds


Seeds = Annotated[list[Seed], AfterValidator(_different), BeforeValidator(_values)]


class CompareConfig(Section):
    """`evenflow compare`: algorithms × seeds from one recipe."""

    recipe: str
    """The training recipe that all runs start from, a YAML file as seen from the current folder. On
    the command line it may stand in the study's place: compare recipes/countdown.yaml …"""
    overrides: dict[str, Any] = Field(default={})
    """Changes of the recipe for every run, e.g. {train.answers: 10240}. On the command line every
    setting that is none of these fields is one: train.answers=10240."""
    algorithms: Annotated[list[str | dict[str, dict[str, Any]]], BeforeValidator(_list)]
    """Presets, each alone or with its changes: [tba, {flowrl: {importance: none}}], in short
    tba,flowrl:importance=none. A name without a dot is a field of the objective, another one of the
    recipe. The table names a variant by its short form."""
    seeds: Seeds = Field(default=[0, 1, 2])
    """Seeds of every algorithm, in short 0,1,2."""
    baseline: str | None = None
    """The variant that the others are compared with, as the table names it; null: the first."""
    search: Annotated[dict[str, list[Any]], AfterValidator(_named), BeforeValidator(_grid)] = Field(
        default={}
    )
    """Settings to tune first, for every algorithm alike: {train.learning_rate: [1e-4, 2e-4]}, in
    short train.learning_rate=1e-4,2e-4. Several make a grid."""
    frontier: Annotated[bool | dict[str, dict[str, list[Any]]], BeforeValidator(_curves)] = False
    """Curves in place of points: every algorithm with each value of its dial (β, the weight of its
    KL), held-out scores along training, and what is kept of diversity at equal accuracy. Or which
    dial, for some of them: {grpo: {entropy_bonus: [0, 0.001, 0.01]}}."""
    search_by: str | None = None
    """The score that the search goes by; null: accuracy, exact where it can be."""
    search_answers: Count | None = None
    """Sampled answers a trial; null: a quarter of a run's."""
    ood: dict[str, dict[str, Any]] | Literal["none"] | None = None
    """Sets of questions out of distribution: names with options of the task, e.g.
    {far: {targets: [41, 60]}}; none: no such set; null: the task's own."""
    ood_questions: Count = 30
    """Questions in each of them."""
    output: str | None = None
    """The folder; null: runs/compare-<file>. The same study goes on there."""
    jobs: Count | None = None
    """Processes at a time, one thread each; null: all cores."""


class ExactConfig(Section):
    """`evenflow exact`: proof by enumeration."""

    full: bool = False
    """All lengths × rewards × priors and up to 105,000 answers: four times as
    many runs, larger ones among them; without it half an hour on two cores."""
    seeds: Seeds = Field(default=[0])
    """Seeds of every run, in short 0,1,2."""
    only: str = ""
    """Only runs with this in "study, problem, algorithm", e.g. tba."""
    rollouts: PositiveInt | None = None
    """Rollout batches a run; null: the problem's own number, 200 to 900."""
    jobs: Count | None = None
    """Processes at a time, one thread each; null: all cores."""
    output: str = "runs/exact"
    """Folder of the results, one file a run; the same settings go on there."""
    page: str | None = None
    """The page whose tables and figures are written; null: exact.md in the folder."""

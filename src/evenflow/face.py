"""What a notebook needs beside `Trainer`: a recipe from Python values, and a run in one call."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from evenflow.config import GIVEN, TrainConfig
from evenflow.config import load as read_recipe
from evenflow.report.page import page_of_run
from evenflow.run.console import console
from evenflow.training.trainer import Result, Trainer


def load(recipe: str | Path | None = None, *overrides: str, **fields: Any) -> TrainConfig:
    """A checked recipe: from a YAML file, ``"key=value"`` as on the command line, and fields by
    name, sections as mappings, in order of precedence.

        load("recipes/countdown.yaml", "train.steps=5", seed=1, rollout={"questions": 8})

    Without a source of questions, they are those that `Trainer` is given. UserError that names the
    field and what is allowed.
    """
    changes = [*overrides, *_overrides(TrainConfig, fields)]
    named = {change.partition("=")[0] for change in changes}
    if recipe is None and not named & {"data.task", "data.train"}:
        changes.append(f"data.train={GIVEN}")
    return read_recipe(TrainConfig, recipe, changes)


def _overrides(kind: type[BaseModel], fields: Mapping[str, Any], at: str = "") -> Iterator[str]:
    """Fields as ``key=value``, sections field by field."""
    for name, value in fields.items():
        field = kind.model_fields.get(name)
        inner = field.annotation if field else None
        if isinstance(value, Mapping) and isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _overrides(inner, value, f"{at}{name}.")
        else:
            yield f"{at}{name}={json.dumps(value)}"


def train(recipe: str | Path | TrainConfig, *overrides: str, **options: Any) -> Result:
    """Train by a recipe, as `evenflow train` does, and write the run's page. `options` are those
    of `Trainer`."""
    config = recipe if isinstance(recipe, TrainConfig) else load(recipe, *overrides)
    result = Trainer(config, **options).run()
    console.print(f"report      {page_of_run(result.folder)}", markup=False)
    return result

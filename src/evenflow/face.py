"""What a notebook needs beside `Trainer`: a recipe from Python values, and a run in one call."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from evenflow.config import GIVEN, Change, TrainConfig, apply, parse_setting, read_yaml, resolve
from evenflow.errors import UserError
from evenflow.report.page import page_of_run
from evenflow.run.checkpoints import from_checkpoint
from evenflow.run.console import console
from evenflow.run.folder import begin, own_folder, run_folder
from evenflow.training.trainer import Result, Trainer


def load(recipe: str | Path | None = None, *overrides: str, **fields: Any) -> TrainConfig:
    """A checked recipe: from a YAML file, ``"key=value"`` as on the command line, and fields by
    name, sections as mappings, in order of precedence.

        load("recipes/countdown.yaml", "train.steps=5", seed=1, rollout={"questions": 8})

    Without a source of questions, they are those that `Trainer` is given. A `model.path` that is a
    run's folder stands for its newest checkpoint. UserError that names the field and what is
    allowed.
    """
    values = {} if recipe is None else read_yaml(Path(recipe))
    said = [parse_setting(override, TrainConfig) for override in overrides]
    changes = [*said, *_changes(TrainConfig, fields)]
    together = copy.deepcopy(values)
    apply(together, changes)
    data = together.get("data", {})
    if isinstance(data, Mapping) and not (data.get("task") or data.get("train")):
        changes.append(("data.train", GIVEN))
    return from_checkpoint(resolve(TrainConfig, values, changes))


def _changes(kind: type[BaseModel], fields: Mapping[str, Any], at: str = "") -> Iterator[Change]:
    """Fields by their dotted names, sections field by field."""
    for name, value in fields.items():
        field = kind.model_fields.get(name)
        inner = field.annotation if field else None
        if isinstance(value, Mapping) and isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _changes(inner, value, f"{at}{name}.")
        else:
            yield f"{at}{name}", os.fspath(value) if isinstance(value, Path) else value


def train(recipe: str | Path | TrainConfig, *overrides: str, **given: Any) -> Result:
    """Train by a recipe, as `evenflow train` does, and write the run's page. `given` is what
    `Trainer` takes from Python: rewards, questions, held_out, on_step, on_evaluation."""
    if isinstance(recipe, TrainConfig):
        if overrides:
            raise UserError(f"{overrides[0]}: goes with a recipe's file, or into load(…)")
        config, name = recipe, recipe.algorithm.replace(":", "-")
    else:
        config, name = load(recipe, *overrides), Path(recipe).stem
    folder = run_folder(config.output, name)
    with own_folder(folder):
        begin(config, folder)
        result = Trainer(config, folder, **given).run()
        console.print(f"report      {page_of_run(folder)}", markup=False)
    return result

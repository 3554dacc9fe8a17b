"""What lies in a folder that a command is to write into: a folder holds the results of one kind."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from evenflow.config import BenchmarkConfig, PretrainConfig, TrainConfig, read_yaml
from evenflow.errors import UserError
from evenflow.run.tracking import verl_logs

CONFIG, ANSWERS = "config.yaml", "answers.jsonl"
PLAN, STUDY = "plan.json", "study.yaml"


class Kind(StrEnum):
    """Whose results a folder holds, as it is said in a sentence."""

    TRAINING = "a training run"
    PRETRAINING = "a pretraining run"
    EVALUATION = "an evaluation on a benchmark"
    COMPARISON = "a comparison"
    EXACT = "results of `evenflow exact`"
    VERL = "a run by verl"
    ELSE = f"a {CONFIG} that is none of evenflow's"


CONFIGS: dict[Kind, type[BaseModel]] = {
    Kind.TRAINING: TrainConfig,
    Kind.PRETRAINING: PretrainConfig,
    Kind.EVALUATION: BenchmarkConfig,
    Kind.VERL: TrainConfig,
}
"""What config.yaml is of, in the folders that have one."""
TELLING = {
    "rollout": Kind.TRAINING,
    "architecture": Kind.PRETRAINING,
    "benchmark": Kind.EVALUATION,
}
"""Fields that every configuration of the kind has when it is written, and no other has."""


def kind_of(config: BaseModel) -> Kind:
    """Whose configuration it is."""
    return next(kind for kind, config_of in CONFIGS.items() if isinstance(config, config_of))


def refuse_other_kinds(folder: Path, own: Kind) -> None:
    """UserError where the folder holds what is not `own`, which would be overwritten, or mixed with
    it. What is left of a start that failed, and a recipe that somebody has put there, are `own`."""
    kind = results_in(folder) or kind_of_config(folder, own)
    if kind not in (None, own):
        raise UserError(
            f"{folder}: holds {kind}, which {own} would overwrite or be mixed with; choose another "
            "folder with output=…"
        )


def results_in(folder: Path) -> Kind | None:
    """Whose results lie there, as far as the files' names tell; None for none."""
    if (folder / PLAN).is_file() and (folder / STUDY).is_file():
        return Kind.COMPARISON
    if any(folder.glob("results/*--seed-*.json")):
        return Kind.EXACT
    if any(folder.glob("global_step_*")) or any(p.stem[5:].isdigit() for p in verl_logs(folder)):
        return Kind.VERL
    kind = written_by(folder)
    if (folder / ANSWERS).is_file():
        return kind or Kind.EVALUATION
    if any(folder.glob("checkpoint-*")) or (folder / "metrics.jsonl").is_file():
        return kind or Kind.TRAINING
    return Kind.PRETRAINING if (folder / "model" / "config.json").is_file() else None


def kind_of_config(folder: Path, own: Kind) -> Kind | None:
    """Whose start the folder's config.yaml is of; `own` where it could be."""
    if not (folder / CONFIG).is_file():
        return None
    values, config = settings(folder), CONFIGS.get(own)
    if values and config is not None and values.keys() <= config.model_fields.keys():
        return own
    return written_by(folder) or Kind.ELSE


def written_by(folder: Path) -> Kind | None:
    """Whose config.yaml lies there, if it is one that a command has written."""
    values = settings(folder)
    return next((kind for field, kind in TELLING.items() if field in values), None)


def settings(folder: Path) -> dict[str, Any]:
    """What config.yaml sets; nothing where it is missing or damaged."""
    try:
        return read_yaml(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    except UserError:
        return {}

"""The runs of a comparison as jobs (train or go on, then measure), and what they left behind."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from evenflow.config import TrainConfig, dump
from evenflow.run import checkpoints
from evenflow.run.files import write_atomic
from evenflow.studies.compare.measure import RESULT
from evenflow.studies.compare.plan import RECIPE, Run, refuse_other
from evenflow.studies.compare.pool import Job, Step


def prepare(folder: Path, config: TrainConfig) -> None:
    """Make the folder with the recipe of its run; what is there must be of the same run."""
    refuse_other(folder, config)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / RECIPE, dump(config))


def run_job(run: Run, specification: dict[str, Any]) -> Job:
    """Train and measure."""
    return Job(run.name, run.folder, lambda: step_left(run.folder, specification, train=True))


def base_job(folder: Path, specification: dict[str, Any]) -> Job:
    """Measure the base model."""
    return Job("base", folder, lambda: step_left(folder, specification, train=False))


def step_left(folder: Path, specification: dict[str, Any], *, train: bool) -> Step | None:
    """What comes next in a run's folder, by what lies there."""
    if train and not (folder / "summary.json").is_file():
        # A run that was killed before its first checkpoint begins anew.
        resume = bool(checkpoints.checkpoints(folder))
        what = ("--resume", str(folder)) if resume else (str(folder / RECIPE),)
        return Step("training", (sys.executable, "-m", "evenflow", "train", *what))
    if read_result(folder, specification) is None:
        command = (sys.executable, "-m", "evenflow.studies.compare.measure")
        return Step("measuring", (*command, str(folder), json.dumps(specification)))
    return None


def read_result(folder: Path, specification: dict[str, Any]) -> dict[str, Any] | None:
    """The measurement in a folder, if it is by this specification."""
    try:
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = result["specification"] == json.loads(json.dumps(specification))
    return result if same else None


def read_summary(folder: Path) -> dict[str, Any]:
    """What a finished run says of itself."""
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))

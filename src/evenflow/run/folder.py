"""The folder of a run, and the machine it runs on."""

from __future__ import annotations

import json
import logging
import os
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

from evenflow.config import Recipe, dump
from evenflow.errors import UserError
from evenflow.inputs import expanded
from evenflow.run.console import console
from evenflow.run.files import PAGE, finite, write_atomic, writing
from evenflow.run.kinds import kind_of, refuse_other_kinds
from evenflow.run.lock import no_other, only_one
from evenflow.run.provenance import PROVENANCE

LOG = logging.getLogger(__name__)
SUMMARY = "summary.json"
_made: set[Path] = set()
"""The folders, those above them and the recipes that this process was the first to write: all that
it may discard."""


def run_folder(output: str | None, name: str, base: Path | None = None) -> Path:
    """The folder `output`, or runs/<name>-<time>, made; both below `base`, the current folder, and
    in full, so that nobody moves it by going to another directory."""
    base = Path.cwd() if base is None else base
    if output is None:
        return new_folder(name, base)
    folder = base / expanded(output)
    make_folder(folder)
    return folder


@contextmanager
def own_folder(folder: Path) -> Iterator[None]:
    """Hold the folder, alone (`report.lock`). Where the work fails before anything but its recipe
    lies there, what this process made of the two is removed."""
    try:
        with only_one(folder):
            yield
    except BaseException:
        discard_run(folder)
        raise


def begin(config: Recipe, folder: Path) -> None:
    """Write the resolved configuration of a new run; UserError where there is an earlier one, or
    what another command has written."""
    if any(folder.glob("checkpoint-*")):
        raise UserError(
            f"{folder}: holds the checkpoints of an earlier run; go on with it by --resume "
            f"{shlex.quote(str(folder))}, or choose another folder with output=…"
        )
    if (folder / "model" / "config.json").is_file():
        raise UserError(
            f"{folder}: holds the model of an earlier run; choose another folder with output=…"
        )
    refuse_other_kinds(folder, kind_of(config))
    if (folder / SUMMARY).is_file():
        raise UserError(
            f"{folder}: holds the results of a run that has ended; choose another folder with "
            "output=…"
        )
    make_folder(folder)
    with no_other(folder):
        save_config(folder, config)


def make_folder(folder: Path) -> None:
    """The folder of a run, made if it is not there."""
    with writing(folder):
        new = _missing(folder)
        folder.mkdir(parents=True, exist_ok=True)
    _made.update(new)


def _missing(folder: Path) -> set[Path]:
    """What of a run's folder, those above it and what begins a run is not there."""
    first = (folder / "config.yaml", folder / PROVENANCE)
    return {path for path in (*first, folder, *folder.parents) if not path.exists()}


def discard_run(folder: Path) -> None:
    """Remove the recipe and the folder of a run that never started, and empty folders
    above it: what this process made of them, and only if nothing else lies in the folder but
    where it began."""
    first = {folder / "config.yaml", folder / PROVENANCE}
    with suppress(OSError):
        if not set(folder.iterdir()) <= first:
            return
        for path in first & _made:
            path.unlink(missing_ok=True)
        for path in (folder, *folder.parents):
            if path not in _made:
                break
            path.rmdir()  # refuses if the recipe, or another's run, is there
            _made.discard(path)
        _made.difference_update(first)


def new_folder(name: str, base: Path) -> Path:
    """runs/<name>-<time>, made; of runs that start in the same second later ones get a number."""
    stamp, count = f"runs/{name}-{time.strftime('%Y%m%d-%H%M%S')}", 1
    while True:
        folder = base / (stamp if count == 1 else f"{stamp}.{count}")
        with writing(folder), suppress(FileExistsError):
            new = _missing(folder)
            folder.mkdir(parents=True)
            _made.update(new)
            return folder
        count += 1


def save_config(folder: Path, config: BaseModel) -> None:
    """The resolved configuration, which `--resume` reads back."""
    write_atomic(folder / "config.yaml", dump(config))


def restore_config(folder: Path, config: BaseModel) -> None:
    """Write it again where somebody has removed it, or the whole folder."""
    if not (folder / "config.yaml").is_file():
        make_folder(folder)
        save_config(folder, config)
        LOG.warning("%s: files of the run were removed while it went on", folder)


def end_run(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write summary.json, by which a run is known to have ended."""
    write_atomic(folder / SUMMARY, json.dumps(finite(dict(summary)), indent=1) + "\n")


def has_ended(folder: Path, step: int) -> bool:
    """Whether the run in `folder` was ended at this step: its summary says so, and its page is
    there. A summary of fewer steps is of an earlier end."""
    try:
        ended = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["steps"]
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return ended == step and (folder / PAGE).is_file()


def not_ended(folder: Path) -> None:
    """Take away the summary of an earlier end: the run goes on."""
    with writing(folder / SUMMARY):
        (folder / SUMMARY).unlink(missing_ok=True)


def point_latest(folder: Path) -> None:
    """Let `latest` beside the run's folder point to this run; a folder of that name stays."""
    folder = folder.resolve()
    link = folder.parent / "latest"
    if link.is_dir() and not link.is_symlink():
        return
    scratch = folder.parent / f".latest-{os.getpid()}"
    try:
        scratch.unlink(missing_ok=True)
        scratch.symlink_to(folder.name)
        scratch.replace(link)
    except OSError as error:  # a convenience: no reason to refuse the run
        console.print(f"{link} does not point here: {error.strerror}", markup=False)


def choose_device(name: str) -> torch.device:
    """ "auto" takes a GPU if there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UserError(f"device: {name!r} is none; use auto, cpu, cuda or cuda:1")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        seen = torch.cuda.device_count() or "no"
        raise UserError(f"device: {name} was asked for, but PyTorch sees {seen} GPU; use auto")
    return device


def set_threads(config: Recipe) -> None:
    """Use the threads the recipe asks for; else leave PyTorch's choice (OMP_NUM_THREADS) alone."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)

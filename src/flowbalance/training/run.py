"""The folder of a run, and the machine it runs on."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import torch
from pydantic import BaseModel

from flowbalance.config import Recipe, dump
from flowbalance.errors import UserError
from flowbalance.report.display import console
from flowbalance.report.files import write_atomic, writing


def open_run(config: Recipe, name: str) -> Path:
    """Make the run's folder and write the resolved configuration."""
    folder = Path(config.output) if config.output else new_folder(name)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if any(folder.glob("checkpoint-*")):
        raise UserError(
            f"{folder}: holds the checkpoints of an earlier run; go on with it by --resume "
            f"{folder}, or choose another folder with output=…"
        )
    save_config(folder, config)
    return folder


def discard_run(folder: Path) -> None:
    """Remove the folder of a run that never started, unless more than its recipe lies in it."""
    with suppress(OSError):
        if [path.name for path in folder.iterdir()] == ["config.yaml"]:
            (folder / "config.yaml").unlink()
            folder.rmdir()


def new_folder(name: str) -> Path:
    """runs/<name>-<time>, made; of runs that start in the same second later ones get a number."""
    stamp, count = f"runs/{name}-{time.strftime('%Y%m%d-%H%M%S')}", 1
    while True:
        folder = Path(stamp if count == 1 else f"{stamp}.{count}")
        with writing(folder), suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
        count += 1


def save_config(folder: Path, config: BaseModel) -> None:
    """The resolved configuration, which `--resume` reads back."""
    write_atomic(folder / "config.yaml", dump(config))


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

"""The folder of a run, and files that are whole or not there."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from pydantic import BaseModel

from flowbalance.config import Recipe, dump
from flowbalance.errors import UserError


@contextmanager
def writing(what: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write into a sentence about `what`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"{what}: the disk is full; free some space, or choose another folder with "
                "output=…; finished checkpoints are untouched"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise UserError(
                f"{what}: cannot write there ({error.strerror}); choose another folder with "
                "output=…"
            ) from error
        raise


def write_atomic(path: Path, text: str) -> None:
    """Replace a file in one step: a reader sees the old text or the new, never a part."""
    with writing(path):
        scratch = path.with_name(f".{path.name}.tmp")
        with scratch.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)


def open_run(config: Recipe, name: str) -> Path:
    """Make the run's folder, write the resolved configuration, point runs/latest at it."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    folder = Path(config.output or f"runs/{name}-{stamp}")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if any(folder.glob("checkpoint-*")):
        raise UserError(
            f"{folder}: holds the checkpoints of an earlier run; go on with it by --resume "
            f"{folder}, or choose another folder with output=…"
        )
    save_config(folder, config)
    point_latest(folder)
    return folder


def save_config(folder: Path, config: BaseModel) -> None:
    """The resolved configuration, which `--resume` reads back."""
    write_atomic(folder / "config.yaml", dump(config))


def point_latest(folder: Path) -> None:
    """Let runs/latest (beside the run's folder: latest) point to this run."""
    link = folder.parent / "latest"
    scratch = folder.parent / f".latest-{os.getpid()}"
    with writing(link):
        scratch.unlink(missing_ok=True)
        scratch.symlink_to(folder.name)
        if link.is_dir() and not link.is_symlink():
            scratch.unlink()
            return
        scratch.replace(link)


def choose_device(name: str) -> torch.device:
    """ "auto" takes a GPU if there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device: {name!r} is none; use auto, cpu, cuda or cuda:1") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda was asked for, but PyTorch sees no GPU; use device=auto")
    return device


def set_threads(config: Recipe) -> None:
    """Use the threads the recipe asks for; else leave PyTorch's choice (OMP_NUM_THREADS) alone."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)

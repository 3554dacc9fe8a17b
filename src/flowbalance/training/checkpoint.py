"""Checkpoints: Transformers folders with the head and the trainer's state beside the model.

A checkpoint is written under another name, flushed, and renamed, so that it is whole or not there;
``manifest.json`` lists its files with their sizes and hashes, and what does not match is not
loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from flowbalance.errors import UserError
from flowbalance.policy.loading import save_head
from flowbalance.policy.policy import Policy
from flowbalance.report.display import console
from flowbalance.training.run import write_atomic, writing

MANIFEST = "manifest.json"
STATE = "trainer_state.pt"
PREFIX = "checkpoint-"


def save(
    run: Path,
    step: int,
    policy: Policy,
    tokenizer: PreTrainedTokenizerBase,
    state: dict[str, Any],
    *,
    keep: int,
) -> Path:
    """Write checkpoint `step` of a run and remove all but the newest `keep`."""
    target = run / f"{PREFIX}{step:06}"
    scratch = run / f".{target.name}.tmp"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        with writing(target):
            scratch.mkdir(parents=True)
            save_model(policy.model, tokenizer, scratch)
            if policy.head is not None:
                save_head(policy.head, scratch)
            torch.save(state, scratch / STATE)
            listed = {
                path.relative_to(scratch).as_posix(): {"bytes": size, "blake2b": digest}
                for path in sorted(scratch.rglob("*"))
                if path.is_file()
                for size, digest in [_fingerprint(path)]
            }
            write_atomic(scratch / MANIFEST, json.dumps({"step": step, "files": listed}, indent=1))
            _sync(scratch)
            if target.exists():
                shutil.rmtree(target)
            scratch.rename(target)
            _sync(run)
    except RuntimeError as error:  # torch and safetensors wrap what the system says of a full disk
        raise UserError(
            f"{target}: could not be written ({' '.join(str(error).split())[:200]}); check that "
            "the disk has room; finished checkpoints are untouched"
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    for old in checkpoints(run)[:-keep]:
        shutil.rmtree(old)
    return target


def save_model(model: nn.Module, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a folder that `AutoModelForCausalLM` and `AutoTokenizer` load."""
    try:
        model.save_pretrained(folder)  # pyright: ignore[reportCallIssue]
        tokenizer.save_pretrained(folder)
    except Exception as error:
        if isinstance(error, OSError | RuntimeError):
            raise
        raise RuntimeError(str(error)) from error  # safetensors has an exception of its own


def checkpoints(run: Path) -> list[Path]:
    """The finished checkpoints of a run, oldest first."""
    return sorted(path for path in run.glob(f"{PREFIX}*") if (path / MANIFEST).is_file())


def verify(folder: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        files = json.loads((folder / MANIFEST).read_text())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"{MANIFEST} is missing or unreadable"
    for name, entry in files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != entry["bytes"]:
            return f"{name} has {path.stat().st_size} bytes instead of {entry['bytes']}"
        if _fingerprint(path)[1] != entry["blake2b"]:
            return f"the contents of {name} changed after it was written"
    return None


def latest_whole(run: Path) -> Path:
    """The newest checkpoint whose files are all as written; damaged newer ones are named."""
    found = checkpoints(run)
    for folder in reversed(found):
        problem = verify(folder)
        if problem is None:
            return folder
        console.print(f"[yellow]{folder}: {problem}; going back to the one before[/yellow]")
    raise UserError(
        f"{run}: holds no whole checkpoint to resume from"
        + ("" if found else "; give the folder of a run, e.g. runs/latest")
    )


def load_state(folder: Path) -> dict[str, Any]:
    """The trainer's state of a verified checkpoint, on the CPU."""
    return torch.load(folder / STATE, map_location="cpu", weights_only=True)


def _fingerprint(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, _blake2b).hexdigest()


def _blake2b() -> Any:
    return hashlib.blake2b(digest_size=16)


def _sync(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder] if folder.name.endswith(".tmp") else [folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

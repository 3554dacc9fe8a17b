"""Writing checkpoints and going on from them: Transformers folders with the head and the trainer's
state beside the model.

A checkpoint is written under another name, flushed, and renamed, so that it is whole or not there.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from evenflow.errors import UserError, brief
from evenflow.policy.loading import save_parts
from evenflow.policy.policy import Policy
from evenflow.run.checkpoints import MANIFEST, PREFIX, STATE, age, checkpoints, fingerprint
from evenflow.run.files import share_weights, system_errors, write_atomic, writing
from evenflow.training.card import CARD


def save(
    run: Path,
    step: int,
    policy: Policy,
    tokenizer: PreTrainedTokenizerBase,
    state: dict[str, Any] | None,
    *,
    keep: int,
    reference: bool = False,
) -> Path:
    """Write checkpoint `step` of a run; of the finished ones up to it, keep the newest `keep`.

    `state` None: no run will go on from it. `reference`: write the reference too, because it is not
    the base model any more.
    """
    target = run / f"{PREFIX}{step:06}"
    scratch = run / f".{target.name}.tmp"
    for stale in run.glob(f".{PREFIX}*.tmp"):  # of saves that were killed
        shutil.rmtree(stale, ignore_errors=True)
    try:
        with writing(target):
            scratch.mkdir(parents=True)
            with policy.masters.exposed():
                save_model(policy.model, tokenizer, scratch)
                with system_errors():
                    save_parts(policy, scratch, reference=reference)
                    share_weights(scratch)
            if state is not None:
                save_state(state, scratch)
            listed = {
                path.relative_to(scratch).as_posix(): {"bytes": size, "blake2b": digest}
                for path in sorted(scratch.rglob("*"))
                if path.is_file() and path.name != CARD  # written anew when scores are known
                for size, digest in [fingerprint(path)]
            }
            manifest = {"step": step, "files": listed, "weights_only": state is None}
            write_atomic(scratch / MANIFEST, json.dumps(manifest, indent=1))
            # The rows so far, too: what goes on from here does not write them again.
            _sync([*run.glob("*.jsonl"), *scratch.rglob("*"), scratch])
            if target.exists():  # saved again after going back: the old one stays until the end
                target.rename(run / f".{target.name}.old.tmp")
            scratch.rename(target)
            _sync([run])
            shutil.rmtree(run / f".{target.name}.old.tmp", ignore_errors=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    # Later ones are left of a run that went back to an earlier checkpoint: they do not count.
    finished = [folder for folder in checkpoints(run) if age(folder) <= age(target)]
    for old in finished[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def save_model(model: nn.Module, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a folder that `AutoModelForCausalLM` and `AutoTokenizer` load."""
    # An adapter's base has its embeddings; PEFT would store them once more, and ask the hub first.
    options = {"save_embedding_layers": False} if hasattr(model, "disable_adapter") else {}
    with system_errors():
        model.save_pretrained(folder, **options)  # pyright: ignore[reportCallIssue]
        tokenizer.save_pretrained(folder)
        share_weights(folder)


def try_save(run: Path, model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Save what of a model is no weights, and throw it away: what a release of Transformers refuses
    to write is found before the first step, rather than after the last."""
    trial = run / f".{PREFIX}trial.tmp"
    try:
        with writing(run):
            trial.mkdir(parents=True, exist_ok=True)
            base = model.get_base_model() if hasattr(model, "get_base_model") else model
            try:
                base.config.save_pretrained(trial)
                base.generation_config.save_pretrained(trial)
                tokenizer.save_pretrained(trial)
            except OSError:
                raise
            except Exception as error:  # JSON's, the Rust library's, those of a tokenizer's own
                raise UserError(
                    f"model.path: a checkpoint of this model could not be saved: {brief(error)}"
                ) from error
    finally:
        shutil.rmtree(trial, ignore_errors=True)


def save_state(state: dict[str, Any], folder: Path) -> None:
    """Write the trainer's state beside the model."""
    with system_errors():
        torch.save(state, folder / STATE)


def require_state(folder: Path) -> None:
    """UserError for a checkpoint that was saved without the trainer's state."""
    if not (folder / STATE).is_file():
        raise UserError(
            f"{folder}: was saved with checkpoint.weights_only, so that no run can go on from it; "
            f"start a new one from its weights with model.path={folder}"
        )


def load_state(folder: Path) -> dict[str, Any]:
    """The trainer's state of a verified checkpoint, on the CPU."""
    try:
        state = torch.load(folder / STATE, map_location="cpu", weights_only=True)
    except Exception as error:  # of the unpickler, the archive, the system
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{folder / STATE}: cannot be loaded: {reason}") from error
    if not isinstance(state, dict):
        raise UserError(f"{folder / STATE}: is no trainer's state but {type(state).__name__}")
    return state


@contextmanager
def fitting(folder: Path) -> Iterator[None]:
    """Whatever the state of a checkpoint does to a trainer that it does not fit, as a sentence."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"{folder / STATE}: is not the state of this run's trainer: "
            f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        ) from error


def random_state(device: torch.device) -> dict[str, Any]:
    """Where PyTorch's generators stand, as a part of the state."""
    cuda = device.type == "cuda"
    return {
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state(device) if cuda else None,
    }


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Put the generators where `random_state` found them."""
    torch.set_rng_state(state["random"])
    if device.type == "cuda" and state["random_cuda"] is not None:
        torch.cuda.set_rng_state(state["random_cuda"], device)


def _sync(paths: Iterable[Path]) -> None:
    """Have these files and folders on the disk, whatever happens to the machine."""
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

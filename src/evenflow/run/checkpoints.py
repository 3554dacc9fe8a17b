"""The checkpoints of a run: where they are, whether they are whole, and the recipe beside them.

``manifest.json`` lists a checkpoint's files with their sizes and hashes, and what does not match is
not loaded.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from evenflow.config import TrainConfig, check, read_yaml
from evenflow.errors import UserError
from evenflow.inputs import expanded, files_of
from evenflow.run import verl_checkpoints
from evenflow.run.console import console

MANIFEST = "manifest.json"
STATE = "trainer_state.pt"
PREFIX = "checkpoint-"

NUMBERED = re.compile(rf"{PREFIX}[0-9]+")
IN_A_RUN = re.compile(rf"{PREFIX}\d+|model|global_step_\d+|actor|merged|huggingface")
"""What folders of models in a run are called, verl's too."""


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run, damaged ones too, oldest first: those that it numbered, no copies
    of another name."""
    found = (path for path in run.glob(f"{PREFIX}*") if NUMBERED.fullmatch(path.name))
    return sorted((path for path in found if path.is_dir()), key=age)


def latest_whole(run: Path) -> Path:
    """The newest checkpoint whose files are all as written; damaged newer ones are named."""
    found = checkpoints(run)
    for folder in reversed(found):
        problem = verify(folder)
        if problem is None:
            return folder
        console.print(f"{folder}: {problem}; it is passed over", style="yellow", markup=False)
    again = f"start anew with: evenflow train {run / 'config.yaml'} output=…"
    raise UserError(f"{run}: holds no whole checkpoint; {again}")


def model_folder(name: str) -> str:
    """A run's newest checkpoint, or the model it pretrained; of a run by verl the shards merged;
    any other model's name as it is. Not by way of `latest`, which another run takes over."""
    folder = expanded(name)
    if checkpoints(folder):
        return str(latest_whole(folder.resolve()))
    if actor := verl_checkpoints.actor_of(folder):
        return str(verl_checkpoints.merged(actor))
    pretrained = folder / "model"
    return str(pretrained.resolve()) if (pretrained / "config.json").is_file() else name


def recipe_of(name: str) -> TrainConfig | None:
    """The recipe of a training run, named by its folder or by a checkpoint in it; else None, as for
    a model of another name, whatever lies in the folder that it is asked from."""
    folder = expanded(name).resolve()
    while folder.is_dir():
        recipe = folder / "config.yaml"
        if recipe.is_file() and "rollout" in (values := read_yaml(recipe)):
            return check(TrainConfig, values)
        if not IN_A_RUN.fullmatch(folder.name):
            return None
        folder = folder.parent
    return None


def speaks_in_chat(name: str, tokenizer: Any, asked: bool | None = None) -> bool:
    """Whether questions go through a model's chat template: as asked, else as the run had them that
    it comes from, else where its tokenizer has one.

    A run whose prompts were neither of a task nor in a template of its own may have read chat
    messages, which go through the template without `data.chat`: its tokenizer decides.
    """
    if asked is not None:
        return asked
    recipe = recipe_of(name)
    if recipe is not None and (recipe.data.chat or recipe.data.task or recipe.data.prompt_template):
        return recipe.data.chat
    return bool(tokenizer.chat_template)


def from_checkpoint(config: TrainConfig) -> TrainConfig:
    """The recipe with the newest checkpoint where `model.path` is the folder of a run."""
    model = config.model.model_copy(update={"path": model_folder(config.model.path)})
    return config.model_copy(update={"model": model})


def in_full(config: TrainConfig) -> TrainConfig:
    """The recipe with full paths of what lies here: a reward may go to another directory, and the
    run go on from one."""
    model, data = config.model, config.data
    model = model.model_copy(
        update={"path": _full(model.path), "reference": _full(model.reference)}
    )
    data = data.model_copy(update={"train": _full(data.train), "test": _full(data.test)})
    return config.model_copy(update={"model": model, "data": data})


def _full(name: str | None) -> str | None:
    with contextlib.suppress(OSError, ValueError):  # a name that no file can have
        if name is not None and all(expanded(part).exists() for part in files_of(name)):
            return str(expanded(name).absolute())
    return name


def verify(folder: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = manifest["files"]
        listed = [(name, entry["bytes"], entry["blake2b"]) for name, entry in files.items()]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return f"{MANIFEST} is missing or unreadable"
    if STATE not in files and not manifest.get("weights_only"):
        return f"{MANIFEST} does not list {STATE}"
    for name, size, digest in listed:
        path, shown = folder / name, name[:100]
        try:
            if not path.is_file():
                return f"{shown} is missing"
            if path.stat().st_size != size:
                return f"{shown} has {path.stat().st_size} bytes instead of {size}"
            if fingerprint(path)[1] != digest:
                return f"the contents of {shown} changed after it was written"
        except OSError as error:  # not permitted, or a name that is too long
            return f"{shown} cannot be read: {error.strerror or error}"
    return None


def age(folder: Path) -> tuple[int, str]:
    """What checkpoints are ordered by."""
    return len(folder.name), folder.name  # the step, also where it outgrows its six digits


def fingerprint(path: Path) -> tuple[int, str]:
    """A file's size and hash."""
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, _blake2b).hexdigest()


def _blake2b() -> Any:
    return hashlib.blake2b(digest_size=16)

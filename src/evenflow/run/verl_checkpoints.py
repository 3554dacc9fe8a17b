"""Checkpoints of verl: shards of FSDP, merged once by verl's own tool into a model's folder.

A run holds ``global_step_N/actor`` with a file for each rank, ``fsdp_config.json`` and, in
``huggingface``, configuration and tokenizer; the model comes into ``global_step_N/merged``.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

from evenflow.errors import UserError
from evenflow.installation import is_installed
from evenflow.plugins import HEAD
from evenflow.run.console import console
from evenflow.run.files import share_weights, write_json, writing

STEP, ACTOR, MERGED = "global_step_", "actor", "merged"
FSDP, PLAIN = "fsdp_config.json", "huggingface"


def actor_of(folder: Path) -> Path | None:
    """The actor's folder where this is one, or that of a step, or of a run (the newest step that
    is whole); None where it is nothing of verl's. UserError where none is whole."""
    if (folder / FSDP).is_file():
        found = [folder]
    elif (folder / ACTOR / FSDP).is_file():
        found = [folder / ACTOR]
    else:
        steps = [path for path in folder.glob(f"{STEP}*/{ACTOR}") if path.is_dir()]
        found = sorted(steps, key=lambda path: (len(path.parent.name), path.parent.name))
    if not found:
        return None
    for actor in reversed(found):
        problem = lacking(actor)
        if problem is None:
            return actor
        console.print(f"{actor}: {problem}; it is passed over", style="yellow", markup=False)
    raise UserError(f"{folder}: holds no whole checkpoint of verl")


def lacking(actor: Path) -> str | None:
    """What a checkpoint lacks, or None."""
    try:
        ranks = int(json.loads((actor / FSDP).read_text(encoding="utf-8"))["world_size"])
    except (OSError, ValueError, LookupError, TypeError):
        return f"{FSDP} is missing or unreadable"
    names = [f"model_world_size_{ranks}_rank_{rank}.pt" for rank in range(ranks)]
    for name in (*names, f"{PLAIN}/config.json"):
        if not (actor / name).is_file():
            return f"{name} is missing"
    return None


def merged(actor: Path) -> Path:
    """The folder of the model: verl's own copy where it saved one, else its shards merged, once,
    which is said. UserError where that cannot be done."""
    if any((actor / PLAIN).glob("*.safetensors")):
        return actor / PLAIN
    target = actor.with_name(MERGED)
    if not (target / "config.json").is_file():
        if (actor / "lora_train_meta.json").is_file():
            raise UserError(
                f"{actor}: holds an adapter, which verl's tool writes apart from its base; merge "
                "them with PEFT, and name the model's folder"
            )
        merge(actor, target)
    without_head(target)
    return target


def merge(actor: Path, target: Path) -> None:
    """Let verl's tool write the model's folder, whole or not at all."""
    scratch = target.with_name(f".{target.name}.tmp")
    tool = ["-m", "verl.model_merger", "merge", "--backend", "fsdp", "--local_dir", str(actor)]
    if not is_installed("verl"):
        command = " ".join(["python", *tool, "--target_dir", str(target)])
        raise UserError(
            f"{actor}: holds the shards of verl, which is not installed here; in its environment "
            f"run {command}"
        )
    console.print(f"merging     {actor} into {target}, once", markup=False)
    with writing(target):
        shutil.rmtree(scratch, ignore_errors=True)
        done = subprocess.run(
            [sys.executable, *tool, "--target_dir", str(scratch)], stdout=subprocess.PIPE, text=True
        )
        if done.returncode or not (scratch / "config.json").is_file():
            shutil.rmtree(scratch, ignore_errors=True)
            last = " ".join(done.stdout.splitlines()[-1:])[:300]
            raise UserError(f"{actor}: verl could not merge its shards (see above) {last}".rstrip())
        without_head(scratch)
        scratch.rename(target)


def without_head(model: Path) -> None:
    """Take a learned log Z out of a model's files: it is no weight of the model."""
    for path in sorted(model.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            names = list(file.keys())
            kept = [name for name in names if not name.startswith(HEAD)]
            if len(kept) == len(names):
                continue
            weights, about = {name: file.get_tensor(name) for name in kept}, file.metadata()
        scratch = path.with_name(f".{path.name}.tmp")
        save_file(weights, scratch, about)
        scratch.replace(path)
    share_weights(model)
    index = model / "model.safetensors.index.json"
    if index.is_file():
        listed = json.loads(index.read_text(encoding="utf-8"))
        every = listed["weight_map"]
        listed["weight_map"] = {n: file for n, file in every.items() if not n.startswith(HEAD)}
        if len(every) > len(listed["weight_map"]):
            write_json(index, listed)

"""`evenflow export`: a checkpoint as a plain model."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from evenflow.errors import UserError
from evenflow.inputs import expanded

if TYPE_CHECKING:
    import torch
    from torch import nn

HELP = "write a checkpoint as a plain model, a LoRA adapter merged in"


def add_arguments(parser: ArgumentParser) -> None:
    """What `evenflow export` takes."""
    parser.add_argument("model", help="a run or a checkpoint")
    parser.add_argument("folder", type=expanded, help="where to write; must not exist")
    parser.add_argument(
        "--dtype",
        choices=["auto", "float32", "bfloat16", "float16"],
        default="auto",
        help="of the weights; auto (the default): as the base model's",
    )
    parser.add_argument(
        "--push",
        metavar="ORG/NAME",
        help="upload it to the Hugging Face Hub; a repository that is not there is made, private",
    )


def run(options: Namespace) -> None:
    """Write a checkpoint as a model's folder of its own."""
    import shutil

    import torch

    from evenflow.policy.loading import load_model, load_tokenizer, stored_dtype
    from evenflow.run.checkpoints import model_folder, recipe_of
    from evenflow.run.files import writing
    from evenflow.training.card import card_of
    from evenflow.training.checkpoint import save_model

    folder: Path = options.folder
    if folder.exists() or folder.is_symlink():
        raise UserError(f"{folder}: exists already; name a new folder")
    if options.push:
        from evenflow.training.hub import require_login

        require_login(options.push)
    path = model_folder(options.model)
    if options.dtype == "auto":
        recipe = recipe_of(options.model)  # a checkpoint's weights are float32 whatever its base's
        dtype = stored_dtype(path, recipe.model.path if recipe else None)
    else:
        dtype = getattr(torch, options.dtype)
    scratch = folder.with_name(f".{folder.name}.tmp")
    try:
        with writing(folder):  # before a large model is read for nothing
            shutil.rmtree(scratch, ignore_errors=True)  # of an export that was killed
            scratch.mkdir(parents=True)
        # An adapter is merged in float32 and the sum rounded, rather than the parts.
        model = load_model(path, torch.float32).to(dtype)
        require_range(model, dtype)
        with writing(folder):
            save_model(model, load_tokenizer(path), scratch)
            if card := card_of(Path(path)):
                (scratch / card.name).write_bytes(card.read_bytes())
            scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"model: {folder}")
    if options.push:
        from evenflow.training.hub import push

        print(f"pushed: {push(folder, options.push)}")


def require_range(model: nn.Module, dtype: torch.dtype) -> None:
    """UserError where a weight is beyond the type that the model was converted to: float16 ends at
    65504, and what is larger would be written as infinite."""
    import torch

    for name, value in model.named_parameters():
        if not value.isfinite().all():
            kind = str(dtype).removeprefix("torch.")
            raise UserError(
                f"--dtype: {name} has values beyond {torch.finfo(dtype).max:g}, the largest that "
                f"{kind} holds; take bfloat16 or float32"
            )

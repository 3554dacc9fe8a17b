"""What a model's folder can have wrong with it, said while it is read rather than hours later."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from evenflow.errors import UserError

LOG = logging.getLogger(__name__)
OF_SAMPLING = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 50,
    "min_p": None,
    "top_h": None,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
}
"""Fields of a generation config that mean something with `do_sample` alone, and their defaults."""
OF_BEAMS = {"early_stopping": False, "length_penalty": 1.0}
"""And with several beams alone."""


def require_files(folder: str) -> None:
    """Refuse a folder with nothing of a model in it; ValueError for a configuration that is no JSON
    object: Transformers passes over some of them, and a model without its generation config has
    lost the tokens that end its turns."""
    path = Path(folder)
    if path.is_dir() and not any(path.glob("*config.json")) and not any(path.glob("tokenizer*")):
        if (path / "config.yaml").is_file() and (path / "provenance.json").is_file():
            raise UserError(
                f"model.path: the run {folder} has no checkpoint yet; it writes one every "
                "checkpoint.every steps, and at its end"
            )
        hint = "; name one of the runs in its folder runs" if (path / "runs").is_dir() else ""
        raise UserError(f"model.path: there is no model in {folder}: it has no config.json{hint}")
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        if not (path / name).is_file():
            continue
        try:
            values = json.loads((path / name).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{name} is not valid JSON: {error}") from None
        if not isinstance(values, dict):
            raise ValueError(f"{name} must hold a JSON object, not a {type(values).__name__}")


def require_weights(found: Mapping[str, Any], model: nn.Module, path: str) -> None:
    """Refuse weights that are not all of the model's, of its shapes and finite; `found` is what
    Transformers says of the loading."""
    name = type(model).__name__
    if wrong := sorted(found["mismatched_keys"]):
        weight, saved, wanted = wrong[0]
        raise UserError(
            f"model.path: {weight} of {path} has the shape {list(saved)}, and by its "
            f"configuration {list(wanted)}; take configuration and weights of the same model"
        )
    if missing := sorted(found["missing_keys"]):
        # Transformers would go on with random numbers in their place.
        raise UserError(
            f"model.path: {path} lacks {len(missing)} of the weights that {name} "
            f"has ({', '.join(missing[:3])} …); is it a whole causal language model?"
        )
    if unused := sorted(found["unexpected_keys"]):
        LOG.warning(
            "%s holds %d weights that %s has no place for and goes without (%s …)",
            *(path, len(unused), name, ", ".join(unused[:3])),
        )
    for weight, value in model.named_parameters():
        # A sum is read at the pace of memory, and shows what a count of each would; where it
        # overflows, each is looked at.
        if not value.sum(dtype=torch.float32).isfinite() and not value.isfinite().all():
            raise UserError(
                f"model.path: {weight} of {path} has values that are not finite (NaN or infinite); "
                "take a whole copy of the model"
            )


def settle_generation_config(model: Any, path: str) -> None:
    """Make the generation config one that every release of Transformers saves again.

    What it says of sampling where nothing is sampled is without effect, and is put back to its
    default; a warning names it. One that is beyond that keeps its special tokens alone.
    """
    config = model.generation_config
    idle = {} if config.do_sample is True else dict(OF_SAMPLING)
    idle |= OF_BEAMS if (config.num_beams or 1) == 1 else {}
    odd = [name for name, value in idle.items() if getattr(config, name, None) not in (None, value)]
    for name in odd:
        setattr(config, name, None)
    if config.pad_token_id is not None and config.pad_token_id < 0:
        config.pad_token_id = None
        odd.append("pad_token_id")
    if odd:
        LOG.warning(
            "%s: generation_config.json sets %s to no effect; its copies leave that out",
            *(path, ", ".join(odd)),
        )
    try:
        config.validate(strict=True)
    except ValueError as error:
        reason = " ".join(str(error).split())[:200]
        LOG.warning(
            "%s: generation_config.json contradicts itself (%s); its copies have its special "
            "tokens alone",
            *(path, reason),
        )
        kept = {name: getattr(config, name) for name in vars(config) if name.endswith("_token_id")}
        model.generation_config = type(config)(**kept)

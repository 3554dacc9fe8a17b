"""The policy's weights as a folder that vLLM servers read."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file

from evenflow.policy.policy import Policy
from evenflow.rollout.vllm.handover import (
    room_for_adapter,
    save_adapter,
    uses_adapter,
    whole_model,
)
from evenflow.run.files import share_weights, writing

HEAD_FILE = "lm_head.safetensors"
ONE_FILE = 10**18
"""Bytes a shard: a list of shards would name all files that count, and the head's is one more."""


@dataclass(frozen=True)
class Weights:
    """What a server is to sample from."""

    label: str
    """No other weights have it, of this run or another."""
    kind: Literal["whole", "adapter", "base"]
    """A whole model; a LoRA adapter; or the server's own model, beneath the adapter."""
    folder: Path | None
    """Where they lie; None for what the server has."""
    rank: int = 0
    """That vLLM makes room for, of an adapter."""


def write(policy: Policy, label: str, parent: Path) -> Weights:
    """Write a policy's weights into a folder of their label, which is whole or not there.

    A label is ``NAME-NUMBER``: once it is there, folders of the same name are removed. UserError
    where nothing can be written.
    """
    adapter = uses_adapter(policy)
    if policy.adapted and not adapter:  # within `as_reference`
        return Weights(label, "base", None)
    target, scratch = parent / label, parent / f".{label}.tmp"
    with writing(parent):
        try:
            scratch.mkdir(parents=True)
            if adapter:
                save_adapter(policy, scratch)
            else:
                model = whole_model(policy)
                model.save_pretrained(scratch, max_shard_size=ONE_FILE)
                _write_tied_head(model, scratch)
            share_weights(scratch)
            scratch.rename(target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    for old in parent.glob(f"{label.rpartition('-')[0]}-*"):
        if old != target:
            shutil.rmtree(old, ignore_errors=True)
    if adapter:
        return Weights(label, "adapter", target, room_for_adapter(policy))
    return Weights(label, "whole", target)


@torch.no_grad()
def _write_tied_head(model: Any, folder: Path) -> None:
    """Write a head that is the embeddings once more, under its own name: Transformers leaves it
    out, and a server that loads new weights would silently keep its old head."""
    head = model.get_output_embeddings()
    if head is None or head.weight is not model.get_input_embeddings().weight:
        return
    names = [name for name, module in model.named_modules() if module is head]
    save_file({f"{names[0]}.weight": head.weight.contiguous()}, folder / HEAD_FILE)


def config_of(policy: Policy) -> dict[str, Any]:
    """The numbers that tell one architecture from another, by their names in config.json."""
    config = whole_model(policy).config.get_text_config()
    names = ("model_type", "vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size")
    return {name: value for name in names if (value := getattr(config, name, None)) is not None}

"""How large a model is, part by part; its configuration is enough to know."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from evenflow.config import LoraConfig
from evenflow.errors import CannotLoad, UserError, brief
from evenflow.policy.adapters import base_of, is_adapter
from evenflow.policy.checks import require_files
from evenflow.policy.loading import resolve


@dataclass(frozen=True)
class Shape:
    """Sizes of a causal language model, in numbers (not bytes)."""

    parameters: int
    """All of them; an output layer that shares its weights with the embeddings counts once."""
    embeddings: int
    """Of the input's, and of the output's too where it has its own."""
    trunk: int
    """Weights of matrices that every token meets on its way through the layers (of experts: all,
    although a token meets some)."""
    head: int
    """Weights of the projection to the vocabulary: its size times the width."""
    layers: int
    hidden: int
    intermediate: int
    """Width of an MLP, like the two below on the average over layers."""
    attention: int
    """Width of all heads together."""
    cached: int
    """Keys and values of one token in one layer."""
    vocabulary: int


def shape_of(model: Any) -> Shape:
    """The shape of a model, be it in memory or on the meta device."""
    settings = model.config.get_text_config()
    layers = [_layer(each) for each in getattr(settings, "per_layer_config", None) or [settings]]
    intermediate, attention, cached = (math.ceil(fmean(each)) for each in zip(*layers, strict=True))
    given, projected = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    ends = {id(given), id(projected)}
    every: dict[int, nn.Parameter] = {id(p): p for p in model.parameters()}
    return Shape(
        parameters=sum(p.numel() for p in every.values()),
        embeddings=sum(p.numel() for key, p in every.items() if key in ends),
        trunk=sum(p.numel() for key, p in every.items() if key not in ends and p.ndim >= 2),
        head=projected.numel(),
        layers=settings.num_hidden_layers,
        hidden=settings.hidden_size,
        intermediate=intermediate,
        attention=attention,
        cached=cached,
        vocabulary=given.shape[0],
    )


def _layer(settings: Any) -> tuple[float, int, int]:
    """`intermediate`, `attention` and `cached` of the layer that has these settings: some models
    (Gemma 3n, Gemma 4) have layers of several sizes."""
    wide = getattr(settings, "intermediate_size", None) or 4 * settings.hidden_size
    heads = settings.num_attention_heads
    of_keys = getattr(settings, "num_key_value_heads", None) or heads
    size = getattr(settings, "head_dim", None) or settings.hidden_size // heads
    return fmean(wide) if isinstance(wide, list) else wide, heads * size, 2 * of_keys * size


def empty_model(path: str) -> nn.Module:
    """The model of that path without its weights, on the meta device; an adapter's base. UserError
    where there is none, or none that Transformers knows as a causal language model."""
    folder = resolve(path)
    while is_adapter(folder):
        folder = resolve(base_of(folder))
    try:
        require_files(folder)
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except UserError:
        raise
    except Exception as error:  # configurations that make no sense raise all kinds of errors
        raise CannotLoad(f"model.path: cannot read the model {path}: {brief(error)}") from error


def adapter_size(model: nn.Module, lora: LoraConfig) -> int:
    """Parameters of an adapter on the linear layers that it names (all-linear: all but the output
    layer): rank × (inputs + outputs) each."""
    output = getattr(model, "get_output_embeddings", lambda: None)()
    named = lora.target_modules
    return sum(
        lora.rank * sum(layer.weight.shape)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear | Conv1D)
        and (layer is not output if named == "all-linear" else name.rpartition(".")[2] in named)
    )

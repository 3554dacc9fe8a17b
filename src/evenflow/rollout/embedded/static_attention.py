"""Attention over a `StaticCache`, by the interface with which Transformers' models take one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from evenflow.rollout.embedded.static_cache import StaticCache, StaticLayer

NAME = "evenflow_static"
# What models tell an attention function that changes nothing here: the mask has the window in it,
# one new position sees all before it, and positions are in the keys already.
IN_THE_MASK = {"sliding_window", "is_causal", "local_size"}
WITHOUT_EFFECT = {
    "dropout", "position_ids", "cache_position", "use_cache", "return_dict", "logits_to_keep",
    "cache", "past_key_values", "layer_idx",
}  # fmt: skip

_cache: ContextVar[StaticCache] = ContextVar("cache")
_own: ContextVar[str] = ContextVar("own")  # the model's own implementation of attention


class Unsupported(Exception):
    """A model asks for what cannot be computed here. The text completes "…, which"."""


@contextmanager
def attending(model: Any, cache: StaticCache) -> Iterator[None]:
    """The model attends with `attend`, over this cache."""
    before = model.config._attn_implementation
    tokens = _cache.set(cache), _own.set(before)
    try:
        model.set_attn_implementation(NAME)
        if model.config._attn_implementation != NAME:
            raise Unsupported("has an attention of its own")
        yield
    finally:
        _cache.reset(tokens[0])
        _own.reset(tokens[1])
        model.set_attn_implementation(before)


def mask(*args: Any, mask_function: Callable[..., Any], **kwargs: Any) -> Tensor:
    """What Transformers calls once a forward pass for each kind of layer."""
    if kwargs.get("use_vmap"):
        raise Unsupported("has a mask of its own")
    return _cache.get().visible(mask_function)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of one new position, ``query`` ``(S, Hq, 1, D)``, to the prompts' keys, which the
    answers to a prompt read together, and to each answer's own, under one softmax.

    Query heads that share a key head are further rows of its product. ``s_aux`` ``(Hq,)``: logits
    that take part in the softmax and attend to nothing. Returns ``(S, 1, Hq, D)``.
    """
    unknown = {name for name, given in kwargs.items() if given is not None and given is not False}
    unknown -= IN_THE_MASK | WITHOUT_EFFECT
    if unknown:
        raise Unsupported(f"gives its attention {', '.join(sorted(unknown))}")
    layer = getattr(key, "layer", None)
    if not isinstance(layer, StaticLayer):
        raise Unsupported("changes keys after they are cached")
    cache, length = layer.cache, layer.cache.shape.prompt
    rows = len(query)
    if _own.get() == "sdpa":  # it knows neither: early releases leave out what they are told
        softcap = s_aux = None
    if attention_mask is None or attention_mask.shape != (rows, 1, 1, length + key.shape[2]):
        raise Unsupported("has a mask of its own")
    prompt_keys, prompt_values = layer.prompts()
    q = query.reshape(rows, layer.heads, -1, query.shape[-1])
    q = (q * (scaling or 1 / math.sqrt(query.shape[-1]))).to(key.dtype)
    scores = torch.cat(
        [
            cache.ungroup(product(cache.group(q), prompt_keys.transpose(2, 3))),
            product(q, key.transpose(2, 3)),
        ],
        dim=-1,
    )
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~attention_mask, -math.inf)
    if s_aux is not None:
        sinks = s_aux.to(scores.dtype).view(1, layer.heads, -1, 1).expand(rows, -1, -1, 1)
        scores = torch.cat([scores, sinks], dim=-1)
    probs = scores.softmax(dim=-1, dtype=torch.float32).to(value.dtype)
    to_prompt, to_answer = probs[..., :length], probs[..., length : length + key.shape[2]]
    output = cache.ungroup(product(cache.group(to_prompt), prompt_values))
    output = (output + product(to_answer, value)).to(query.dtype)
    return output.reshape(rows, 1, query.shape[1], -1), None


def product(left: Tensor, right: Tensor) -> Tensor:
    """``left @ right``, ``(n, H, i, j)`` and ``(n, H, j, k)``; of half precision in float32 where
    the device can, because rounded scores are off by hundredths of a nat."""
    if left.dtype != torch.float32 and adds_in_float32(left.device, left.dtype):
        flat = torch.bmm(left.flatten(0, 1), right.flatten(0, 1), out_dtype=torch.float32)
        return flat.unflatten(0, left.shape[:2])
    return left @ right


@lru_cache
def adds_in_float32(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether matrices of that type can be multiplied into float32 there."""
    one = torch.ones(1, 1, 1, device=device, dtype=dtype)
    try:
        return torch.bmm(one, one, out_dtype=torch.float32).dtype == torch.float32
    except (RuntimeError, TypeError):  # NotImplementedError is a RuntimeError
        return False


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, mask)

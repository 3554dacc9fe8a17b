"""How long a sequence a model can be trained on: its positions, and where its positions change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def positions(model: Any) -> int | None:
    """The longest sequence that a model can read, in tokens; None if it sets no limit."""
    config = model.config.get_text_config()
    known = getattr(config, "max_position_embeddings", None)
    return known or getattr(config, "max_seq_len", None)  # MPT's name for it


def border(model: Any) -> int | None:
    """The length beyond which a model turns its positions by other factors; None if it never does.

    LongRoPE (Phi-3 and its like) has short factors and long ones. A sequence that crosses the
    border keeps the keys that were cached under the short ones, while one that is scored whole has
    long ones throughout: sampler and trainer would differ by nats. (Of the other kinds only
    dynamic NTK depends on the length, and only beyond the model's positions.)
    """
    config = model.config.get_text_config()
    found = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kinds = [found, *(kind for kind in found.values() if isinstance(kind, dict))]  # by layer type
    borders = [
        kind.get("original_max_position_embeddings")
        or getattr(config, "original_max_position_embeddings", None)
        for kind in kinds
        if "long_factor" in kind
    ]
    return min((each for each in borders if each), default=None)


def reach(model: Any, prompts: Sequence[int]) -> int | None:
    """The longest sequence, in tokens, that may begin with one of some prompts, of which the
    lengths are given; None if there is no limit.

    Prompts that are all beyond the border cannot cross it any more.
    """
    limits = [positions(model)]
    at = border(model)
    if at is not None and min(prompts) <= at:
        limits.append(at)
    return min((limit for limit in limits if limit), default=None)


def remark(model: Any, limit: int) -> str:
    """What is to be said of the limit that `reach` names, in brackets; nothing of positions."""
    if limit == positions(model):
        return ""
    return " (there LongRoPE changes its factors, and sampling and training would differ beyond)"

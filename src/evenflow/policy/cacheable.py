"""Which models hold their past as one key and value a position, and how they take it."""

from __future__ import annotations

import inspect
import re
from typing import Any

from torch import nn
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

# What Transformers calls the layers whose states are keys and values, in a configuration and in its
# own cache; not every model and release says it in both places.
LAYER_TYPES = ("full_attention", "sliding_attention")
CACHE_LAYERS = (DynamicLayer, DynamicSlidingWindowLayer)
# What forward calls the cache that it is given; Transformers 5.24 changed the name.
CACHE_ARGUMENTS = ("cache", "past_key_values")


def check_model(model: PreTrainedModel) -> None:
    """Raise ``ValueError`` for a model whose state is more than one key and value a position."""
    name = type(model).__name__
    if model.config.is_encoder_decoder:
        raise ValueError(f"{name} is an encoder-decoder: rollouts need a decoder-only model")
    if cache_argument(model) is None:
        raise ValueError(f"the forward of {name} takes no cache: rollouts need a key/value cache")
    adapter = getattr(model, "active_peft_config", None)
    if adapter is not None and adapter.is_prompt_learning:
        raise ValueError(f"{name} prepends learned prompts ({adapter.peft_type}): use LoRA instead")
    declared = getattr(model.config.get_text_config(), "layer_types", None) or ()
    cached = {type(layer) for layer in DynamicCache(config=model.config).layers}
    unsupported = {kind for kind in declared if kind not in LAYER_TYPES}
    unsupported |= {kind.__name__ for kind in cached.difference(CACHE_LAYERS)}
    if unsupported:
        raise ValueError(
            f"{name} has layers whose state the rollout cache cannot hold "
            f"({', '.join(sorted(unsupported))}): use a model with attention in every layer"
        )


def cache_argument(model: nn.Module) -> str | None:
    """The name by which the forward of the model takes a key/value cache; None if it takes none."""
    accepted = taken(model)
    known = [name for name in CACHE_ARGUMENTS if name in accepted]
    typed = [name for name, kind in accepted.items() if re.search(r"\bCache\b", str(kind))]
    return next(iter(known + typed), None)


def taken(model: nn.Module) -> dict[str, Any]:
    """What the forward of the model takes, with the types that it states; beneath a PEFT wrapper,
    which passes all on."""
    base = getattr(model, "get_base_model", lambda: model)()
    return {
        name: parameter.annotation
        for name, parameter in inspect.signature(base.forward).parameters.items()
    }

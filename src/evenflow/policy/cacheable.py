"""Which models hold their past as one key and value a position, how they take it, and the cache
that they are given."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

from torch import Tensor, nn
from transformers import Cache, DynamicCache, PreTrainedModel, cache_utils
from transformers.cache_utils import CacheLayerMixin, DynamicLayer, DynamicSlidingWindowLayer

# What Transformers calls the layers whose states are keys and values, in a configuration and in its
# own cache; not every model and release says it in both places.
LAYER_TYPES = ("full_attention", "sliding_attention")
CACHE_LAYERS = (DynamicLayer, DynamicSlidingWindowLayer)
# And those with none of their own, which read an earlier layer's (Gemma 3n, the small Gemma 4):
# recent releases name a stand-in for each.
STAND_IN = getattr(cache_utils, "DummyLayer", None)
# What forward calls the cache that it is given; Transformers 5.24 changed the name.
CACHE_ARGUMENTS = ("cache", "past_key_values")


class HeldLayer(CacheLayerMixin):
    """Keys and values of one layer, of which every position is held. It says how many there are
    (`get_seq_length`)."""

    # Where a window slides over the positions, the model's own mask hides the rest.
    is_sliding = False

    def get_mask_sizes(self, query_length: int | Tensor) -> tuple[int, int]:
        # Early releases of Transformers 5 pass the positions themselves.
        new = query_length if isinstance(query_length, int) else len(query_length)
        return self.get_seq_length() + new, 0

    def get_max_length(self) -> int:
        return -1

    get_max_cache_shape = get_max_length  # its name in early releases of Transformers 5


Layer = TypeVar("Layer", bound=HeldLayer)


class HeldCache(Cache, Generic[Layer]):
    """A `HeldLayer` a layer of the model, made by `make` as the model asks for them."""

    def __init__(self, make: Callable[[], Layer]) -> None:
        self.make = make
        self.held: list[Layer] = []
        super().__init__(layers=cast(list[Any], self.held))  # the same list, by its own type

    def layer(self, index: int) -> Layer:
        """The layer of that number."""
        while len(self.held) <= index:
            self.held.append(self.make())
        return self.held[index]

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args, **kwargs
    ) -> tuple[Tensor, Tensor]:
        return self.layer(layer_idx).update(key_states, value_states)


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
    unsupported |= {kind.__name__ for kind in cached.difference({*CACHE_LAYERS, STAND_IN})}
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

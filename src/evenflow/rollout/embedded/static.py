"""Sampling with static shapes: slots that are refilled as their answers end, and a decode step that
a CUDA device captures once and replays.

The answers are those of the dynamic path, up to float error: an answer owns its noise, and neither
the slot that it is in, nor what is beside it, nor when its end is noticed, enters into it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any
from weakref import ReferenceType, ref

import torch
from torch import Tensor

from evenflow.machine import memory_ran_out
from evenflow.policy.cacheable import taken
from evenflow.rollout.embedded.capture import Capture, CudaGraphs, Step, as_it_is
from evenflow.rollout.embedded.ended import Ended, Request
from evenflow.rollout.embedded.refill import Refilled
from evenflow.rollout.embedded.static_attention import Unsupported
from evenflow.rollout.embedded.static_cache import Shape, StaticCache
from evenflow.rollout.embedded.static_decoder import StaticDecoder

KEPT = 0.25
"""Buffers are kept from one rollout to the next while they take no more than this part of the
memory that is free beside them."""
BY_LENGTH = ("dynamic", "longrope")
"""Rotations of positions that change with the longest sequence of a batch."""


class StaticDecoding:
    """What is kept from one rollout to the next: buffers, and captured steps, which read weights
    where an optimiser updates them."""

    def __init__(self, capture: Capture | None = None) -> None:
        """``capture``: how a step is captured; None: as a CUDA graph, and on a CPU not at all."""
        self.capture = capture
        self.refused: ReferenceType[Any] | None = None  # the model that takes the other path
        self.compared: ReferenceType[Any] | None = None  # the model whose logits were compared
        self._kept: StaticDecoder | None = None
        self._origin: tuple[Any, ...] = ()  # of what is kept

    def supports(self, model: Any) -> bool:
        """Whether answers can be sampled so; what speaks against a model is said once."""
        if self.refused is not None and self.refused() is model:
            return False
        reason = reason_against(model)
        if reason is not None:
            self.refuse(model, reason)
        return reason is None

    def refuse(self, model: Any, reason: str) -> None:
        """Say why a model takes the other path, and remember it."""
        self.refused = ref(model)
        name = type(getattr(model, "get_base_model", lambda: model)()).__name__
        warnings.warn(
            f"{name} {reason}: its answers are decoded by the dynamic path, more slowly on a GPU "
            "(rollout.decoding=dynamic says nothing of it)",
            stacklevel=2,
        )

    def decode(self, request: Request) -> Iterator[Ended]:
        """See `generate`. `Unsupported` for a model that turns out to compute something else than
        its own forward pass; groups that came before it are right."""
        model = request.model
        compare = self.compared is None or self.compared() is not model
        rollout = Refilled(request, compare=compare)

        def take(states: Sequence[Sequence[Tensor]], limit: int, largest: Shape) -> StaticDecoder:
            return self._take(model, states, limit, largest)

        def capture(step: Step) -> Step:
            return self._capture(step, model.device)

        try:
            yield from rollout.groups(take, capture)
        except (RuntimeError, Unsupported):
            rollout.decoder = None  # what failed is not gone on with
            raise
        finally:
            if rollout.compared:
                self.compared = ref(model)
            self._keep(rollout.decoder)

    def _take(
        self, model: Any, states: Sequence[Sequence[Tensor]], limit: int, largest: Shape
    ) -> StaticDecoder:
        """The kept buffers, if they are of this model, its weights are where they were, and there
        is room enough; or else new ones. Nobody else can take them until they are kept again."""
        device = states[0][0].device
        lower = torch.get_autocast_dtype(device.type)
        dtype = lower if torch.is_autocast_enabled(device.type) else None
        origin = origin_of(model, states, dtype)
        decoder, self._kept = self._kept, None
        if decoder is not None and origin == self._origin:
            capacity = decoder.cache.capacity
            if decoder.limit >= limit and all(
                has >= asked for has, asked in zip(capacity, largest, strict=True)
            ):
                return decoder
            largest = Shape(*map(max, capacity, largest))
            limit = max(limit, decoder.limit)
        del decoder  # the old buffers go before the new ones come
        self._origin = origin
        return StaticDecoder(model, StaticCache(states, dtype, largest), limit)

    def _keep(self, decoder: StaticDecoder | None) -> None:
        if decoder is not None and decoder.token.device.type == "cuda":
            device = decoder.token.device
            free = torch.cuda.mem_get_info(device)[0]
            free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
            if decoder.cache.bytes > KEPT * free:
                decoder = None
        self._kept = decoder

    def _capture(self, step: Step, device: torch.device) -> Step:
        """The step captured; as it is where that fails, which is said once."""
        try:
            if self.capture is None:
                self.capture = CudaGraphs(device) if device.type == "cuda" else as_it_is
            return self.capture(step)
        except RuntimeError as error:
            if memory_ran_out(error):
                raise
            self.capture = as_it_is
            warnings.warn(
                "the decode step could not be captured as a CUDA graph, and runs uncaptured, which "
                f"is slower: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
                stacklevel=2,
            )
            return step


def reason_against(model: Any) -> str | None:
    """Why a model cannot be sampled with static shapes, as far as it tells; completes its name."""
    base = getattr(model, "get_base_model", lambda: model)()
    if not getattr(base, "_supports_attention_backend", False):
        return "has an attention of its own"
    if "position_ids" not in taken(model):
        return "takes no positions"
    config = model.config.get_text_config()
    found = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kinds = [found, *(kind for kind in found.values() if isinstance(kind, dict))]  # by layer type
    if any(kind.get("rope_type", kind.get("type")) in BY_LENGTH for kind in kinds):
        return "turns its positions by the longest sequence of a batch"
    return None


def origin_of(
    model: Any, states: Sequence[Sequence[Tensor]], dtype: torch.dtype | None
) -> tuple[Any, ...]:
    """What buffers and captures are of: where weights lie, the sizes and precision of each layer's
    keys and values, and which adapters are in effect."""
    weights = [tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers())]
    sizes = [(*each.shape[1::2], each.dtype) for layer in states for each in layer]
    adapters = [
        (module.disable_adapters, module.merged, tuple(module.active_adapters), str(module.scaling))
        for module in model.modules()
        if hasattr(module, "disable_adapters") and hasattr(module, "scaling")
    ]
    return id(model), tuple(weights), tuple(sizes), tuple(adapters), dtype

"""Keys and values in tensors that stay where they are, for a decode step that is captured.

Slots ``s < S`` hold answers, places ``p < P`` their prompts. A step reads and writes the part of
the buffers that its `Shape` says, so that it costs what is filled and not what may be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin


class Shape(NamedTuple):
    """The part of the buffers that a step uses."""

    slots: int
    places: int
    copies: int
    """The most answers to a prompt at once."""
    prompt: int
    """Positions of a prompt."""
    answer: int
    """Positions of an answer."""


class StaticLayer(CacheLayerMixin):
    """Keys and values of one layer: of the prompts, ``(P, H, L, D)``, each ending at the last
    position, and of the answers, ``(S, H, T, D)``, each beginning at the first."""

    is_sliding = False  # where a window slides, the mask hides what is outside
    is_compileable = True  # so that Transformers always asks for a mask

    def __init__(self, cache: StaticCache, prefix: Sequence[Tensor], suffix: Sequence[Tensor]):
        super().__init__()
        self.cache = cache
        self.prefix, self.suffix = list(prefix), list(suffix)
        self.heads = prefix[0].shape[1]
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args, **kwargs
    ) -> tuple[Tensor, Tensor]:
        """Write the new position of each slot, ``(S, H, 1, D)``; the answers' keys and values."""
        shape = self.cache.shape
        held = [buffer[: shape.slots, :, : shape.answer] for buffer in self.suffix]
        index = self.cache.slot[: shape.slots], self.cache.written
        for buffer, new in zip(held, (key_states, value_states), strict=True):
            buffer.transpose(1, 2).index_put_(index, new[:, :, 0].to(buffer.dtype))
        keys, values = held
        cast(Any, keys).layer = self  # by which `attend` finds the prompts' part
        return keys, values

    def prompts(self) -> list[Tensor]:
        """The prompts' keys and values."""
        shape = self.cache.shape
        return [
            buffer[: shape.places, :, buffer.shape[2] - shape.prompt :] for buffer in self.prefix
        ]

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        raise AssertionError("a static layer is made whole")

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.cache.shape.prompt + self.cache.shape.answer, 0

    def get_seq_length(self) -> int:
        return self.cache.shape.prompt + self.cache.shape.answer

    def get_max_length(self) -> int:
        return self.get_seq_length()

    get_max_cache_shape = get_max_length  # its name in early releases of Transformers 5


class StaticCache(Cache):
    """All layers, and where each slot stands.

    Made from the keys and values of some prompts, ``(n, H, L, D)``, which tell each layer's sizes.
    """

    def __init__(
        self, like: Sequence[Sequence[Tensor]], dtype: torch.dtype | None, capacity: Shape
    ) -> None:
        """``dtype``: of what is held; None: that of ``like``."""
        self.capacity = self.shape = capacity
        device = like[0][0].device
        slots, places = capacity.slots, capacity.places

        def buffer(states: Tensor, rows: int, positions: int) -> Tensor:
            # Zeros, because what is masked is multiplied, too: by 0, which NaN survives.
            return states.new_zeros(
                rows, states.shape[1], positions, states.shape[3], dtype=dtype or states.dtype
            )

        self.held = [
            StaticLayer(
                self,
                [buffer(states, places, capacity.prompt) for states in layer],
                [buffer(states, slots, capacity.answer) for states in layer],
            )
            for layer in like
        ]
        super().__init__(layers=cast(list[Any], self.held))
        self.slot = torch.arange(slots, device=device)
        self.length = torch.ones(places, dtype=torch.long, device=device)  # (P,) of each prompt
        self.prompt = torch.zeros(slots, dtype=torch.long, device=device)  # (S,) place of each slot
        self.forget()
        # Of (place, head, copy) among (slot, head), and back, both flat; for each number of heads.
        self.there = {
            layer.heads: self.slot.new_zeros(places * layer.heads * capacity.copies)
            for layer in self.held
        }
        self.back = {heads: self.slot.new_zeros(slots * heads) for heads in self.there}

    def forget(self) -> None:
        """Of each slot, ``(S,)``: where it writes, and the position, prompt included, of the token
        that is read. A step sets both before it reads them."""
        self.written = self.position = self.slot

    @property
    def bytes(self) -> int:
        """Of all keys and values."""
        buffers = [each for layer in self.held for each in (*layer.prefix, *layer.suffix)]
        return sum(buffer.numel() * buffer.element_size() for buffer in buffers)

    def arrange(self, prompt: Sequence[int], copy: Sequence[int], live: Sequence[int]) -> None:
        """Slot s has answer ``copy[s]`` to the prompt in place ``prompt[s]``, if it is ``live``.

        What a cell without an answer holds is arbitrary, and nothing reads it.
        """
        copies = self.shape.copies
        cells = [0] * (self.shape.places * copies)
        for slot in live:
            cells[prompt[slot] * copies + copy[slot]] = slot
        places, numbers, cell = (
            torch.tensor(each, device=self.slot.device) for each in (prompt, copy, cells)
        )
        self.prompt[: len(prompt)] = places
        for heads, there in self.there.items():
            head = torch.arange(heads, device=self.slot.device)
            back = (places[:, None] * heads + head) * copies + numbers[:, None]
            self.back[heads][: back.numel()] = back.flatten()
            slots = cell.view(-1, 1, copies) * heads + head[:, None]
            there[: slots.numel()] = slots.flatten()

    def group(self, rows: Tensor) -> Tensor:
        """``(S, H, r, E)`` → ``(P, H, copies · r, E)``, arbitrary where no answer is."""
        heads, size = rows.shape[1], rows.shape[3]
        there = self.there[heads][: self.shape.places * heads * self.shape.copies]
        grouped = rows.flatten(0, 1).index_select(0, there)
        return grouped.view(self.shape.places, heads, -1, size)

    def ungroup(self, grouped: Tensor) -> Tensor:
        """The inverse of `group`."""
        heads, size = grouped.shape[1], grouped.shape[3]
        rows = grouped.reshape(self.shape.places * heads * self.shape.copies, -1, size)
        back = self.back[heads][: self.shape.slots * heads]
        return rows.index_select(0, back).unflatten(0, (-1, heads))

    def lengths(self) -> Tensor:
        """Of the prompt of each slot, ``(S,)``."""
        return self.length.index_select(0, self.prompt[: self.shape.slots])

    def visible(self, mask_function: Callable[..., Tensor]) -> Tensor:
        """What each slot's new position attends to, by a mask function of Transformers, which goes
        by the numbers of row, head, query and key: ``(S, 1, 1, L + T)``."""
        shape = self.shape
        length = self.lengths()[:, None]
        column = torch.arange(shape.prompt, device=length.device)
        answer = torch.arange(shape.answer, device=length.device)
        key = torch.cat([column - shape.prompt + length, length + answer], dim=1)[:, None, None]
        query = self.position.view(-1, 1, 1, 1)
        row = self.slot[: shape.slots].view(-1, 1, 1, 1)
        allowed = mask_function(row, torch.zeros_like(row[:1]), query, key)
        return allowed & (key >= 0) & (key <= query)

    def put(self, places: Tensor, prompts: Sequence[Sequence[Tensor]], lengths: Tensor) -> None:
        """Hold the keys and values of prompts ``(n, H, l, D)``, which end at the last position."""
        self.length[places] = lengths
        for layer, states in zip(self.held, prompts, strict=True):
            for buffer, new in zip(layer.prefix, states, strict=True):
                buffer[places, :, buffer.shape[2] - new.shape[2] :] = new.to(buffer.dtype)

    def clear(self, slots: Tensor) -> None:
        """Forget what slots hold, so that no NaN of an ended answer reaches the next."""
        for layer in self.held:
            for buffer in layer.suffix:
                buffer.index_fill_(0, slots, 0)

    def move(self, slots: tuple[Tensor, Tensor], places: tuple[Tensor, Tensor]) -> None:
        """Copy slots, and places, each from the first to the second."""
        for layer in self.held:
            for buffers, (source, target) in ((layer.suffix, slots), (layer.prefix, places)):
                for buffer in buffers:
                    buffer.index_copy_(0, target, buffer.index_select(0, source))
        self.length.index_copy_(0, places[1], self.length.index_select(0, places[0]))

    def grow(self, answer: int) -> None:
        """Make room for ``answer`` positions of each answer, layer by layer."""
        more = answer - self.capacity.answer
        for layer in self.held:
            for i, buffer in enumerate(layer.suffix):
                layer.suffix[i] = torch.nn.functional.pad(buffer, (0, 0, 0, more))
        self.capacity = self.capacity._replace(answer=answer)

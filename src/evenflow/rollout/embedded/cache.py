"""A key/value cache that holds each prompt once, is written in place, and lets rows leave."""

from __future__ import annotations

import torch
from torch import Tensor

from evenflow.policy.cacheable import HeldCache, HeldLayer
from evenflow.rollout.embedded.attention import SharedPrefix, Slots

FIRST_CAPACITY = 64  # positions; doubled when full, so that a long limit is not paid in advance


class RolloutLayer(HeldLayer):
    """Keys and values of one layer.

    The first updates are the prefill, ``(n, heads, length, head size)``, until all prompts are
    read. Each later one writes a position of the answers into ``(capacity, slots, heads, head
    size)`` buffers, and attention gets a view of what is filled, so that nothing is copied but the
    new token. Position comes first because what is filled then lies together: it reads up to three
    times faster than slot first.
    """

    def __init__(self, slots: Slots, new_positions: int):
        super().__init__()
        self.slots, self.new_positions = slots, new_positions
        self.unread = slots.prompts  # prompts that are not prefilled
        self.filled = 0  # positions of the answers
        self.prefix: list[Tensor] = []  # keys and values of the prompts
        self.suffix: list[Tensor] = []  # and of the answers

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.prefix = [
            states.new_empty(self.unread, *states.shape[1:])
            for states in (key_states, value_states)
        ]
        capacity = min(FIRST_CAPACITY, self.new_positions)
        self.suffix = [self._buffer(states, capacity) for states in self.prefix]
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args, **kwargs
    ) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        if self.unread:
            return self._prefill(key_states, value_states)
        rows, capacity = len(key_states), len(self.suffix[0])
        if self.filled == capacity:
            more = min(capacity, self.new_positions - capacity)
            self.suffix = [
                torch.cat([old, self._buffer(states, more)])
                for old, states in zip(self.suffix, self.prefix, strict=True)
            ]
        for buffer, new in zip(self.suffix, (key_states, value_states), strict=True):
            buffer[self.filled, :rows] = new[:, :, 0]
        self.filled += 1
        keys, values = (
            SharedPrefix(prefix, buffer[: self.filled, :rows].permute(1, 2, 0, 3), self.slots)
            for prefix, buffer in zip(self.prefix, self.suffix, strict=True)
        )
        return keys, values

    def _prefill(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Hold what the next prompts have."""
        read = len(self.prefix[0]) - self.unread
        for held, new in zip(self.prefix, (keys, values), strict=True):
            held[read : read + len(new)] = new
        self.unread -= len(keys)
        return keys, values

    def _buffer(self, like: Tensor, positions: int) -> Tensor:
        return like.new_empty(positions, self.slots.capacity, like.shape[1], like.shape[3])

    def part(self, source: Tensor, live: int) -> None:
        """Copy the answers in slots ``source`` behind the ``live`` ones."""
        for buffer in self.suffix:
            filled = buffer[: self.filled]
            filled[:, live : live + len(source)] = filled.index_select(1, source)

    def move(self, source: Tensor, target: Tensor) -> None:
        """Copy the answers in slots ``source`` over those in ``target``."""
        for buffer in self.suffix:
            filled = buffer[: self.filled]
            filled.index_copy_(1, target, filled.index_select(1, source))

    def keep_prompts(self, kept: Tensor) -> None:
        """Forget all prompts but ``kept``."""
        self.prefix = [prefix[kept] for prefix in self.prefix]

    def get_seq_length(self) -> int:
        return 0 if self.unread else self.prefix[0].shape[2] + self.filled


class RolloutCache(HeldCache[RolloutLayer]):
    """A `RolloutLayer` a layer of the model.

    ``copies``: at most so many answers to each of ``prompts``. ``new_positions``: room beyond it.
    """

    def __init__(self, prompts: int, copies: int, new_positions: int, device: torch.device):
        self.slots = Slots(prompts, prompts * copies, device)
        super().__init__(lambda: RolloutLayer(self.slots, new_positions))

    def part(self, source: Tensor) -> None:
        """Copy slots ``source`` behind the live ones."""
        for layer in self.held:
            layer.part(source, self.slots.live)
        self.slots.part(source)

    def move(self, source: Tensor, target: Tensor, live: int) -> None:
        """Copy slots ``source`` over slots ``target``, then forget all slots from ``live`` on."""
        for layer in self.held:
            layer.move(source, target)
        kept = self.slots.move(source, target, live)
        if kept is not None:
            for layer in self.held:
                layer.keep_prompts(kept)

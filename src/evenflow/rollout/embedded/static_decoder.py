"""Answers in the making with static shapes: what one decode step reads and writes, and the step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from evenflow.policy.cacheable import cache_argument, taken
from evenflow.policy.stops import vocabulary
from evenflow.rollout.embedded.capture import Step
from evenflow.rollout.embedded.draw import draw
from evenflow.rollout.embedded.static_attention import attending
from evenflow.rollout.embedded.static_cache import Shape, StaticCache
from evenflow.rollout.sampling import Sampling

MOST_CAPTURED = 48
"""Captured steps that are held: each takes some megabytes of the device."""


class StaticDecoder:
    """Slots, each with an answer that has its first token, which a prefill drew.

    All that a step needs lies in tensors that are written in place, so that it can be captured, and
    is replayed with whatever they hold by then.
    """

    def __init__(self, model: Any, cache: StaticCache, limit: int) -> None:
        """``limit``: the most tokens of an answer that there is room for."""
        self.model, self.cache, self.limit = model, cache, limit
        self.inputs: dict[str, Any] = {cast(str, cache_argument(model)): cache}
        if "logits_to_keep" in taken(model):
            self.inputs["logits_to_keep"] = 1
        slots, device = cache.capacity.slots, cache.slot.device
        # All of it: what is seen is decided by `StaticCache.visible`. Without one, some models look
        # for padding among the tokens, which asks the device.
        self.everything = torch.ones(1, 1, dtype=torch.bool, device=device)
        self.token = torch.zeros(slots, dtype=torch.long, device=device)  # drawn last, not yet read
        self.filled = torch.ones_like(self.token)  # tokens drawn
        self.ended = torch.ones(slots, dtype=torch.bool, device=device)  # or without an answer
        self.noise = torch.zeros(slots, limit, device=device)
        self.tokens = torch.zeros(slots, limit, dtype=torch.long, device=device)
        self.logprobs = torch.zeros(slots, limit, device=device)
        self.is_stop = torch.zeros(vocabulary(model), dtype=torch.bool, device=device)
        self.most = torch.zeros((), dtype=torch.long, device=device)  # tokens of an answer, now
        self.held: dict[tuple[Any, ...], Step] = {}

    def start(self, sampling: Sampling, shape: Shape) -> None:
        """Begin anew: no slot has an answer."""
        self.sampling = sampling
        self.cache.shape = shape
        self.ended.fill_(True)
        self.most.fill_(sampling.max_tokens)
        self.is_stop.zero_()
        self.is_stop[index(sampling.stop_ids, self.token)] = True

    def enter(self, slots: Sequence[int], token: Tensor, logprob: Tensor, noise: Tensor) -> None:
        """Begin answers in slots: first tokens and their log-probs, and noise ``(n, limit)``."""
        slot = index(slots, self.token)
        self.cache.clear(slot)
        self.token[slot], self.filled[slot], self.ended[slot] = token, 1, False
        self.tokens[slot, 0], self.logprobs[slot, 0] = token, logprob
        self.noise[slot, : noise.shape[1]] = noise

    def leave(self, slots: Sequence[int]) -> None:
        """Empty slots, so that their position is one that every model has."""
        slot = index(slots, self.token)
        self.token[slot], self.filled[slot], self.ended[slot] = 0, 1, True

    def move(self, slots: dict[int, int], places: dict[int, int], shape: Shape) -> None:
        """Move answers and prompts, from old to new, and keep no more than ``shape``."""
        slot, place = (
            (index(moves.keys(), self.token), index(moves.values(), self.token))
            for moves in (slots, places)
        )
        self.cache.move(slot, place)
        for held in (
            self.token,
            self.filled,
            self.ended,
            self.noise,
            self.tokens,
            self.logprobs,
        ):
            held[slot[1]] = held[slot[0]]
        self.cache.shape = shape

    def forward(self) -> Tensor:
        """Read each slot's last token; logits of the next, ``(S, V)``."""
        cache, shape = self.cache, self.cache.shape
        filled = self.filled[: shape.slots]
        cache.written = (filled - 1).clamp(max=shape.answer - 1)
        cache.position = cache.lengths() + filled - 1
        output = self.model(
            input_ids=self.token[: shape.slots, None],
            position_ids=cache.position[:, None],
            attention_mask=self.everything.expand(shape.slots, shape.prompt + shape.answer),
            use_cache=True,
            **self.inputs,
        )
        return output.logits[:, -1]

    def step(self) -> None:
        """A token for each slot. Those that have ended stay as they are, whatever is drawn."""
        slots = slice(self.cache.shape.slots)
        logits = self.forward()
        token, filled, ended = self.token[slots], self.filled[slots], self.ended[slots]
        at = filled.clamp(max=self.limit - 1)[:, None]
        uniform = self.noise[slots].gather(1, at)[:, 0]
        drawn, logprob = draw(logits, self.sampling, uniform, in_blocks=True)
        drawn = torch.where(ended, token, drawn)
        for rows, new in ((self.tokens[slots], drawn), (self.logprobs[slots], logprob)):
            rows.scatter_(1, at, torch.where(ended[:, None], rows.gather(1, at), new[:, None]))
        filled.add_(~ended)
        token.copy_(drawn)
        ended.logical_or_(self.is_stop.index_select(0, drawn) | (filled >= self.most))

    def run(self, steps: int, capture: Callable[[Step], Step]) -> None:
        """So many steps, of which the first of this kind is captured."""
        key = self._kind()
        if key not in self.held:
            # A capture may run the step: where all have ended, it changes nothing.
            ended = self.ended.clone()
            self.ended.fill_(True)
            try:
                with attending(self.model, self.cache):
                    captured = capture(self.step)
            finally:
                self.ended.copy_(ended)
                self.cache.forget()  # what a capture made lies in its own memory
            while len(self.held) >= MOST_CAPTURED:
                del self.held[next(iter(self.held))]  # the oldest
            self.held[key] = captured
        replay = self.held[key]
        if replay != self.step:
            for _ in range(steps):
                replay()
            return
        with attending(self.model, self.cache):
            for _ in range(steps):
                replay()

    def _kind(self) -> tuple[Any, ...]:
        sampling, device = self.sampling, self.token.device.type
        precision = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
        filters = sampling.temperature, sampling.top_k, sampling.top_p
        return self.cache.shape, filters, precision

    def grow(self, answer: int) -> None:
        """Room for ``answer`` positions of each answer; what was captured is of the old tensors."""
        self.held.clear()
        self.cache.grow(answer)

    def state(self) -> list[tuple[int, bool]]:
        """Tokens drawn, and whether it has ended, of each slot."""
        slots = slice(self.cache.shape.slots)
        filled, ended = torch.stack([self.filled[slots], self.ended[slots]]).tolist()
        return list(zip(filled, map(bool, ended), strict=True))

    def answers(self, lengths: dict[int, int]) -> list[tuple[list[int], list[float], bool]]:
        """Tokens, log-probs and whether a stop ended it, of the answers in slots, by length."""
        slots, longest = index(lengths.keys(), self.token), max(lengths.values(), default=0)
        parts = (
            self.tokens[slots, :longest].tolist(),
            self.logprobs[slots, :longest].tolist(),
            self.is_stop[self.token[slots]].tolist(),
        )
        return [
            (ids[:n], logprobs[:n], stopped)
            for n, ids, logprobs, stopped in zip(lengths.values(), *parts, strict=True)
        ]


def index(numbers: Any, like: Tensor) -> Tensor:
    """Numbers as an index on the device of a tensor."""
    return torch.tensor(list(numbers), dtype=torch.long, device=like.device)

"""One rollout with static shapes: prompts are prefilled, answers enter slots, steps run, and ended
answers make room for others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor

from evenflow.rollout.embedded.capture import Step
from evenflow.rollout.embedded.decoder import PREFILLED, Decoder
from evenflow.rollout.embedded.draw import draw
from evenflow.rollout.embedded.ended import Collected, Ended, Request
from evenflow.rollout.embedded.schedule import Schedule, room_for_prompts
from evenflow.rollout.embedded.static_attention import Unsupported, attending
from evenflow.rollout.embedded.static_cache import Shape
from evenflow.rollout.embedded.static_decoder import StaticDecoder, index

CHECK_EVERY = 8
"""Steps between two looks at which answers have ended: each look waits for the device."""
TOKEN_BYTES = 16
"""Of each token: id (8), log-prob (4) and the number it is drawn by (4)."""
LEAST_SLOTS = 8
LEAST_POSITIONS = 64
"""The smallest bucket of positions."""
COMPARED = 4
"""Slots whose first step is compared with the dynamic path's, once for each model."""
AGREEMENT, ROUGH_AGREEMENT = 0.02, 0.2
"""By how many nats log-probs may differ then on the average, in float32 and in half precision. What
is computed otherwise than the model does is off by more."""
Take = Callable[[Sequence[Sequence[Tensor]], int, Shape], StaticDecoder]
"""Makes buffers for keys and values such as these, so many tokens, and that shape."""


def bucket(number: int, least: int) -> int:
    """The first of least · (1, 1½, 2, 3, 4, 6, 8, …) that is no less."""
    size = least
    while size < number:
        size *= 2
    return size * 3 // 4 if least < size and number <= size * 3 // 4 else size


def largest_shape(prompts: int, group: int, longest: int, max_tokens: int, max_batch: int) -> Shape:
    """The most that a rollout of so many prompts, the longest of so many tokens, needs at once."""
    slots = min(bucket(min(prompts * group, max_batch), LEAST_SLOTS), max_batch)
    return Shape(
        slots=slots,
        places=room_for_prompts(slots, group, prompts),
        copies=min(group, slots),
        prompt=bucket(longest, LEAST_POSITIONS),
        answer=bucket(max_tokens - 1, LEAST_POSITIONS),  # the last token is never read
    )


def cache_bytes(shape: Shape, position: int) -> int:
    """Of the keys and values of a shape, ``position`` bytes for a position of all layers; and of
    what is held of each token."""
    kept = shape.places * shape.prompt + shape.slots * shape.answer
    return kept * position + shape.slots * shape.answer * TOKEN_BYTES


class Refilled:
    """A rollout in the making; what it needs of the host is numbers, a few for each slot."""

    def __init__(self, request: Request, *, compare: bool) -> None:
        """``compare``: the first step with the dynamic path's."""
        self.model, self.prompts, self.group = request.model, request.prompts, request.group
        self.sampling, self.noise, self.pad_id = request.sampling, request.noise, request.pad_id
        self.compared = not compare
        prompts, group, limit = self.prompts, self.group, self.sampling.max_tokens
        longest = max(map(len, prompts))
        whole = largest_shape(len(prompts), group, longest, limit, request.max_batch)
        # Answers get room as they grow, so that a long limit is not paid in advance.
        self.largest = whole._replace(answer=min(whole.answer, LEAST_POSITIONS))
        self.room = whole.answer
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        self.schedule = Schedule(order, group, whole.slots, whole.places)
        self.collected = Collected(group)
        # The first one of each row.
        self.token = torch.zeros_like(self.noise[:, 0], dtype=torch.long)
        self.logprob = torch.zeros_like(self.noise[:, 0])
        self.filled = [1] * whole.slots
        self.decoder: StaticDecoder | None = None

    def groups(self, take: Take, capture: Callable[[Step], Step]) -> Iterator[Ended]:
        """All groups, each as soon as it is whole. `Unsupported` before the first step, if the
        model's logits are others than those of the dynamic path."""
        limit = self.sampling.max_tokens
        while True:
            decoder = self._admit(take)
            yield from self.collected.whole()
            if self.schedule.done:
                return
            self._narrow(decoder)
            if not self.compared:
                self._compare(decoder)
            filled = [self.filled[slot] for slot in self.schedule.live]
            steps = min(CHECK_EVERY, limit - min(filled))
            self._reach(decoder, min(max(filled) + steps - 1, limit - 1))
            decoder.run(steps, capture)
            self._end(decoder)
            yield from self.collected.whole()

    def _admit(self, take: Take) -> StaticDecoder:
        """Prefill prompts, and give free slots to their answers."""
        schedule = self.schedule
        while chosen := schedule.next_prompts():
            most = max(1, PREFILLED // max(len(self.prompts[i]) for i in chosen))
            for start in range(0, len(chosen), most):
                self._prefill(chosen[start : start + most], take)
        decoder = cast(StaticDecoder, self.decoder)
        entered = schedule.enter()
        if entered:
            rows = index([cast(int, schedule.row[slot]) for slot in entered], self.token)
            decoder.enter(entered, self.token[rows], self.logprob[rows], self.noise[rows])
            for slot in entered:
                self.filled[slot] = 1
            self._arrange(decoder)
        return decoder

    def _prefill(self, chosen: list[int], take: Take) -> None:
        """Hold the keys and values of prompts, and draw the first token of all their answers."""
        prompts = [self.prompts[i] for i in chosen]
        prefill = Decoder(self.model, prompts, 1, 1, self.pad_id)
        logits = prefill.prefill()
        states = [layer.prefix for layer in prefill.cache.held]
        if self.decoder is None:
            self.decoder = take(states, self.sampling.max_tokens, self.largest)
            self.decoder.start(self.sampling, self.largest)
        places = [self.schedule.place[i] for i in chosen]
        self.decoder.cache.put(
            index(places, self.token), states, index(map(len, prompts), self.token)
        )
        rows = [i * self.group + g for i in chosen for g in range(self.group)]
        row = index(rows, self.token)
        token, logprob = draw(
            logits.repeat_interleave(self.group, dim=0), self.sampling, self.noise[row, 0]
        )
        self.token[row], self.logprob[row] = token, logprob
        stopped = self.decoder.is_stop[token].tolist()
        over = [i for i, stop in enumerate(stopped) if stop or self.sampling.max_tokens == 1]
        if over:
            tokens, logprobs = token.tolist(), logprob.tolist()
            for i in over:
                self.collected.add(rows[i], [tokens[i]], [logprobs[i]], stopped[i])
            self.schedule.end(rows[i] for i in over)

    def _arrange(self, decoder: StaticDecoder) -> None:
        schedule, shape = self.schedule, decoder.cache.shape
        prompt, copy = [0] * shape.slots, [0] * shape.slots
        for slot in schedule.live:
            number, copy[slot] = divmod(cast(int, schedule.row[slot]), self.group)
            prompt[slot] = schedule.place[number]
            if shape.copies < self.group:  # then not all answers of a group are there at once
                copy[slot] = slot
        decoder.cache.arrange(prompt, copy, schedule.live)

    def _narrow(self, decoder: StaticDecoder) -> None:
        """Decode fewer slots, once few answers are left."""
        while (moves := self.schedule.narrow()) is not None:
            slots, places = moves
            for old, new in slots.items():
                self.filled[new] = self.filled[old]
            schedule, shape = self.schedule, decoder.cache.shape
            smaller = shape._replace(slots=len(schedule.row), places=len(schedule.prompt))
            decoder.move(slots, places, smaller)
            self._arrange(decoder)

    def _reach(self, decoder: StaticDecoder, positions: int) -> None:
        """Make the step read and write so many positions of each answer, or a few more."""
        answer, capacity = bucket(positions, LEAST_POSITIONS), decoder.cache.capacity.answer
        if answer > capacity:
            decoder.grow(max(answer, min(2 * capacity, self.room)))
        decoder.cache.shape = decoder.cache.shape._replace(answer=answer)

    def _end(self, decoder: StaticDecoder) -> None:
        """Collect the answers that have ended, and empty their slots."""
        state = decoder.state()
        over = {}
        for slot in self.schedule.live:
            self.filled[slot], ended = state[slot]
            if ended:
                over[slot] = self.filled[slot]
        if not over:
            return
        rows = [cast(int, self.schedule.row[slot]) for slot in over]
        for row, answer in zip(rows, decoder.answers(over), strict=True):
            self.collected.add(row, *answer)
        self.schedule.end(rows)
        decoder.leave(list(over))

    def _compare(self, decoder: StaticDecoder) -> None:
        """Hold the first step's log-probs against the dynamic path's."""
        slots = self.schedule.live[:COMPARED]
        prompts = [self.prompts[cast(int, self.schedule.row[slot]) // self.group] for slot in slots]
        with attending(self.model, decoder.cache):
            ours = decoder.forward()[slots]
        dynamic = Decoder(self.model, prompts, 1, 2, self.pad_id)
        dynamic.prefill()
        found = dynamic.append(index(range(len(slots)), self.token), decoder.token[slots])
        theirs = dynamic.step()[found]
        device = self.noise.device.type
        precision = torch.float32 if theirs.dtype == torch.float64 else theirs.dtype
        if torch.is_autocast_enabled(device):
            precision = torch.get_autocast_dtype(device)
        allowed = AGREEMENT if precision == torch.float32 else ROUGH_AGREEMENT
        gap = (ours.float().log_softmax(-1) - theirs.float().log_softmax(-1)).abs().mean().item()
        if gap > allowed:
            raise Unsupported(f"computes other log-probs in it, by {gap:.2g} nats on the average")
        self.compared = True

"""Which answer each slot decodes: ended ones are followed by waiting ones at once.

An answer is a row: answer g to prompt i is row ``i · group + g``. A prompt has a place of its own
from its prefill until the last of its answers has ended. It is prefilled before there are slots for
all of its answers: these then wait for a slot one by one, and no slot waits for a whole group.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence

AHEAD = 8
"""Prompts prefilled together, at the least, where there are places: a prefill costs several steps,
and hardly more for eight prompts than for one."""
FEWEST = 8
"""Slots that are always kept."""


def room_for_prompts(slots: int, group: int, prompts: int) -> int:
    """Places for prompts, so that slots hardly ever wait for one: twice as many as whole groups
    fit the slots, because of some groups few answers are left, and those that wait."""
    return min(prompts, slots + AHEAD, 2 * math.ceil(slots / group) + AHEAD)


class Schedule:
    """The rows in ``slots`` slots and the prompts in ``places`` places."""

    def __init__(self, order: Sequence[int], group: int, slots: int, places: int) -> None:
        """``order``: the prompts, in the order in which they are prefilled."""
        self.group = group
        self.waiting = deque(order)
        self.ready: deque[int] = deque()
        """Rows whose prompt is prefilled, without a slot."""
        self.row: list[int | None] = [None] * slots
        """The row in each slot."""
        self.prompt: list[int | None] = [None] * places
        """The prompt in each place."""
        self.place: dict[int, int] = {}
        """The place of each prompt that has one."""
        self.unended = dict.fromkeys(order, group)

    @property
    def live(self) -> list[int]:
        """The slots that hold an answer."""
        return [slot for slot, row in enumerate(self.row) if row is not None]

    @property
    def done(self) -> bool:
        """Whether nothing is left to decode."""
        return not (self.waiting or self.ready or any(row is not None for row in self.row))

    def next_prompts(self) -> list[int]:
        """Prompts to be prefilled now, each with its place; none while all slots are cared for."""
        free = self.row.count(None) - len(self.ready)
        places = [place for place, prompt in enumerate(self.prompt) if prompt is None]
        if free <= 0 or not self.waiting or not places:
            return []
        wanted = max(AHEAD, math.ceil(free / self.group))
        chosen = [
            self.waiting.popleft() for _ in range(min(wanted, len(places), len(self.waiting)))
        ]
        for place, prompt in zip(places, chosen, strict=False):
            self.prompt[place], self.place[prompt] = prompt, place
            self.ready.extend(range(prompt * self.group, (prompt + 1) * self.group))
        return chosen

    def enter(self) -> list[int]:
        """Give free slots to ready rows; the slots that were given."""
        free = [slot for slot, row in enumerate(self.row) if row is None]
        given = free[: len(self.ready)]
        for slot in given:
            self.row[slot] = self.ready.popleft()
        return given

    def end(self, rows: Iterable[int]) -> None:
        """Forget rows that have ended, in a slot or ready, and prompts without an answer left."""
        ended = set(rows)
        self.row = [None if row in ended else row for row in self.row]
        self.ready = deque(row for row in self.ready if row not in ended)
        for row in ended:
            prompt = row // self.group
            self.unended[prompt] -= 1
            if not self.unended[prompt]:
                self.prompt[self.place.pop(prompt)] = None

    def narrow(self) -> tuple[dict[int, int], dict[int, int]] | None:
        """Once nothing waits and no more than half of the slots are held, move what is held to the
        front, and keep half as many slots: the moves of slots and of places, each from old to new;
        None: not yet. Few slots are kept, because a step hardly gets shorter below them."""
        half = len(self.row) // 2
        if self.waiting or self.ready or half < FEWEST or len(self.live) > half:
            return None
        places = min(half, len(self.prompt))  # enough, even if each answer has its own prompt
        moves, self.row = _to_front(self.row, half)
        place_moves, self.prompt = _to_front(self.prompt, places)
        self.place = {prompt: i for i, prompt in enumerate(self.prompt) if prompt is not None}
        return moves, place_moves


def _to_front(items: list[int | None], size: int) -> tuple[dict[int, int], list[int | None]]:
    """The first ``size`` items, with those from beyond in the gaps, and the moves of these."""
    gaps = (index for index in range(size) if items[index] is None)
    moves = {old: next(gaps) for old in range(size, len(items)) if items[old] is not None}
    kept = items[:size]
    for old, new in moves.items():
        kept[new] = items[old]
    return moves, kept

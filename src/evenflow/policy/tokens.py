"""Questions and answers as padded token tensors, and how they are cut into micro-batches."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T", bound=Hashable)

KEPT_SHARE = 8
"""Keys and values that an answer holds of its shared prompt, in memory a token's share of what
learning holds of one: an eighth."""


@dataclass(frozen=True)
class Tokens:
    """B answers, each behind its prompt, as U rows padded on the right: equal ones are one row.

    Padding on the right needs no attention mask under causal attention (nothing real ever looks
    at it), so the fast path of the attention kernel applies and padding cannot change a result.
    """

    ids: Tensor  # (U, S) int64
    prompt_lengths: Tensor  # (U,) int64
    answer_lengths: Tensor  # (U,) int64
    rows: Tensor  # (B,) int64: the row that holds each answer
    prompts: Tensor  # (U,) int64: which of the P different prompts each row begins with
    firsts: Tensor  # (P,) int64: a row that begins with each prompt
    width: int  # T: the number of columns that per-token results are padded to

    @property
    def answer_mask(self) -> Tensor:
        """(U, T) True on the answer's tokens, end token included."""
        columns = torch.arange(self.width, device=self.ids.device)
        return columns < self.answer_lengths[:, None]

    @property
    def token_mask(self) -> Tensor:
        """(U, A) the same, A the longest answer."""
        columns = torch.arange(int(self.answer_lengths.max()), device=self.ids.device)
        return columns < self.answer_lengths[:, None]

    @property
    def answers(self) -> Tensor:
        """(U, A) the answers' ids, anything on padding."""
        columns = torch.arange(int(self.answer_lengths.max()), device=self.ids.device)
        return self.ids.gather(1, self._placed(columns))

    @property
    def predictors(self) -> Tensor:
        """(U, A) the place in its row of what stands before each token of the answer."""
        columns = torch.arange(int(self.answer_lengths.max()), device=self.ids.device)
        return self._placed(columns - 1)

    def _placed(self, columns: Tensor) -> Tensor:
        places = self.prompt_lengths[:, None] + columns
        return places.clamp(max=self.ids.shape[1] - 1)

    @property
    def prompt_mask(self) -> Tensor:
        """(P, L) True on the prompt's tokens, L the longest."""
        lengths = self.prompt_lengths[self.firsts]
        return torch.arange(int(lengths.max()), device=self.ids.device) < lengths[:, None]


def collate(
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    *,
    width: int | None = None,
    device: torch.device | str = "cpu",
) -> Tokens:
    """Pad prompts with their answers. Raises ValueError for an empty prompt or answer."""
    if not all(map(len, prompts)) or not all(map(len, answers)):
        raise ValueError("every prompt and every answer needs at least one token")
    pairs, rows = numbered([(tuple(p), tuple(a)) for p, a in zip(prompts, answers, strict=True)])
    different, numbers = numbered([prompt for prompt, _ in pairs])
    longest = max(len(prompt) + len(answer) for prompt, answer in pairs)

    def tensor(values: Sequence) -> Tensor:
        return torch.tensor(values, device=device)

    return Tokens(
        ids=tensor([[*p, *a, *[0] * (longest - len(p) - len(a))] for p, a in pairs]),
        prompt_lengths=tensor([len(prompt) for prompt, _ in pairs]),
        answer_lengths=tensor([len(answer) for _, answer in pairs]),
        rows=tensor(rows),
        prompts=tensor(numbers),
        firsts=tensor([numbers.index(number) for number in range(len(different))]),
        width=width if width is not None else max(map(len, answers)),
    )


def numbered(items: Sequence[T]) -> tuple[list[T], list[int]]:
    """The different items in the order of their first places, and the number of each item."""
    numbers: dict[T, int] = {}
    found = [numbers.setdefault(item, len(numbers)) for item in items]
    return list(numbers), found


def micro_batches(
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    budget: int,
    *,
    shared: bool = False,
) -> list[list[int]]:
    """Places of answers in batches of like length, of which none has more than `budget` tokens,
    padding included; equal answers to a prompt, which count once, stay together. A row longer than
    the budget is a batch of its own.

    The longest come first, so that memory peaks at once and little is padded. `shared`: prompts are
    read once a batch. Then keeping a group together may save more than keeping like lengths
    together: the order with fewer tokens is taken.
    """
    pairs, rows = numbered([(tuple(p), tuple(a)) for p, a in zip(prompts, answers, strict=True)])
    holders: list[list[int]] = [[] for _ in pairs]
    for place, row in enumerate(rows):
        holders[row].append(place)
    lengths = [(len(prompt), len(answer)) for prompt, answer in pairs]
    _, groups = numbered([prompt for prompt, _ in pairs])
    longest: dict[int, int] = {}
    for group, (_, answer) in zip(groups, lengths, strict=True):
        longest[group] = max(longest.get(group, 0), answer)
    everyone = range(len(pairs))
    orders = [sorted(everyone, key=lambda i: -sum(lengths[i]))]
    if shared:
        orders.append(
            sorted(everyone, key=lambda i: (-longest[groups[i]], groups[i], -lengths[i][1]))
        )
    packed = [_packed(order, lengths, groups, budget, shared=shared) for order in orders]
    batches = min(packed, key=lambda found: sum(batch.cost for batch in found))
    return [[place for row in batch.rows for place in holders[row]] for batch in batches]


@dataclass(frozen=True)
class _Batch:
    """Rows, and how many tokens they are, padding included."""

    rows: list[int]
    groups: set[int]
    longest: tuple[int, int, int] = (0, 0, 0)
    """Of a prompt, of an answer, of both together."""
    cost: int = 0

    def grown(self, group: int, prompt: int, answer: int, *, shared: bool) -> _Batch:
        """With room for a row more: it shares the lists, to which the row is yet to be added."""
        longest = (
            max(self.longest[0], prompt),
            max(self.longest[1], answer),
            max(self.longest[2], prompt + answer),
        )
        count, different = len(self.rows) + 1, len(self.groups) + (group not in self.groups)
        cost = count * longest[2]
        if shared:
            cost = different * longest[0] + count * (longest[1] + longest[0] // KEPT_SHARE)
        return _Batch(self.rows, self.groups, longest, cost)


def _packed(
    order: list[int],
    lengths: list[tuple[int, int]],
    groups: list[int],
    budget: int,
    *,
    shared: bool,
) -> list[_Batch]:
    """Rows filled into batches in this order."""
    batches = [_Batch([], set())]
    for row in order:
        grown = batches[-1].grown(groups[row], *lengths[row], shared=shared)
        if grown.cost > budget and grown.rows:
            batches.append(_Batch([], set()))
            grown = batches[-1].grown(groups[row], *lengths[row], shared=shared)
        batches[-1] = grown
        grown.rows.append(row)
        grown.groups.add(groups[row])
    return batches

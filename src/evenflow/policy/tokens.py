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
    def targets(self) -> Tensor:
        """(M,) the answers' tokens, one answer after the other."""
        rows, columns = self.answer_mask.nonzero(as_tuple=True)
        return self.ids[rows, self.prompt_lengths[rows] + columns]

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
    """Places of answers in batches of no more than `budget` tokens; equal answers to a prompt, of
    which one is read, stay together. A row longer than the budget is a batch of its own.

    The longest come first, so that memory peaks at once; in batches of like length, so that little
    is padded. `shared`: each prompt is read once a batch, and answers are not padded; then the
    answers to a prompt stay together.
    """
    pairs, rows = numbered([(tuple(p), tuple(a)) for p, a in zip(prompts, answers, strict=True)])
    _, groups = numbered([prompt for prompt, _ in pairs])
    lengths = [len(prompt) + len(answer) for prompt, answer in pairs]
    longest: dict[int, int] = {}
    for group, length in zip(groups, lengths, strict=True):
        longest[group] = max(longest.get(group, 0), length)

    def place(row: int) -> tuple[int, ...]:
        together = (-longest[groups[row]], groups[row]) if shared else ()
        return (*together, -lengths[row])

    batches: list[list[int]] = []
    filled = _Filled()
    for row in sorted(range(len(pairs)), key=place):
        prompt, answer = map(len, pairs[row])
        filled = filled.after(groups[row], prompt, answer)
        if not batches or (filled.shared if shared else filled.padded) > budget:
            batches.append([])
            filled = _Filled().after(groups[row], prompt, answer)
        batches[-1].append(row)
    holders: list[list[int]] = [[] for _ in pairs]
    for answer, row in enumerate(rows):
        holders[row].append(answer)
    return [[answer for row in batch for answer in holders[row]] for batch in batches]


@dataclass(frozen=True)
class _Filled:
    """What of a batch decides how many tokens it is."""

    rows: int = 0
    longest: int = 0
    prompts: int = 0
    longest_prompt: int = 0
    answers: int = 0  # tokens, and of each answer's prompt what is held for it
    group: int = -1

    @property
    def padded(self) -> int:
        return self.rows * self.longest

    @property
    def shared(self) -> int:
        return self.prompts * self.longest_prompt + self.answers

    def after(self, group: int, prompt: int, answer: int) -> _Filled:
        """With one row more; those of a group follow each other."""
        return _Filled(
            rows=self.rows + 1,
            longest=max(self.longest, prompt + answer),
            prompts=self.prompts + (group != self.group),
            longest_prompt=max(self.longest_prompt, prompt),
            answers=self.answers + answer + prompt // KEPT_SHARE,
            group=group,
        )

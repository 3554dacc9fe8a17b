"""Questions and answers as padded token tensors, and how they are cut into micro-batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tokens:
    """B prompts, each followed by its answer, padded on the right.

    Padding on the right needs no attention mask under causal attention (nothing real ever looks
    at it), so the fast path of the attention kernel applies and padding cannot change a result.
    """

    ids: Tensor  # (B, S) int64
    prompt_lengths: Tensor  # (B,) int64
    answer_lengths: Tensor  # (B,) int64
    width: int  # T: the number of columns that per-token results are padded to

    @property
    def answer_mask(self) -> Tensor:
        """(B, T) True on the answer's tokens, end token included."""
        columns = torch.arange(self.width, device=self.ids.device)
        return columns < self.answer_lengths[:, None]

    @property
    def prompt_mask(self) -> Tensor:
        """(B, S) True on the prompt's tokens."""
        columns = torch.arange(self.ids.shape[1], device=self.ids.device)
        return columns < self.prompt_lengths[:, None]


def collate(
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    *,
    width: int | None = None,
    device: torch.device | str = "cpu",
) -> Tokens:
    """Pad prompts with their answers. Raises ValueError for an empty prompt or answer."""
    rows = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
    if not all(map(len, prompts)) or not all(map(len, answers)):
        raise ValueError("every prompt and every answer needs at least one token")
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=device)
    return Tokens(
        ids=ids,
        prompt_lengths=torch.tensor([len(prompt) for prompt in prompts], device=device),
        answer_lengths=torch.tensor([len(answer) for answer in answers], device=device),
        width=width if width is not None else max(map(len, answers)),
    )


def micro_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Row indices in batches of like length whose padded size stays within `budget` tokens.

    Sorted by length, longest first, so that memory peaks at once and little is padded. A row
    longer than the budget is a batch of its own.
    """
    batches: list[list[int]] = []
    capacity = 0
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if not batches or len(batches[-1]) >= capacity:
            batches.append([])
            capacity = max(1, budget // lengths[index])
        batches[-1].append(index)
    return batches

"""What sampling is asked for and what it gives: the answers to a prompt, once all have ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from evenflow.rollout.sampling import Sampling


@dataclass(frozen=True)
class Request:
    """Answers to be sampled, `group` to each prompt; see `generate`."""

    model: Any
    prompts: Sequence[Sequence[int]]
    group: int
    sampling: Sampling
    noise: Tensor
    """`noise_of`."""
    pad_id: int
    max_batch: int


@dataclass(frozen=True)
class Ended:
    """The answers to one prompt, all ended or cut off."""

    prompt: int
    """Which of the prompts."""
    answers: list[list[int]]
    """(G,) token ids; the stop token is part of the answer."""
    logprobs: list[list[float]]
    """(G,) float32, nats, of each token under the distribution that it was drawn from (see
    `draw`)."""
    finished: list[bool]
    """(G,) True if a stop token ended the answer, false if it was cut off."""


class Collected:
    """Answers as they end, row by row, until a group is whole."""

    def __init__(self, group: int) -> None:
        self.group = group
        self.rows: dict[int, dict[int, tuple[list[int], list[float], bool]]] = {}

    def add(self, row: int, answer: list[int], logprobs: list[float], finished: bool) -> None:
        """The answer of a row, ``prompt · group + number``."""
        prompt, number = divmod(row, self.group)
        self.rows.setdefault(prompt, {})[number] = answer, logprobs, finished

    def whole(self) -> list[Ended]:
        """The groups that have become whole, which are forgotten here."""
        prompts = [prompt for prompt, rows in self.rows.items() if len(rows) == self.group]
        groups = [(prompt, self.rows.pop(prompt)) for prompt in prompts]
        return [
            Ended(
                prompt, *(list(part) for part in zip(*(rows[g] for g in sorted(rows)), strict=True))
            )
            for prompt, rows in groups
        ]


def noise_of(
    seed: int | Sequence[int], prompts: int, copies: int, limit: int, device: torch.device
) -> Tensor:
    """The numbers by which tokens are drawn, uniform, ``(prompts · copies, limit)``: one stream for
    all, or one a prompt."""
    seeds = [seed] if isinstance(seed, int) else seed
    rows = prompts * copies // len(seeds)
    streams = (torch.Generator(device).manual_seed(each) for each in seeds)
    return torch.cat(
        [
            torch.rand(rows, limit, generator=stream, dtype=torch.float32, device=device)
            for stream in streams
        ]
    )

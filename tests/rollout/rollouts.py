"""What `generate` yields, as tensors."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from evenflow.rollout.embedded.generate import Ended, generate


class Rollout(NamedTuple):
    """N = prompts × generations rows, prompt by prompt; T tokens, those of the longest."""

    tokens: Tensor  # (N, T)
    logprobs: Tensor  # (N, T)
    mask: Tensor  # (N, T)
    finished: Tensor  # (N,)


def rollout(*arguments: Any, **options: Any) -> Rollout:
    """All answers, in the prompts' order."""
    return together(list(generate(*arguments, **options)))


def together(groups: list[Ended]) -> Rollout:
    groups = sorted(groups, key=lambda group: group.prompt)
    rows = [row for group in groups for row in group.answers]
    lengths = torch.tensor([len(row) for row in rows])
    logprobs = [torch.tensor(row) for group in groups for row in group.logprobs]
    return Rollout(
        pad_sequence([torch.tensor(row) for row in rows], batch_first=True),
        pad_sequence(logprobs, batch_first=True),
        torch.arange(int(lengths.max())) < lengths[:, None],
        torch.tensor([ended for group in groups for ended in group.finished]),
    )

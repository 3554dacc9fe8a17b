"""The learned log Zφ(x) of the balance family."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn


class HeadChoices(Protocol):
    """What may be chosen of the head."""

    @property
    def layers(self) -> int:
        """Linear layers of the MLP."""
        ...

    @property
    def dropout(self) -> float:
        """Between them."""
        ...

    @property
    def pooling(self) -> str:
        """What is read of the prompt: the `mean` of its states, the `last` one (`separator`: the
        same, of a token put there for it), or their `max`."""
        ...

    @property
    def drop_last_token(self) -> bool:
        """Leave the prompt's last token out of the pooling."""
        ...

    @property
    def trunk_gradient(self) -> bool:
        """Let the head's gradient into the trunk."""
        ...


def regressor(hidden_size: int, layers: int, dropout: float = 0.0) -> nn.Sequential:
    """An MLP (…, H) → (…, 1) of `layers` linear layers that is 0 at first."""
    blocks: list[nn.Module] = []
    for _ in range(layers - 1):
        blocks += [
            nn.Linear(hidden_size, hidden_size),
            nn.GELU(),
            nn.LayerNorm(hidden_size),
            nn.Dropout(dropout),
        ]
    last = nn.Linear(hidden_size, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*blocks, last)


class PartitionHead(nn.Module):
    """log Zφ(x): an MLP on the pooled last-layer hidden states of the prompt (FlowRL, §3.1).

    The last layer starts at zero, so log Zφ ≡ 0 at first: the true value while the policy is the
    reference and rewards are group-normalised. Computed in float32.

    Shapes: hidden (B, S, H), mask (B, S) of the prompt's tokens → (B,), in nats.
    """

    def __init__(self, hidden_size: int, choices: HeadChoices) -> None:
        super().__init__()
        self.choices = choices
        self.mlp = regressor(hidden_size, choices.layers, choices.dropout)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        with torch.autocast(hidden.device.type, enabled=False):
            return self.mlp(self.pooled(hidden, mask))[:, 0]

    def of_answers(self, hidden: Tensor, mask: Tensor, prompts: Tensor) -> Tensor:
        """(B,) of answers whose prompts have these numbers, (B,). Dropout draws for each answer, as
        where every one is read with a prompt of its own."""
        if not (self.training and self.choices.dropout):
            return self(hidden, mask)[prompts]
        with torch.autocast(hidden.device.type, enabled=False):
            return self.mlp(self.pooled(hidden, mask)[prompts])[:, 0]

    def pooled(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """(B, S, H) → (B, H) in float32, with a gradient into the trunk or without."""
        hidden = hidden if self.choices.trunk_gradient else hidden.detach()
        return self.pool(hidden.float(), mask)

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """(B, S, H) → (B, H). The separator, where there is one, is the prompt's last token."""
        length = mask.sum(1)  # (B,)
        if self.choices.drop_last_token:
            length = (length - 1).clamp(min=1)
            mask = torch.arange(mask.shape[1], device=mask.device) < length[:, None]
        if self.choices.pooling == "mean":
            return (hidden * mask[..., None]).sum(1) / length[:, None]
        if self.choices.pooling == "max":
            return hidden.masked_fill(~mask[..., None], -torch.inf).amax(1)
        return hidden[torch.arange(len(hidden), device=hidden.device), length - 1]

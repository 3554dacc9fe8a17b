"""Heads on hidden states: log Zφ(x) from the prompt's, the critic's value from each token's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from evenflow.config import CriticConfig, HeadConfig


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

    def __init__(self, hidden_size: int, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        self.mlp = regressor(hidden_size, config.layers, config.dropout)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        if not self.config.trunk_gradient:
            hidden = hidden.detach()
        with torch.autocast(hidden.device.type, enabled=False):
            return self.mlp(self.pool(hidden.float(), mask))[:, 0]

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """(B, S, H) → (B, H). The separator, where there is one, is the prompt's last token."""
        length = mask.sum(1)  # (B,)
        if self.config.drop_last_token:
            length = (length - 1).clamp(min=1)
            mask = torch.arange(mask.shape[1], device=mask.device) < length[:, None]
        if self.config.pooling == "mean":
            return (hidden * mask[..., None]).sum(1) / length[:, None]
        if self.config.pooling == "max":
            return hidden.masked_fill(~mask[..., None], -torch.inf).amax(1)
        return hidden[torch.arange(len(hidden), device=hidden.device), length - 1]


class Critic(nn.Module):
    """V(x, y_<t): the reward expected of an answer that begins so (PPO, arXiv 1707.06347).

    An MLP on the hidden state that predicts token t, of the policy's own trunk, without gradient
    into it, or of a second one, without an output layer, that is the critic's own. Starts at V ≡ 0.
    Computed in float32.

    Shapes: the states of M tokens (M, H) → (M,), in units of reward.
    """

    def __init__(
        self, hidden_size: int, config: CriticConfig, trunk: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.mlp = regressor(hidden_size, config.layers)

    def forward(self, states: Tensor) -> Tensor:
        if self.trunk is None:
            states = states.detach()
        with torch.autocast(states.device.type, enabled=False):
            return self.mlp(states.float())[:, 0]

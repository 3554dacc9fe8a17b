"""The partition head: log Zφ(x) from the prompt's hidden states."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowbalance.config import HeadConfig


class PartitionHead(nn.Module):
    """log Zφ(x): an MLP on the pooled last-layer hidden states of the prompt (FlowRL, §3.1).

    The last layer starts at zero, so log Zφ ≡ 0 at first: the true value while the policy is the
    reference and rewards are group-normalised. Computed in float32.

    Shapes: hidden (B, S, H), mask (B, S) of the prompt's tokens → (B,), in nats.
    """

    def __init__(self, hidden_size: int, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        blocks: list[nn.Module] = []
        for _ in range(config.layers - 1):
            blocks += [
                nn.Linear(hidden_size, hidden_size),
                nn.GELU(),
                nn.LayerNorm(hidden_size),
                nn.Dropout(config.dropout),
            ]
        last = nn.Linear(hidden_size, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.mlp = nn.Sequential(*blocks, last)

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

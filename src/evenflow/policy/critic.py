"""The critic: a value from each token's hidden state."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from evenflow.config import CriticConfig
from evenflow.objectives.partition import regressor


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

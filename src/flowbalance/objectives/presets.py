"""Published methods as rows of choices. A new method is a new row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flowbalance.objectives.choices import Balance, Surrogate


@dataclass(frozen=True)
class Preset:
    """An objective, what else the method brings, and where it is written down."""

    objective: Balance | Surrogate
    source: str
    settings: Mapping[str, object] = field(default_factory=dict)
    """Defaults of the recipe, by dotted key."""


FLOWRL = Balance()

OFFICIAL_HEAD: Mapping[str, object] = {
    "head.dropout": 0.1,
    "head.learning_rate": None,
    "head.trunk_gradient": True,
    "head.pooling": "mean",
    "head.drop_last_token": True,
}
"""The head of the official code: dropout, the policy's own learning rate, a gradient into the
policy, the mean over the prompt without its last token."""

TRAJECTORY_BALANCE = {
    "scale": "sum",
    "reward": "raw",
    "importance": "none",
    "truncation": "none",
    "inverse_temperature": 20.0,
}
"""β = 1 / KL coefficient; 20 is a coefficient of 0.05."""

PRESETS: dict[str, Preset] = {
    "flowrl": Preset(
        FLOWRL,
        "FlowRL, arXiv 2509.15207: sequence weight within 1 ± 0.2, β 15",
    ),
    "flowrl-official": Preset(
        Balance(truncation="none"),
        "github.com/Xuekai-Zhu/FlowRL, first code: the clipped weight is computed and not used",
        OFFICIAL_HEAD,
    ),
    "flowrl-official-2": Preset(
        Balance(truncation="upper", cap=10.0),
        "github.com/Xuekai-Zhu/FlowRL, later code: the weight is at most 10",
        OFFICIAL_HEAD,
    ),
    "tba": Preset(
        Balance(log_z="group", **TRAJECTORY_BALANCE),
        "Trajectory Balance with Asynchrony, arXiv 2503.18929",
    ),
    "rtb": Preset(
        Balance(log_z="head", **TRAJECTORY_BALANCE),
        "Relative Trajectory Balance, arXiv 2405.20971",
    ),
    "grpo": Preset(
        Surrogate(kl_coefficient=0.04),
        "GRPO, DeepSeekMath, arXiv 2402.03300, eq. 3: KL coefficient 0.04, k3",
    ),
}

"""Objectives: tensors in, (loss, metrics) out. No model, no files, no configuration of a run.

Two families share one interface. `Balance` regresses the policy onto the reward's distribution
(FlowRL and trajectory balance); `Surrogate` maximises reward with a clipped ratio (GRPO). Each
batch of whole groups goes through `prepare`, each mini-batch through `estimate` and `total`, each
micro-batch through `loss`. `balance_loss` and `surrogate_loss` are the same in one call.
"""

from evenflow.objectives.answers import Answers
from evenflow.objectives.choices import (
    Balance,
    Needs,
    Surrogate,
    effective_inverse_temperature,
)
from evenflow.objectives.functional import balance_loss, surrogate_loss
from evenflow.objectives.log_z import RunningLogZ, offline_log_z
from evenflow.objectives.presets import PRESETS, Preset
from evenflow.objectives.rewards import normalise_rewards

__all__ = [
    "PRESETS",
    "Answers",
    "Balance",
    "Needs",
    "Preset",
    "RunningLogZ",
    "Surrogate",
    "balance_loss",
    "effective_inverse_temperature",
    "normalise_rewards",
    "offline_log_z",
    "surrogate_loss",
]

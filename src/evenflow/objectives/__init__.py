"""Objectives: tensors in, (loss, metrics) out. No language model, no files, no configuration.

An `Objective` is what the trainer asks of a method. Two families are built in: `Balance` regresses
the policy onto the reward's distribution (FlowRL and trajectory balance); `Surrogate` maximises
reward with a clipped ratio (GRPO). `balance_loss` and `surrogate_loss` are the same in one call.
"""

from evenflow.objectives.answers import Answers
from evenflow.objectives.balance import Balance, effective_inverse_temperature
from evenflow.objectives.correction import Correction
from evenflow.objectives.functional import balance_loss, surrogate_loss
from evenflow.objectives.groups import normalise_rewards
from evenflow.objectives.log_z import RunningLogZ, offline_log_z
from evenflow.objectives.objective import Choices, Memory, Needs, Objective, Scores, Setting
from evenflow.objectives.partition import PartitionHead
from evenflow.objectives.presets import PRESETS, Preset, preset
from evenflow.objectives.surrogate import Surrogate

__all__ = [
    "PRESETS",
    "Answers",
    "Balance",
    "Choices",
    "Correction",
    "Memory",
    "Needs",
    "Objective",
    "PartitionHead",
    "Preset",
    "RunningLogZ",
    "Scores",
    "Setting",
    "Surrogate",
    "balance_loss",
    "effective_inverse_temperature",
    "normalise_rewards",
    "offline_log_z",
    "preset",
    "surrogate_loss",
]

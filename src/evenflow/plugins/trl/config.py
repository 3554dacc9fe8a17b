"""What is chosen: GRPOConfig's fields, but for those of its losses, and an objective."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from trl import GRPOConfig  # pyright: ignore[reportMissingImports]

from evenflow.errors import UserError
from evenflow.objectives import Balance, Setting
from evenflow.plugins.choices import Head, choose

LOG_Z = ("head", "group", "leave-one-out", "running", "none")
"""An offline log Z would ask for answers of the reference, which TRL does not sample; a log flow at
every token for a critic beside it."""

INSTEAD = {
    "beta": "the reference is a prior, not a penalty: set objective.reference_weight and "
    "objective.inverse_temperature, which is 1 / KL coefficient",
    "epsilon": "set objective.epsilon with objective.truncation: symmetric",
    "epsilon_high": "set objective.cap with objective.truncation: upper",
    "importance_sampling_level": "set objective.importance",
    "loss_type": "set preset",
    "scale_rewards": "set objective.reward",
    "multi_objective_aggregation": "rewards are summed, then normalised by objective.reward",
}
"""Fields of GRPOConfig that the loss has under another name."""
UNREAD = (
    "delta",
    "sapo_temperature_neg",
    "sapo_temperature_pos",
    "vespo_k_pos",
    "vespo_lambda_pos",
    "vespo_k_neg",
    "vespo_lambda_neg",
    "top_entropy_quantile",
    "entropy_coef",
    "use_adaptive_entropy",
    "off_policy_mask_threshold",
    "use_bias_correction_kl",
)
"""Fields of GRPOConfig that the loss has no counterpart of."""


@dataclass
class FlowRLConfig(GRPOConfig):
    """GRPOConfig with an objective of the balance family in place of its losses.

    UserError for what cannot be, and for a field of another loss that was set.
    """

    _VALID_DICT_FIELDS: ClassVar = [*GRPOConfig._VALID_DICT_FIELDS, "objective", "head"]

    preset: str = field(
        default="flowrl",
        metadata={"help": "Method of the balance family: flowrl, tba, rtb, …"},
    )
    objective: dict[str, Any] | str | None = field(
        default=None,
        metadata={"help": "Changes to the preset's objective, by field; a JSON string works too."},
    )
    head: dict[str, Any] | str | None = field(
        default=None,
        metadata={"help": "Changes to the head of a learned log Z; a JSON string works too."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for unit in fields(GRPOConfig):
            name = unit.name
            if name in (*INSTEAD, *UNREAD) and getattr(self, name) != unit.default:
                why = INSTEAD.get(name, "the balance family has no such term")
                raise UserError(f"{name}: not a field of this loss; leave it out: {why}")
        choices, _ = self.chosen()
        if choices.needs.head and self.fp16:
            raise UserError(
                "fp16: its scaled gradients would reach the head of log Z as they are; use bf16, "
                "or objective.log_z: group"
            )
        level = self.vllm_importance_sampling_mode.partition("_")[0]
        if self.use_vllm and self.vllm_importance_sampling_correction and level == "token":
            raise UserError(
                "vllm_importance_sampling_mode: the loss has one weight an answer; use "
                "sequence_mask or sequence_truncate"
            )

    def chosen(self) -> tuple[Balance, Head]:
        """The objective, and the head that it has where log Z is learned."""
        objective = as_changes("objective", self.objective)
        head = as_changes("head", self.head)
        setting = Setting(
            single_step=self.gradient_accumulation_steps
            % (self.steps_per_generation * self.num_iterations)
            == 0,
            num_generations=self.num_generations,
            longest=self.max_completion_length,
            right=objective.get("right_reward", 1.0),
        )
        return choose(self.preset, objective, head, setting, LOG_Z)


def as_changes(name: str, given: dict[str, Any] | str | None) -> dict[str, Any]:
    """A field's changes; TRL's parser has read what was JSON. UserError for anything else."""
    if given is not None and not isinstance(given, dict):
        raise UserError(f"{name}: {given!r} is no dictionary, nor JSON of one")
    return given or {}

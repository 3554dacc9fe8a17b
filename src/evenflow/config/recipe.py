"""What a run is told as a whole, and which combinations are impossible."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from evenflow.bounds import (
    TOLERANCE,
    Count,
    LearningRate,
    NonNegativeInt,
    PositiveInt,
    Seed,
    Threads,
)
from evenflow.config.explain import explain
from evenflow.config.sections import (
    ArchitectureConfig,
    CheckpointConfig,
    CriticConfig,
    DataConfig,
    EvaluationConfig,
    HeadConfig,
    LogConfig,
    ModelConfig,
    OptimizerConfig,
    ResetConfig,
    RewardConfig,
    RolloutConfig,
    Section,
)
from evenflow.errors import UserError
from evenflow.objectives import PRESETS, Balance, Surrogate
from evenflow.rewards.right import unreachable


class Recipe(Section):
    """Fields that training and pretraining share."""

    seed: Seed = 0
    """Seed of everything random."""
    output: str | None = None
    """Folder of the run; null: runs/<recipe>-<time>. runs/latest points to the newest."""
    device: str = "auto"
    """"auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1"."""
    threads: Threads | None = None
    """CPU threads; null: PyTorch's choice (OMP_NUM_THREADS, or all cores)."""
    log: LogConfig = LogConfig()


class TrainConfig(Recipe):
    """`evenflow train`."""

    algorithm: str = "flowrl"
    """The preset: a row of evenflow.objectives.PRESETS."""
    objective: dict[str, Any] = Field(default={})
    """Changes to the preset's objective, e.g. {inverse_temperature: 5, log_z: group}."""
    model: ModelConfig = ModelConfig()
    head: HeadConfig = HeadConfig()
    critic: CriticConfig = CriticConfig()
    data: DataConfig = DataConfig()
    reward: RewardConfig = RewardConfig()
    rollout: RolloutConfig = RolloutConfig()
    train: OptimizerConfig = OptimizerConfig()
    reset: ResetConfig = ResetConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()

    @property
    def on_policy(self) -> bool:
        """Whether each rollout batch is learned from in a single optimiser step."""
        mini = self.train.mini_batch_questions or self.rollout.questions
        return self.train.epochs == 1 and mini == self.rollout.questions

    def build_objective(self) -> Balance | Surrogate:
        """The preset's row with the recipe's changes."""
        row = PRESETS[self.algorithm].objective
        family, other = (Balance, Surrogate) if isinstance(row, Balance) else (Surrogate, Balance)
        for name in self.objective:
            if name in other.model_fields and name not in family.model_fields:
                presets = [key for key, p in PRESETS.items() if isinstance(p.objective, other)]
                raise UserError(
                    f"objective.{name}: not with algorithm={self.algorithm}; only "
                    f"{', '.join(presets)} have it"
                )
        try:
            choices = family.model_validate({**row.model_dump(), **self.objective})
        except ValidationError as error:
            raise UserError(explain(error, family, "objective.")) from None
        if isinstance(choices, Balance) and "right_reward" not in self.objective:
            return choices.model_copy(update={"right_reward": self.reward.right})
        if isinstance(choices, Surrogate) and choices.aggregation == "constant":
            length = choices.aggregation_length or float(self.rollout.max_completion_length)
            return choices.model_copy(update={"aggregation_length": length})
        return choices

    @model_validator(mode="after")
    def _possible(self) -> Self:
        problems = list(self._impossible())
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _impossible(self) -> Iterator[str]:
        """A sentence for each combination that cannot be."""
        if self.algorithm not in PRESETS:
            known = ", ".join(PRESETS)
            yield f"algorithm: there is no preset {self.algorithm!r}; there are {known}"
            return
        data, rollout, model = self.data, self.rollout, self.model
        objective = self.build_objective()
        if isinstance(objective, Balance) and objective.prior_lift > 0:
            right = objective.right_reward
            if not math.isclose(right, self.reward.right, rel_tol=TOLERANCE):
                yield (
                    f"objective.right_reward, reward.right: {right} and {self.reward.right}; with "
                    "prior_lift both say from which reward an answer is right: leave the first out"
                )
        functions = self.reward.functions or ({data.task: 1.0} if data.task else {})
        if problem := unreachable(functions, self.reward.right):
            yield problem
        if rollout.top_p != 1 or rollout.top_k != 0:
            yield (
                "rollout.top_p, rollout.top_k: filtered sampling is refused in training, because "
                "the loss needs log-probs of the very distribution that was sampled; leave top_p "
                "at 1 and top_k at 0 and use rollout.temperature"
            )
        mini = self.train.mini_batch_questions
        if mini is not None and rollout.questions % mini:
            yield (
                f"train.mini_batch_questions: {mini} does not divide rollout.questions "
                f"({rollout.questions}); mini-batches hold whole groups of equal number"
            )
        if (data.task is None) == (data.train is None):
            yield (
                "data.task, data.train: name exactly one source of questions, a built-in task or "
                "a file or dataset"
            )
        if data.task is not None and data.test is not None:
            yield "data.test: a built-in task brings its own held-out questions; leave it null"
        if data.task is None and data.task_options:
            yield "data.task_options: only together with data.task"
        if data.train is not None and not self.reward.functions:
            yield (
                "reward.functions: questions from a file need a reward, e.g. "
                "reward.functions='{gsm8k: 1.0}' or '{my_module:my_reward: 1.0}'"
            )
        if model.lora is not None and model.reference is not None:
            yield (
                "model.reference: with LoRA the reference is the model without its adapter; "
                "leave it null"
            )
        if self.head.pooling == "separator" and self.head.drop_last_token:
            yield (
                "head.drop_last_token: the last token is the separator that head.pooling reads; "
                "set it to false"
            )
        budget, batch = self.train.answers, rollout.questions * rollout.num_generations
        if budget is not None and budget < batch:
            yield (
                f"train.answers: {budget} is less than one batch, rollout.questions × "
                f"rollout.num_generations = {batch} answers"
            )
        if rollout.dynamic_sampling and rollout.num_generations < 2:
            yield (
                "rollout.dynamic_sampling: keeps questions with right and wrong answers; "
                "rollout.num_generations must be at least 2"
            )
        if self.reward.overlong_share and objective.needs.log_z == "offline":
            yield (
                "reward.overlong_share: an offline log Z is of the reward without the penalty; "
                "set it to 0 or use log_z: group"
            )
        if self.reset.active:
            yield from self._impossible_resets(objective)
        if self.reward.overlong_share and isinstance(objective, Balance) and objective.prior_lift:
            yield (
                "reward.overlong_share: with prior_lift a right answer is known by its reward, "
                "which a penalty would lower; set one of them to 0"
            )
        if isinstance(objective, Surrogate):
            compares = objective.advantage not in ("global", "gae")
        else:
            compares = objective.needs.log_z == "group" or objective.reward != "raw"
        if compares and rollout.num_generations < 2:
            yield (
                "rollout.num_generations: this objective compares answers to the same question; "
                "at least 2 are needed"
            )

    def _impossible_resets(self, objective: Balance | Surrogate) -> Iterator[str]:
        off = "switch resets off with reset={every: 0, patience: 0, kl: null}"
        if not objective.needs.reference:
            yield f"reset: this objective has no reference to reset; {off}"
        if self.model.lora is not None:
            yield (
                "reset: with LoRA the reference is the model without its adapter, which a reset "
                f"would have to change; train without model.lora, or {off}"
            )
        if objective.needs.log_z == "offline":
            yield "reset: an offline log Z is of one reference; use log_z: group or head"


class PretrainConfig(Recipe):
    """`evenflow pretrain`: a small base model from a task's demonstrations."""

    task: Literal["countdown", "programs"] = "countdown"
    """The task whose demonstrations are learned."""
    task_options: dict[str, Any] = Field(default={})
    """Arguments of the task."""
    mistakes: float = Field(default=0.0, ge=0, le=1)
    """Share of the demonstrations that are wrong."""
    architecture: ArchitectureConfig = ArchitectureConfig()
    steps: PositiveInt = 2000
    """Optimiser steps."""
    batch: Count = 128
    """Demonstrations a step."""
    learning_rate: LearningRate = 2e-3
    """Peak learning rate (AdamW, cosine to a tenth)."""
    warmup_steps: NonNegativeInt = 100
    """Steps over which the learning rate rises from zero."""
    weight_decay: float = Field(default=0.1, ge=0, le=1000)
    """AdamW's weight decay, on matrices only."""
    evaluate_every: PositiveInt = 250
    """Measure the exact accuracy on held-out questions every so many steps."""
    evaluation_questions: Count = 200
    """Held-out questions used."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        width, heads = self.architecture.hidden_size, self.architecture.num_attention_heads
        if width % (2 * heads):
            raise ValueError(
                f"architecture.hidden_size: {width} is no multiple of twice the "
                f"architecture.num_attention_heads, {heads}: a head's width is even"
            )
        return self

"""What a run is told as a whole, and which combinations are impossible."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from evenflow.bounds import (
    Count,
    LearningRate,
    NonNegativeInt,
    PositiveInt,
    Seed,
    Threads,
)
from evenflow.config.explain import explain
from evenflow.config.rollout import RolloutConfig, refuse_server
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
    Section,
)
from evenflow.errors import UserError
from evenflow.objectives import PRESETS, Choices, Correction, Objective, Setting, preset
from evenflow.rewards.right import advantage, unreachable
from evenflow.tasks import LISTED

GIVEN = "given"
"""`data.train` where Python hands the questions to the trainer."""


def lacks_guide(algorithm: str) -> str:
    """The sentence for questions whose gold answer nothing tells to an objective that reads it."""
    return (
        f"data.guide_template: {algorithm} reads each question with its gold answer; write how, "
        'e.g. "{prompt}\\n(The answer is {answer}.)\\n", or take a task that lists its answers '
        f"({', '.join(LISTED)})"
    )


class Recipe(Section):
    """Fields that training and pretraining share."""

    seed: Seed = 0
    """Seed of everything random."""
    output: str | None = None
    """Folder of the run; null: runs/<recipe>-<time>. The link `latest` beside it (runs/latest)
    points to it, from its first step until another run beside it takes one."""
    device: str = "auto"
    """"auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1"."""
    threads: Threads | None = None
    """CPU threads; null: PyTorch's choice (OMP_NUM_THREADS, or all cores)."""
    log: LogConfig = LogConfig()


class TrainConfig(Recipe):
    """`evenflow train`."""

    algorithm: str = "flowrl"
    """The preset: a row of evenflow.objectives.PRESETS; or my_module:MyObjective."""
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
        """Whether each answer is learned from once, by the very policy that sampled it."""
        return not (self.repeated or self.older)

    @property
    def older(self) -> bool:
        """Whether answers that the policy of an earlier batch sampled are learned from."""
        rollout = self.rollout
        return bool(rollout.lag or rollout.replay.questions or rollout.segment)

    @property
    def repeated(self) -> bool:
        """Whether a batch is learned from in several optimiser steps."""
        mini = self.train.mini_batch_questions
        return self.train.epochs > 1 or mini not in (None, self.rollout.questions)

    @property
    def most_steps(self) -> int:
        """Steps that the run comes to, or at most where some take more answers than a batch:
        train.steps, or what train.answers are enough for."""
        train, batch = self.train, self.rollout.questions * self.rollout.num_generations
        return train.steps if train.answers is None else min(train.steps, train.answers // batch)

    def build_objective(self) -> Objective:
        """The preset's row, or an objective of one's own, with the recipe's changes."""
        row = preset(self.algorithm).objective
        if not isinstance(row, Choices):
            if self.objective:
                raise UserError(f"objective: {self.algorithm} has no fields to change")
            return row
        family = type(row)
        for name in self.objective:
            others = [key for key, p in PRESETS.items() if name in type(p.objective).model_fields]
            if name not in family.model_fields and others:
                raise UserError(
                    f"objective.{name}: not with algorithm={self.algorithm}; only "
                    f"{', '.join(others)} have it"
                )
        try:
            choices = family.model_validate({**row.model_dump(), **self.objective})
        except ValidationError as error:
            raise UserError(explain(error, family, "objective.")) from None
        return choices.settle(frozenset(self.objective), self.setting)

    def build_correction(self) -> Correction | None:
        """What a loss is multiplied by on answers that another policy sampled; None: nothing."""
        wanted = self.build_objective().needs.correction == "wanted"
        return self.train.correction.build(wanted=wanted)

    @property
    def setting(self) -> Setting:
        """What an objective may know of the recipe."""
        rollout, reward, sampled = self.rollout, self.reward, self.evaluation.temperature
        return Setting(
            single_step=self.on_policy,
            repeated=self.repeated,
            uncorrected=self.older and self.train.correction.kind == "none",
            num_generations=rollout.num_generations,
            longest=float(rollout.max_completion_length),
            right=reward.right,
            gain=advantage(reward.functions, reward.right),
            overlong=reward.overlong_share > 0,
            dropout=bool(self.model.lora and self.model.lora.dropout),
            plain=not (reward.functions or reward.overlong_share or self.model.reference)
            and sampled == rollout.temperature,
        )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        problems = list(self._impossible())
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _impossible(self) -> Iterator[str]:
        """A sentence for each combination that cannot be."""
        data, rollout, model = self.data, self.rollout, self.model
        objective = self.build_objective()
        if isinstance(objective, Choices):
            yield from objective.problems(self.setting)
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
        if problem := refuse_server(rollout.engine, rollout.server):
            yield f"rollout.{problem}"
        if (data.task is None) == (data.train is None):
            yield (
                "data.task, data.train: name exactly one source of questions, a built-in task or "
                "a file or dataset"
            )
        if data.task is not None and data.test is not None:
            yield "data.test: a built-in task brings its own held-out questions; leave it null"
        if data.task is None and data.task_options:
            yield "data.task_options: only together with data.task"
        own_task = data.task is not None and (data.task in LISTED or ":" in data.task)
        if objective.needs.guide and data.guide_template is None and not own_task:
            yield lacks_guide(self.algorithm)
        if data.train not in (None, GIVEN) and not self.reward.functions:
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
        segment, longest = rollout.segment, rollout.max_completion_length
        if segment is not None and longest % segment:
            yield (
                f"rollout.segment: {segment} does not divide rollout.max_completion_length "
                f"({longest}); answers grow by whole segments"
            )
        if segment is not None and rollout.dynamic_sampling:
            yield (
                "rollout.segment: not with rollout.dynamic_sampling, which fills each batch at "
                "once; leave one of them out"
            )
        if self.reset.active:
            yield from self._impossible_resets(objective)
        correction, reads = self.build_correction(), objective.needs.correction
        if correction is not None and reads == "unread":
            yield (
                f"train.correction.kind: the loss of {self.algorithm} does not multiply by "
                "`Answers.correction`, or does not say so in its needs; leave it at auto"
            )
        elif correction is not None and correction.level == "token" and reads == "answers":
            yield (
                f"train.correction.kind: {correction.kind} weighs tokens, and this loss is one of "
                "whole answers; use sequence-truncate, sequence-mask, or leave it at auto"
            )
        if objective.needs.groups_of_two and rollout.num_generations < 2:
            yield (
                "rollout.num_generations: this objective compares answers to the same question; "
                "at least 2 are needed"
            )

    def _impossible_resets(self, objective: Objective) -> Iterator[str]:
        off = "switch resets off with reset={every: 0, patience: 0, kl: null}"
        if not objective.needs.reference:
            yield f"reset: this objective has no reference to reset; {off}"
        if self.model.lora is not None:
            yield (
                "reset: with LoRA the reference is the model without its adapter, which a reset "
                f"would have to change; train without model.lora, or {off}"
            )
        if objective.needs.reference_samples:
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

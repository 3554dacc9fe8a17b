"""The parts of a recipe. The docstring under a field is what `evenflow config` prints."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from evenflow.bounds import (
    AnyFloat,
    BelowOne,
    Count,
    LearningRate,
    NonNegativeCount,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Seconds,
    TemperatureOrGreedy,
    Template,
)
from evenflow.objectives.correction import LIMIT, LIMIT_OF_MEANS, USUAL, Correction, Kind
from evenflow.rewards.right import right_total


class Section(BaseModel):
    """Typed, frozen, closed to unknown keys; strict, so that `true` is no number and 1.5 no int."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )


class LoraConfig(Section):
    rank: int = Field(default=16, gt=0, le=8192)
    """Rank of the adapter's matrices."""
    alpha: float = Field(default=32.0, gt=0, le=1e6)
    """Scale of the adapter: its output is multiplied by alpha / rank."""
    dropout: BelowOne = 0.0
    """Dropout on the adapter's input."""
    target_modules: list[str] | Literal["all-linear"] = "all-linear"
    """Names of the modules to adapt, or "all-linear"."""


class ModelConfig(Section):
    path: str = "builtin:countdown"
    """Folder or Hugging Face name of the base model; "builtin:countdown" and "builtin:programs" are
    shipped."""
    reference: str | None = None
    """Folder or name of the reference model; null: the base model itself."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the forward pass; weights are kept in float32. auto: bfloat16 on a GPU
    that has it."""
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    """Attention implementation, as Transformers names it."""
    gradient_checkpointing: bool | None = None
    """Recompute activations in backward: less memory, a third more time. null: on a GPU that could
    not hold all of them."""
    logprob_chunk: PositiveInt = 4096
    """Tokens whose logits over the vocabulary are held at once; lower it when memory runs out."""
    lora: LoraConfig | None = None
    """Train a LoRA adapter (extra `lora`) instead of all weights; the reference is then the model
    with the adapter switched off."""


class HeadConfig(Section):
    pooling: Literal["mean", "last", "max", "separator"] = "mean"
    """What log Z is read from: the mean of the prompt's hidden states, the last one, their maximum,
    or the state of a separator token put between prompt and answer."""
    separator: str = "<|separator|>"
    """The separator token; added to the tokenizer and the embeddings if it is not there."""
    layers: int = Field(default=3, ge=1, le=8)
    """Linear layers of the head's MLP."""
    dropout: BelowOne = 0.0
    """Dropout inside the head."""
    learning_rate: LearningRate | None = 1e-3
    """The head's own learning rate; null: the policy's."""
    trunk_gradient: bool = False
    """Let the head's gradient into the model's trunk (log Z is then no longer a baseline)."""
    drop_last_token: bool = False
    """Leave the last prompt token out of the pooling, as the official code does."""


class CriticConfig(Section):
    trunk: Literal["shared", "own"] = "shared"
    """What a critic (`advantage: gae`, `log_z: flow`) reads: the policy's hidden states, without
    gradient into them, or those of a model of its own that starts as the base model."""
    layers: int = Field(default=2, ge=1, le=8)
    """Linear layers of its MLP."""
    learning_rate: LearningRate = 1e-3
    """The critic's own learning rate; with a trunk of its own about ten times the policy's."""


class DataConfig(Section):
    task: str | None = None
    """Built-in task that makes the questions: "countdown", "programs" or "stories"; or
    one of your own, my_module:MyTask."""
    task_options: dict[str, Any] = {}
    """Arguments of the task, e.g. {numbers: 4, largest: 9, targets: [10, 40]}."""
    train: str | None = None
    """Training questions: a .jsonl or .parquet file or a Hugging Face dataset ("org/name")."""
    train_split: str = "train"
    """Split of a Hugging Face dataset to train on."""
    test: str | None = None
    """Held-out questions, in the same forms; null: no evaluation. Tasks bring their
    own."""
    test_split: str = "test"
    """Split of a Hugging Face dataset to evaluate on."""
    train_questions: Count | None = None
    """Use only so many training questions; null: all (a task: 4096, programs 2048)."""
    prompt_column: str = "prompt"
    """Column with the question, as text or as chat messages."""
    prompt_template: Template | None = None
    """Text around the question, with column names in braces: "Q: {prompt}\\nA:"."""
    guide_template: Template | None = None
    """Text of the question with its gold answer, for an objective with guidance, in place of
    prompt_template's: "{prompt}\\n(The answer is {answer}.)\\n". null: the task's own."""
    chat: bool = False
    """Put text prompts through the tokenizer's chat template (chat messages always are)."""
    system_prompt: str | None = None
    """System message put before the question (chat only)."""
    chat_template: Template = "auto"
    """Chat template in Jinja; auto: the tokenizer's own."""
    chat_template_kwargs: dict[str, Any] = {}
    """Arguments of the chat template, e.g. {enable_thinking: false}."""
    max_prompt_length: PositiveInt = 2048
    """Longest prompt in tokens."""
    long_prompts: Literal["refuse", "drop"] = "refuse"
    """What happens to longer prompts: stop with a message, or leave them out and say how many."""


class RewardConfig(Section):
    functions: dict[str, AnyFloat] = {}
    """Reward functions and their weights: {"package.module:function": 1.0}; built in: gsm8k,
    math, code, and those of the tasks. Empty: the task's own."""
    overlong_share: BelowOne = 0.0
    """The last share of rollout.max_completion_length, over which a penalty rises linearly from 0
    to 1 (DAPO: 0.2); 0: none. Accuracy does not see it."""
    timeout: Seconds = 60.0
    """Seconds one reward call may take; its answers are unknown then, and left out."""
    right: AnyFloat = Field(default="auto", validate_default=True)
    """Total reward from which, up to rounding, an answer counts as right (accuracy, pass@k, dynamic
    sampling, prior_lift). auto: the weights of the built-in functions that check answers (code,
    countdown, gsm8k, math, programs) added up; 1 where there is none of them."""

    @field_validator("right", mode="before")
    @classmethod
    def _counted(cls, right: Any, info: ValidationInfo) -> Any:
        """auto as the number that it stands for: what a run is told is written down."""
        return right_total(info.data.get("functions", {})) if right == "auto" else right


class CorrectionConfig(Section):
    """For answers that another policy sampled (docs/offpolicy.md)."""

    kind: Literal["auto", "none"] | Kind = "auto"
    """What a loss is multiplied by: ρ, π before the step over the sampler's, of each token, of the
    answer (sequence), or its geometric mean over tokens; limited (truncate), or 0 beyond the limits
    (mask). auto: sequence-mask for surrogate losses, none for the balance family. It acts where the
    engine is not exact, and on answers of an earlier policy."""
    limit: float | None = Field(default=None, gt=1, le=1e6)
    """The largest ρ. null: 3; of a geometric mean 1.05."""
    floor: float | None = Field(default=None, gt=0, lt=1)
    """The smallest. null: there is none; with geometric-mask 1/limit."""

    def build(self, *, wanted: bool) -> Correction | None:
        """What auto stands for where the loss wants a correction, or not."""
        kind = self.kind
        if kind == "auto":
            kind = USUAL if wanted else "none"
        if kind == "none":
            return None
        of_means = kind.startswith("geometric")
        limit = self.limit or (LIMIT_OF_MEANS if of_means else LIMIT)
        floor = self.floor or (1 / limit if kind == "geometric-mask" else 0.0)
        return Correction(kind, limit, floor)


class OptimizerConfig(Section):
    steps: PositiveInt = 100
    """Steps: rollout batches sampled and learned from."""
    answers: PositiveInt | None = None
    """Stop before this many sampled answers are exceeded, those that dynamic sampling drops
    included; null: after train.steps alone. The schedule falls with steps or answers, whichever
    are used up sooner."""
    mini_batch_questions: PositiveInt | None = None
    """Questions per optimiser step; null: all of the rollout batch. Must divide
    rollout.questions."""
    epochs: PositiveInt = 1
    """Passes over each rollout batch."""
    micro_batch_tokens: PositiveInt = 16384
    """Tokens (prompt, answer and padding) in one forward and backward pass; lower it when training
    runs out of memory. The result does not depend on it (dropout aside)."""
    compile: Literal["auto"] | bool = "auto"
    """Compile layers and log-probs for learning and scoring (torch.compile): a minute or two at the
    start. auto: on a GPU."""
    learning_rate: LearningRate = 1e-6
    """Peak learning rate of the policy (AdamW)."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Learning rate after warm-up: constant, or falling toward zero, which it would reach one step
    after the last."""
    warmup_steps: NonNegativeInt = 10
    """Steps over which the learning rate rises from zero."""
    weight_decay: float = Field(default=0.0, ge=0, le=1000)
    """AdamW's weight decay, on matrices only."""
    betas: tuple[BelowOne, BelowOne] = Field(
        default=(0.9, 0.999), strict=False
    )  # YAML has no tuples
    """AdamW's decay rates."""
    max_grad_norm: PositiveFloat = 1.0
    """Gradients are scaled down to this norm (policy, head and critic each on its own)."""
    correction: CorrectionConfig = CorrectionConfig()


class ResetConfig(Section):
    """When the policy becomes its own new reference (ProRL)."""

    every: NonNegativeInt = 0
    """Every so many steps; 0: never for this reason."""
    patience: NonNegativeInt = 0
    """When the accuracy of the training answers, averaged over about ten steps, has not risen for
    so many; 0: never for this reason."""
    kl: PositiveFloat | None = None
    """When a step's KL to the reference exceeds this, in nats an answer; null: never."""
    optimizer: bool = True
    """Forget AdamW's moments as well."""

    @property
    def active(self) -> bool:
        """Whether any reason is given."""
        return bool(self.every or self.patience or self.kl is not None)


class EvaluationConfig(Section):
    every: NonNegativeInt = 50
    """Evaluate held-out questions every so many steps, and before and after; 0: never."""
    questions: Count = 200
    """Held-out questions used (fewer if there are fewer)."""
    skip: NonNegativeCount = 0
    """Held-out questions left out before them: to evaluate on ones that no choice was made by."""
    num_generations: Count = 16
    """Answers per question where answers must be sampled."""
    temperature: TemperatureOrGreedy = 1.0
    """Sampling temperature in evaluation, and of exact scores; 0 is greedy (exact scores: 1)."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus sampling in evaluation; of tasks that list their answers, in what samples.jsonl shows
    alone: exact scores are of the whole distribution."""
    samples: NonNegativeInt = 4
    """Questions whose answers are written to samples.jsonl at every evaluation, at least; where
    answers must be sampled, all of up to a million characters are. 0: none."""


class CheckpointConfig(Section):
    every: NonNegativeInt = 50
    """Save every so many steps; 0: only at the end (and when interrupted)."""
    keep: PositiveInt = 2
    """How many of the latest checkpoints are kept."""
    weights_only: bool = False
    """Save the model without the optimizer's moments and the trainer's state: a third of the disk,
    but no run can go on from it."""


class LogConfig(Section):
    reference_kl: bool = True
    """Measure the KL to the reference even where the objective does not need it; false saves the
    reference model and a forward pass."""
    backends: list[Literal["tensorboard", "wandb", "trackio", "mlflow"]] = []
    """Where metrics go beside metrics.jsonl (each is an extra of that name)."""
    project: str = "evenflow"
    """Project name for wandb and trackio, the experiment of mlflow."""


class ArchitectureConfig(Section):
    hidden_size: Count = 128
    """Width."""
    intermediate_size: Count = 344
    """Width of the MLP."""
    num_hidden_layers: Count = 4
    """Layers."""
    num_attention_heads: Count = 4
    """Attention heads."""
    max_position_embeddings: Count = 128
    """Longest sequence in tokens."""

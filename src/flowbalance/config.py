"""Recipes: what a run is told, every field with its meaning, checked before anything starts.

A recipe is a YAML file; ``key=value`` on the command line overrides it (``train.steps=50``). The
order of precedence: defaults here < what the algorithm's preset brings < the recipe < the command
line. Unknown keys, wrong types and impossible combinations end in one sentence that names the field
and what is allowed. The docstring under each field is its documentation: `flowbalance config`
prints them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from flowbalance.errors import UserError
from flowbalance.objectives import PRESETS, Balance, Surrogate

Fraction = Field(ge=0, le=1)


class Section(BaseModel):
    """A part of a recipe: typed, frozen, closed to unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=()
    )


class LoraConfig(Section):
    rank: PositiveInt = 16
    """Rank of the adapter's matrices."""
    alpha: PositiveFloat = 32.0
    """Scale of the adapter: its output is multiplied by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the adapter's input."""
    target_modules: list[str] | Literal["all-linear"] = "all-linear"
    """Names of the modules to adapt, or "all-linear"."""


class ModelConfig(Section):
    path: str = "builtin:countdown"
    """Folder or Hugging Face name of the base model; "builtin:countdown" is the one shipped."""
    reference: str | None = None
    """Folder or name of the reference model; null: the base model itself."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the forward pass; weights are kept in float32. auto: bfloat16 on a GPU that has it."""
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    """Attention implementation, as Transformers names it."""
    gradient_checkpointing: bool | None = None
    """Recompute activations in backward: less memory, a third more time. null: on with a GPU."""
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
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout inside the head."""
    learning_rate: PositiveFloat | None = 1e-3
    """The head's own learning rate; null: the policy's."""
    trunk_gradient: bool = False
    """Let the head's gradient into the model's trunk (log Z is then no longer a baseline)."""
    drop_last_token: bool = False
    """Leave the last prompt token out of the pooling, as the official code does."""


class DataConfig(Section):
    task: str | None = None
    """Built-in task that makes the questions: "countdown" or "stories"."""
    task_options: dict[str, Any] = {}
    """Arguments of the task, e.g. {numbers: 4, largest: 9, targets: [10, 40]}."""
    train: str | None = None
    """Training questions: a .jsonl or .parquet file or a Hugging Face dataset ("org/name")."""
    train_split: str = "train"
    """Split of a Hugging Face dataset to train on."""
    test: str | None = None
    """Held-out questions, in the same forms; null: no held-out evaluation (tasks bring their own)."""
    test_split: str = "test"
    """Split of a Hugging Face dataset to evaluate on."""
    train_questions: PositiveInt | None = None
    """Use only so many training questions; null: all (a task: 4096)."""
    prompt_column: str = "prompt"
    """Column with the question, as text or as chat messages."""
    prompt_template: str | None = None
    """Text around the question, with column names in braces: "Q: {prompt}\\nA:"."""
    chat: bool = False
    """Put text prompts through the tokenizer's chat template (chat messages always are)."""
    system_prompt: str | None = None
    """System message put before the question (chat only)."""
    chat_template: str = "auto"
    """Chat template in Jinja; auto: the tokenizer's own."""
    chat_template_kwargs: dict[str, Any] = {}
    """Arguments of the chat template, e.g. {enable_thinking: false}."""
    max_prompt_length: PositiveInt = 2048
    """Longest prompt in tokens."""
    long_prompts: Literal["refuse", "drop"] = "refuse"
    """What happens to longer prompts: stop with a message, or leave them out and say how many."""


class RewardConfig(Section):
    functions: dict[str, float] = {}
    """Reward functions and their weights: {"package.module:function": 1.0}; built in: countdown,
    gsm8k, stories. Empty: the task's own."""
    timeout: PositiveFloat = 60.0
    """Seconds one reward call may take before the run stops with a message."""
    right: float = 1.0
    """Total reward from which an answer counts as right (accuracy, pass@k)."""


class RolloutConfig(Section):
    questions: PositiveInt = 32
    """Questions a step."""
    num_generations: int = Field(default=8, ge=1)
    """Answers sampled for each question (the group size G)."""
    temperature: PositiveFloat = 1.0
    """Sampling temperature; every log-prob in training is of the tempered policy."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus sampling; refused in training (see docs/objective.md)."""
    top_k: NonNegativeInt = 0
    """Sample among the k likeliest tokens, 0 for all; refused in training."""
    max_completion_length: PositiveInt = 512
    """Longest answer in tokens, end token included; longer ones are cut off there."""
    stop: list[str | int] = []
    """Further tokens (text or id) that end an answer, beside the model's own end tokens."""
    max_batch: PositiveInt = 512
    """Answers decoded at once; lower it when sampling runs out of memory."""


class OptimizerConfig(Section):
    steps: PositiveInt = 100
    """Steps: rollout batches sampled and learned from."""
    mini_batch_questions: PositiveInt | None = None
    """Questions per optimiser step; null: all of the rollout batch. Must divide rollout.questions."""
    epochs: PositiveInt = 1
    """Passes over each rollout batch."""
    micro_batch_tokens: PositiveInt = 16384
    """Tokens (prompt, answer and padding) in one forward and backward pass; lower it when training
    runs out of memory. The result does not depend on it."""
    learning_rate: PositiveFloat = 1e-6
    """Peak learning rate of the policy (AdamW)."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Learning rate after warm-up: constant, or falling to zero at the last step."""
    warmup_steps: NonNegativeInt = 10
    """Steps over which the learning rate rises from zero."""
    weight_decay: NonNegativeFloat = 0.0
    """AdamW's weight decay, on matrices only."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's decay rates."""
    max_grad_norm: PositiveFloat = 1.0
    """Gradients are scaled down to this norm (policy and head each on its own)."""
    averaging: float = Field(default=0.0, ge=0, lt=1)
    """Decay of an exponential moving average of the policy's weights over steps; the average is
    what is evaluated and saved for use. 0: off."""


class EvaluationConfig(Section):
    every: NonNegativeInt = 50
    """Evaluate held-out questions every so many steps, and before and after; 0: never."""
    questions: PositiveInt = 200
    """Held-out questions used (fewer if there are fewer)."""
    num_generations: PositiveInt = 16
    """Answers per question where answers must be sampled."""
    temperature: float = Field(default=1.0, ge=0)
    """Sampling temperature in evaluation."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus sampling in evaluation."""
    samples: NonNegativeInt = 4
    """Questions whose answers are written to samples.jsonl at every evaluation."""


class CheckpointConfig(Section):
    every: NonNegativeInt = 50
    """Save every so many steps; 0: only at the end (and when interrupted)."""
    keep: PositiveInt = 2
    """How many of the latest checkpoints are kept."""


class LogConfig(Section):
    reference_kl: bool = True
    """Measure the KL to the reference even where the objective does not need it; false saves the
    reference model and a forward pass."""
    backends: list[Literal["tensorboard", "wandb", "trackio"]] = []
    """Where metrics go beside metrics.jsonl (each is an extra of that name)."""
    project: str = "flowbalance"
    """Project name for wandb and trackio."""


class Recipe(Section):
    """Fields that training and pretraining share."""

    seed: NonNegativeInt = 0
    """Seed of everything random."""
    output: str | None = None
    """Folder of the run; null: runs/<recipe>-<time>. runs/latest points to the newest."""
    device: str = "auto"
    """"auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1"."""
    threads: PositiveInt | None = None
    """CPU threads; null: as many as there are cores."""
    log: LogConfig = LogConfig()


class TrainConfig(Recipe):
    """`flowbalance train`."""

    algorithm: str = "flowrl"
    """The preset: a row of flowbalance.objectives.PRESETS."""
    objective: dict[str, Any] = {}
    """Changes to the preset's objective, e.g. {inverse_temperature: 5, log_z: group}."""
    model: ModelConfig = ModelConfig()
    head: HeadConfig = HeadConfig()
    data: DataConfig = DataConfig()
    reward: RewardConfig = RewardConfig()
    rollout: RolloutConfig = RolloutConfig()
    train: OptimizerConfig = OptimizerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()

    def build_objective(self) -> Balance | Surrogate:
        """The preset's row with the recipe's changes."""
        row = PRESETS[self.algorithm].objective
        try:
            return type(row).model_validate({**row.model_dump(), **self.objective})
        except ValidationError as error:
            raise UserError(explain(error, type(row), "objective.")) from None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.algorithm not in PRESETS:
            raise ValueError(
                f"algorithm: there is no preset {self.algorithm!r}; there are {', '.join(PRESETS)}"
            )
        if self.rollout.top_p != 1 or self.rollout.top_k != 0:
            raise ValueError(
                "rollout.top_p, rollout.top_k: filtered sampling is refused in training, because "
                "the loss needs log-probs of the very distribution that was sampled; leave top_p "
                "at 1 and top_k at 0 and use rollout.temperature"
            )
        mini = self.train.mini_batch_questions
        if mini is not None and self.rollout.questions % mini:
            raise ValueError(
                f"train.mini_batch_questions: {mini} does not divide rollout.questions "
                f"({self.rollout.questions}); mini-batches hold whole groups of equal number"
            )
        if (self.data.task is None) == (self.data.train is None):
            raise ValueError(
                "data.task, data.train: name exactly one source of questions, a built-in task or "
                "a file or dataset"
            )
        if self.data.train is not None and not self.reward.functions:
            raise ValueError(
                "reward.functions: questions from a file need a reward, e.g. "
                "reward.functions='{gsm8k: 1.0}' or '{my_module:my_reward: 1.0}'"
            )
        if self.model.lora is not None and self.model.reference is not None:
            raise ValueError(
                "model.reference: with LoRA the reference is the model without its adapter; "
                "leave it null"
            )
        if self.model.lora is not None and self.train.averaging > 0:
            raise ValueError("train.averaging: not together with model.lora; set it to 0")
        objective = self.build_objective()
        if objective.needs.log_z == "group" and self.rollout.num_generations < 2:
            raise ValueError(
                "rollout.num_generations: this objective compares answers to the same question; "
                "at least 2 are needed"
            )
        return self


class ArchitectureConfig(Section):
    hidden_size: PositiveInt = 128
    """Width."""
    intermediate_size: PositiveInt = 344
    """Width of the MLP."""
    num_hidden_layers: PositiveInt = 4
    """Layers."""
    num_attention_heads: PositiveInt = 4
    """Attention heads."""
    max_position_embeddings: PositiveInt = 128
    """Longest sequence in tokens."""


class PretrainConfig(Recipe):
    """`flowbalance pretrain`: a small base model from a task's demonstrations."""

    task: Literal["countdown"] = "countdown"
    """The task whose demonstrations are learned."""
    task_options: dict[str, Any] = {}
    """Arguments of the task."""
    mistakes: float = Field(default=0.0, ge=0, le=1)
    """Share of the demonstrations that miss the target."""
    architecture: ArchitectureConfig = ArchitectureConfig()
    steps: PositiveInt = 2000
    """Optimiser steps."""
    batch: PositiveInt = 128
    """Demonstrations a step."""
    learning_rate: PositiveFloat = 2e-3
    """Peak learning rate (AdamW, cosine to a tenth)."""
    warmup_steps: NonNegativeInt = 100
    """Steps over which the learning rate rises from zero."""
    weight_decay: NonNegativeFloat = 0.1
    """AdamW's weight decay, on matrices only."""
    evaluate_every: PositiveInt = 250
    """Measure the exact accuracy on held-out questions every so many steps."""
    evaluation_questions: PositiveInt = 200
    """Held-out questions used."""


AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)


def load(kind: type[AnyRecipe], recipe: str | Path | None, overrides: Sequence[str]) -> AnyRecipe:
    """Read a recipe, apply the preset's settings and ``key=value`` overrides, check everything."""
    values: dict[str, Any] = {}
    if recipe is not None:
        values = read_yaml(Path(recipe))
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key:
            raise UserError(f"{override!r}: an override is written key=value, e.g. seed=1")
        try:
            value = yaml.safe_load(text) if text else None
        except yaml.YAMLError:
            value = text
        _set(values, key, value, overwrite=True)
    algorithm = values.get("algorithm", "flowrl")
    if kind is TrainConfig and algorithm in PRESETS:
        for key, value in PRESETS[algorithm].settings.items():
            _set(values, key, value, overwrite=False)
    return check(kind, values)


def check(kind: type[AnyRecipe], values: Mapping[str, Any]) -> AnyRecipe:
    """Validated configuration, or a UserError that names the field and what is allowed."""
    missing = list(_unfilled(values))
    if missing:
        raise UserError(
            "the recipe leaves open what only you can say: " + ", ".join(f"{m}=…" for m in missing)
        )
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UserError(explain(error, kind)) from None


def _unfilled(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _unfilled(value, f"{prefix}{name}.")
        elif value == "???":
            yield prefix + name


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file."""
    if not path.is_file():
        raise UserError(f"{path}: there is no such recipe; see the folder recipes/")
    try:
        values = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a YAML file: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: a recipe is a mapping of field: value")
    return values


def _set(values: dict[str, Any], dotted: str, value: Any, *, overwrite: bool) -> None:
    *sections, field = dotted.split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            inner = values[section] = {}
        values = inner
    if overwrite or field not in values:
        values[field] = value


def explain(error: ValidationError, kind: type[BaseModel], prefix: str = "") -> str:
    """One line per mistake: the field, what is wrong, what is allowed."""
    lines = []
    for problem in error.errors():
        place = [str(part) for part in problem["loc"]]
        field = prefix + ".".join(place)
        if problem["type"] == "extra_forbidden":
            names = list(_section(kind, place[:-1]).model_fields)
            close = difflib.get_close_matches(place[-1], names, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(names)}"
            lines.append(f"{field}: there is no such field; {hint}")
        elif problem["type"] in ("value_error", "assertion_error"):
            message = problem["msg"].split(", ", 1)[1]
            lines.append(f"{field}: {message}" if place else prefix + message)
        else:
            given = "" if problem["type"] == "missing" else f", not {problem['input']!r}"
            lines.append(f"{field}: {problem['msg'].lower()}{given}")
    return "\n".join(dict.fromkeys(lines))


def _section(kind: type[BaseModel], place: Sequence[str]) -> type[BaseModel]:
    for part in place:
        field = kind.model_fields.get(part)
        inner = _model_in(field.annotation) if field else None
        if inner is None:
            break
        kind = inner
    return kind


def _model_in(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def fields(kind: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, Any, str]]:
    """(dotted name, type, default, documentation) of every field, sections flattened."""
    for name, field in kind.model_fields.items():
        inner = _model_in(field.annotation)
        if inner is not None:
            yield from fields(inner, f"{prefix}{name}.")
            continue
        shown = getattr(field.annotation, "__name__", None)
        if shown is None or get_args(field.annotation):
            shown = str(field.annotation).replace("typing.", "")
        yield (
            prefix + name,
            shown,
            field.get_default(call_default_factory=True),
            " ".join((field.description or "").split()),
        )


def dump(config: BaseModel) -> str:
    """A configuration as YAML that `load` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

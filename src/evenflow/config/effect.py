"""Fields that a recipe sets and another choice makes idle, and choices that need company."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from pydantic import BaseModel

from evenflow.config.recipe import TrainConfig
from evenflow.config.sections import DataConfig
from evenflow.objectives import Choices, Objective, preset
from evenflow.rewards.right import doubts

Rule = tuple[tuple[str, ...], Callable[[TrainConfig, Objective], bool], str]

FOR_ALL_WEIGHTS = 2e-6
"""A learning rate of this size is the papers' for full training."""
HELD_OUT = ("questions", "skip", "num_generations", "temperature", "top_p")
"""Of `evaluation`: which held-out questions are asked, and how."""
OF_RECIPE: list[Rule] = [
    (("head",), lambda c, o: not o.needs.head, "only log_z: head has a head"),
    (
        ("head.separator",),
        lambda c, o: c.head.pooling != "separator",
        "only head.pooling: separator puts one into the prompt",
    ),
    (("head.dropout",), lambda c, o: c.head.layers == 1, "it acts between layers, of which is one"),
    (
        ("critic",),
        lambda c, o: not o.needs.critic,
        "only advantage: gae and log_z: flow have a critic",
    ),
    (
        ("data.test", "data.test_split"),
        lambda c, o: c.evaluation.every == 0,
        "evaluation.every is 0, and training holds nothing out; `eval` and `compare` read it",
    ),
    (
        tuple(f"evaluation.{name}" for name in HELD_OUT),
        lambda c, o: c.evaluation.every == 0,
        "evaluation.every is 0, and training evaluates nothing; `eval` and `compare` read it",
    ),
    (
        ("evaluation.samples",),
        lambda c, o: c.evaluation.every == 0,
        "evaluation.every is 0, and training evaluates nothing whose answers could be written",
    ),
    (
        ("rollout.max_rounds",),
        lambda c, o: not c.rollout.dynamic_sampling,
        "only rollout.dynamic_sampling goes in rounds",
    ),
    (
        ("rollout.segment",),
        lambda c, o: c.rollout.segment == c.rollout.max_completion_length,
        "a whole answer is what there is without it",
    ),
    (
        ("rollout.replay.keep", "rollout.replay.by"),
        lambda c, o: not c.rollout.replay.questions,
        "only rollout.replay.questions above 0 draws from what is kept",
    ),
    (
        ("rollout.decoding",),
        lambda c, o: c.rollout.engine != "embedded",
        "only rollout.engine: embedded decodes here",
    ),
    (
        ("rollout.gpu_share",),
        lambda c, o: c.rollout.engine != "vllm" or c.rollout.server is not None,
        "only rollout.engine: vllm without a server takes a share of the GPU",
    ),
    (
        ("rollout.timeout",),
        lambda c, o: c.rollout.server is None,
        "only a rollout.server is waited for",
    ),
    (
        ("model.reference",),
        lambda c, o: not needs_reference(c, o),
        "nobody asks for the reference's log-probs",
    ),
    (
        ("log.reference_kl",),
        lambda c, o: o.needs.reference,
        "the objective reads the reference's log-probs, so that the KL costs nothing",
    ),
    (
        ("log.project",),
        lambda c, o: not {"wandb", "trackio", "mlflow"} & set(c.log.backends),
        "only the backends wandb, trackio and mlflow have projects",
    ),
    (
        ("rollout.largest_gap",),
        lambda c, o: _exact(c),
        "the embedded engine's float32 log-probs are the policy's own, and nothing is compared",
    ),
    (
        ("train.correction",),
        lambda c, o: _exact(c) and not c.older,
        "the embedded engine's float32 log-probs are the policy's own, and every answer is of the "
        "newest policy",
    ),
    (
        ("train.correction.limit", "train.correction.floor"),
        lambda c, o: c.build_correction() is None,
        "nothing is corrected (train.correction.kind)",
    ),
    (("reset.optimizer",), lambda c, o: not c.reset.active, "no reason for a reset is given"),
    (
        ("train.mini_batch_questions",),
        lambda c, o: c.train.mini_batch_questions == c.rollout.questions,
        "one mini-batch of all questions is what there is without it",
    ),
    (
        ("train.answers",),
        lambda c, o: not _answers_run_out(c, o),
        "train.steps are used up before",
    ),
    (
        ("train.schedule",),
        lambda c, o: c.train.warmup_steps >= c.most_steps,
        "the warm-up lasts to the end of the run",
    ),
    (
        ("data.guide_template",),
        lambda c, o: not o.needs.guide,
        "only an objective with guidance reads the gold answer",
    ),
    (
        ("data.train_split",),
        lambda c, o: _is_file(c.data.train),
        "only a Hugging Face dataset has splits",
    ),
    (
        ("data.test_split",),
        lambda c, o: _is_file(c.data.test),
        "only a Hugging Face dataset has splits",
    ),
    (
        ("data.chat_template", "data.chat_template_kwargs"),
        lambda c, o: c.data.task is not None and not c.data.chat,
        "the task's prompts are plain text, and data.chat is false",
    ),
]


def idle_templates(data: DataConfig, chats: Sequence[bool]) -> list[str]:
    """A sentence for each field around the questions that changes nothing of any; `chats` says of
    each question whether it is chat messages as it comes."""
    if chats and all(chats):
        why = "every question is chat messages already"
        return [f"{name}: {why}" for name in _set_of(data, "prompt_template", "chat")]
    if chats and not any(chats) and not data.chat and data.task is None:  # of tasks see OF_RECIPE
        why = "every question is plain text, and data.chat is false"
        return [f"{name}: {why}" for name in _set_of(data, "chat_template", "chat_template_kwargs")]
    return []


def _set_of(data: DataConfig, *names: str) -> list[str]:
    changed = set(_changed(data))
    return [f"data.{name}" for name in names if name in changed]


def _answers_run_out(config: TrainConfig, objective: Objective) -> bool:
    """Whether train.answers can end the run before train.steps do."""
    budget, rollout = config.train.answers, config.rollout
    if budget is None:
        return False
    more = rollout.dynamic_sampling or objective.needs.reference_samples  # than a batch a step
    return more or budget < config.train.steps * rollout.questions * rollout.num_generations


def _exact(config: TrainConfig) -> bool:
    """Whether the engine's log-probs are known to be those that the policy computes."""
    return config.rollout.engine == "embedded" and config.model.dtype == "float32"


def _is_file(source: str | None) -> bool:
    return source is None or source.endswith((".json", ".jsonl", ".gz", ".parquet"))


def as_computed(config: TrainConfig, dtype: str) -> TrainConfig:
    """The recipe with the number type that its policy computes in, which `auto` leaves open."""
    model = config.model.model_copy(update={"dtype": dtype})
    return config.model_copy(update={"model": model})


def without_effect(config: TrainConfig) -> list[str]:
    """A sentence for each field that is neither at its default nor set by the preset, and yet
    changes nothing."""
    objective, row = config.build_objective(), preset(config.algorithm)
    own = [name for name in _changed(config) if name not in row.settings]
    found = {
        name: f"{name}: {why}"
        for prefixes, idle, why in OF_RECIPE
        if idle(config, objective)
        for name in own
        if any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)
    }
    before = row.objective
    if isinstance(objective, Choices) and isinstance(before, Choices):
        idle_ones = objective.without_effect(config.objective, config.setting, before)
        found |= {f"objective.{n}": f"objective.{n}: {why}" for n, why in idle_ones.items()}
    return list(found.values())


def cautions(config: TrainConfig) -> list[str]:
    """What is allowed and seldom meant."""
    objective = config.build_objective()
    found = []
    steps, warmup = config.most_steps, config.train.warmup_steps
    if warmup >= steps:
        ends = "train.steps" if steps == config.train.steps else "train.answers"
        found.append(
            f"train.warmup_steps: {warmup} last to the end of {steps} steps ({ends}), so that the "
            f"learning rate comes to {steps / (warmup + 1):.2g} of train.learning_rate"
        )
    if isinstance(objective, Choices):
        found += objective.cautions(config.setting)
    if config.model.lora is not None and config.train.learning_rate <= FOR_ALL_WEIGHTS:
        found.append(
            f"train.learning_rate: {config.train.learning_rate:g} is meant for all weights; an "
            "adapter (model.lora) hardly moves below 1e-5"
        )
    return found + doubts(config.reward.functions, config.reward.right)


def needs_reference(config: TrainConfig, objective: Objective) -> bool:
    """Whether training scores answers by the reference, or samples from it."""
    needs = objective.needs
    asked = needs.reference or needs.guide or needs.reference_samples
    return asked or config.log.reference_kl


def _changed(values: BaseModel, prefix: str = "") -> Iterator[str]:
    """Dotted names of the fields that differ from their defaults."""
    for name, field in type(values).model_fields.items():
        value = getattr(values, name)
        if isinstance(value, BaseModel):
            yield from _changed(value, f"{prefix}{name}.")
        elif value != field.get_default(call_default_factory=True):
            yield prefix + name

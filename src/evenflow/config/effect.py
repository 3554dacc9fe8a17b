"""Fields that a recipe sets and another choice makes idle, and choices that need company."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pydantic import BaseModel

from evenflow.config.recipe import TrainConfig
from evenflow.objectives import PRESETS, Balance
from evenflow.rewards.right import doubts

Choice = Any  # Balance or Surrogate, whose fields the rules below read
Rule = tuple[tuple[str, ...], Callable[[TrainConfig, Choice], bool], str]

FOR_ALL_WEIGHTS = 2e-6
"""A learning rate of this size is the papers' for full training."""
OF_RECIPE: list[Rule] = [
    (("head",), lambda c, o: o.needs.log_z != "head", "only log_z: head has a head"),
    (
        ("head.separator",),
        lambda c, o: c.head.pooling != "separator",
        "only head.pooling: separator puts one into the prompt",
    ),
    (("head.dropout",), lambda c, o: c.head.layers == 1, "it acts between layers, of which is one"),
    (("critic",), lambda c, o: not o.needs.values, "only advantage: gae has a critic"),
    (
        ("rollout.max_rounds",),
        lambda c, o: not c.rollout.dynamic_sampling,
        "only rollout.dynamic_sampling goes in rounds",
    ),
    (
        ("model.reference",),
        lambda c, o: not (o.needs.reference or c.log.reference_kl or o.needs.log_z == "offline"),
        "nobody asks for the reference's log-probs",
    ),
    (
        ("log.reference_kl",),
        lambda c, o: o.needs.reference,
        "the objective reads the reference's log-probs, so that the KL costs nothing",
    ),
    (
        ("log.project",),
        lambda c, o: not {"wandb", "trackio"} & set(c.log.backends),
        "only the backends wandb and trackio have projects",
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
        lambda c, o: c.train.warmup_steps >= c.train.steps and not _answers_run_out(c, o),
        "the warm-up lasts to the end of the run",
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
ON_POLICY = "each batch is learned from in one step, so that every weight is 1"
OF_BALANCE: list[Rule] = [
    (
        ("truncation", "epsilon", "cap"),
        lambda c, o: o.importance == "none",
        "importance: none has no weight to bound",
    ),
    (("epsilon",), lambda c, o: o.truncation != "symmetric", "only truncation: symmetric"),
    (("cap",), lambda c, o: o.truncation != "upper", "only truncation: upper"),
    (
        ("importance", "truncation", "epsilon", "cap"),
        # A cap below 1 acts on weights of 1 as well.
        lambda c, o: c.on_policy and (o.cap >= 1 or o.truncation != "upper"),
        ON_POLICY,
    ),
    (("linex_alpha",), lambda c, o: o.regression != "linex", "only regression: linex"),
    (("running_rate",), lambda c, o: o.log_z != "running", "only log_z: running"),
    (("right_reward",), lambda c, o: o.prior_lift == 0, "only with prior_lift"),
    (
        ("reward",),
        lambda c, o: o.needs.log_z == "group" and _between(c, o, "reward", "raw", "centred"),
        "a group's log Z takes the group's mean off as well: raw and centred are one",
    ),
    (
        ("duplicates", "prior_lift"),
        lambda c, o: c.rollout.num_generations == 1,
        "a group of one answer has no other to compare with",
    ),
]
OF_SURROGATE: list[Rule] = [
    (
        ("discount", "gae_lambda", "value_epsilon"),
        lambda c, o: o.advantage != "gae",
        "only advantage: gae",
    ),
    (("whiten",), lambda c, o: o.advantage == "global", "advantage: global always does"),
    (
        ("epsilon",),
        lambda c, o: o.clip == "none" or (o.clip == "weight" and o.epsilon_high is not None),
        "only clip: ratio or log-token, or as the upper limit where epsilon_high is null",
    ),
    (("epsilon_high",), lambda c, o: o.clip == "none", "clip: none"),
    (
        ("clip",),
        lambda c, o: c.on_policy and _between(c, o, "clip", "none", "ratio", "log-token"),
        "each batch is learned from in one step, in which nothing is clipped",
    ),
    (
        ("ratio",),
        lambda c, o: (
            c.on_policy
            and (
                _one_advantage(o)
                or o.clip == "weight"
                or _between(c, o, "ratio", "token", "geometric-token", "none")
            )
        ),
        "each batch is learned from in one step, in which every ratio is 1",
    ),
    (
        ("ratio",),
        lambda c, o: (
            _between(c, o, "ratio", "geometric", "geometric-token")
            and (_one_advantage(o) or o.clip == "weight")
        ),
        "geometric and geometric-token are one where an answer's tokens share their advantage",
    ),
    (("epsilon", "epsilon_high"), lambda c, o: c.on_policy, ON_POLICY),
    (
        ("value_epsilon",),
        lambda c, o: c.on_policy and not (c.model.lora and c.model.lora.dropout),
        "each batch is learned from in one step, before which no value has moved",
    ),
    (
        ("kl_in", "kl_estimator", "kl_credit"),
        lambda c, o: o.kl_coefficient == 0,
        "kl_coefficient is 0",
    ),
    (("kl_credit",), lambda c, o: o.kl_in != "reward", "only kl_in: reward"),
    (
        ("kl_credit",),
        lambda c, o: o.advantage == "gae",
        "advantage: gae credits each token with what follows it anyhow",
    ),
]


def _between(config: TrainConfig, objective: Choice, field: str, *options: str) -> bool:
    """Whether the preset has one of these options, and the recipe another or the same."""
    row = PRESETS[config.algorithm].objective
    return {getattr(row, field), getattr(objective, field)} <= set(options)


def _one_advantage(objective: Choice) -> bool:
    """Whether all tokens of an answer have one advantage."""
    to_go = objective.kl_in == "reward" and objective.kl_credit == "to-go"
    return objective.advantage != "gae" and not (to_go and objective.kl_coefficient > 0)


def _answers_run_out(config: TrainConfig, objective: Choice) -> bool:
    """Whether train.answers can end the run before train.steps do."""
    budget, rollout = config.train.answers, config.rollout
    if budget is None:
        return False
    more = rollout.dynamic_sampling or objective.needs.log_z == "offline"  # than a batch a step
    return more or budget < config.train.steps * rollout.questions * rollout.num_generations


def _is_file(source: str | None) -> bool:
    return source is None or source.endswith((".json", ".jsonl", ".gz", ".parquet"))


def without_effect(config: TrainConfig) -> list[str]:
    """A sentence for each field that is neither at its default nor set by the preset, and yet
    changes nothing."""
    objective = config.build_objective()
    row = PRESETS[config.algorithm].objective
    rules = OF_BALANCE if isinstance(objective, Balance) else OF_SURROGATE
    changed = {name for name in config.objective if getattr(objective, name) != getattr(row, name)}
    brought = PRESETS[config.algorithm].settings
    own = [name for name in _changed(config) if name not in brought]
    found = {
        name: f"{name}: {why}"
        for prefixes, idle, why in OF_RECIPE
        if idle(config, objective)
        for name in own
        if any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)
    }
    for names, idle, why in rules:
        if idle(config, objective):
            for name in names:
                if name in changed:
                    found.setdefault(name, f"objective.{name}: {why}")
    return list(found.values())


def cautions(config: TrainConfig) -> list[str]:
    """What is allowed and seldom meant."""
    objective = config.build_objective()
    ratio = "importance" if isinstance(objective, Balance) else "ratio"
    found = []
    steps, warmup = config.train.steps, config.train.warmup_steps
    if warmup >= steps:
        found.append(
            f"train.warmup_steps: {warmup} last to the end of {steps} steps (train.steps), so that "
            f"the learning rate comes to {steps / (warmup + 1):.2g} of train.learning_rate"
        )
    if not config.on_policy and getattr(objective, ratio) == "none":
        found.append(
            f"objective.{ratio}: none takes every answer for the policy's own, and after the first "
            "optimiser step of a batch they are an older policy's; use one mini-batch and one "
            f"epoch, or another {ratio}"
        )
    if config.model.lora is not None and config.train.learning_rate <= FOR_ALL_WEIGHTS:
        found.append(
            f"train.learning_rate: {config.train.learning_rate:g} is meant for all weights; an "
            "adapter (model.lora) hardly moves below 1e-5"
        )
    return found + doubts(config.reward.functions, config.reward.right)


def _changed(values: BaseModel, prefix: str = "") -> Iterator[str]:
    """Dotted names of the fields that differ from their defaults."""
    for name, field in type(values).model_fields.items():
        value = getattr(values, name)
        if isinstance(value, BaseModel):
            yield from _changed(value, f"{prefix}{name}.")
        elif value != field.get_default(call_default_factory=True):
            yield prefix + name

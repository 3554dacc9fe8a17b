"""Fields that a recipe sets and another choice makes idle, and choices that need company."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pydantic import BaseModel

from flowbalance.config.recipe import TrainConfig
from flowbalance.objectives import PRESETS, Balance
from flowbalance.rewards.right import doubts

Choice = Any  # Balance or Surrogate, whose fields the rules below read
Rule = tuple[tuple[str, ...], Callable[[TrainConfig, Choice], bool], str]

FOR_ALL_WEIGHTS = 2e-6
"""A learning rate of this size is the papers' for full training."""
OF_RECIPE: list[Rule] = [
    (("head",), lambda c, o: o.needs.log_z != "head", "only log_z: head has a head"),
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
    (("reset.optimizer",), lambda c, o: not c.reset.active, "no reason for a reset is given"),
]
OF_BALANCE: list[Rule] = [
    (
        ("truncation", "epsilon", "cap"),
        lambda c, o: o.importance == "none",
        "importance: none has no weight to bound",
    ),
    (("epsilon",), lambda c, o: o.truncation != "symmetric", "only truncation: symmetric"),
    (("cap",), lambda c, o: o.truncation != "upper", "only truncation: upper"),
    (("linex_alpha",), lambda c, o: o.regression != "linex", "only regression: linex"),
    (("running_rate",), lambda c, o: o.log_z != "running", "only log_z: running"),
    (("right_reward",), lambda c, o: o.prior_lift == 0, "only with prior_lift"),
]
OF_SURROGATE: list[Rule] = [
    (
        ("discount", "gae_lambda", "value_epsilon"),
        lambda c, o: o.advantage != "gae",
        "only advantage: gae",
    ),
    (("epsilon",), lambda c, o: o.clip in ("none", "weight"), "only clip: ratio or log-token"),
    (("epsilon_high",), lambda c, o: o.clip == "none", "clip: none"),
    (
        ("kl_in", "kl_estimator", "kl_credit"),
        lambda c, o: o.kl_coefficient == 0,
        "kl_coefficient is 0",
    ),
    (("kl_credit",), lambda c, o: o.kl_in != "reward", "only kl_in: reward"),
]


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

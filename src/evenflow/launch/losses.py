"""The objective of a recipe in verl's terms: the balance family by our plug-in, surrogates by
verl's own losses where they are the same function (docs/baselines.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from evenflow.config import TrainConfig
from evenflow.objectives import Balance, Surrogate, preset
from evenflow.plugins.choices import Head, head_of

PLUGIN = "evenflow.plugins.verl"
ACTOR = "actor_rollout_ref.actor"
NO_DUAL_CLIP = 1e9
"""verl ends the loss of a token with A < 0 at this ratio, and limits ratios to e^20 before."""
ADVANTAGES = {"group": "grpo", "centred": "grpo", "leave-one-out": "rloo"}
AGGREGATIONS = {
    "token-mean": "token-mean",
    "sequence-mean": "seq-mean-token-mean",
    "constant": "seq-mean-token-sum-norm",
}
LOSSES = {
    ("token", "ratio"): "vanilla",
    ("geometric", "ratio"): "gspo",
    ("geometric-token", "ratio"): "gspo",
    ("token", "weight"): "cispo",
    ("none", "none"): "gpg",
}
"""(ratio, clip) → verl's name."""
KL_IN_LOSS = {"k2": "mse", "k3": "low_var_kl"}

Overrides = dict[str, Any]


def overrides_of_balance(config: TrainConfig, objective: Balance) -> Overrides:
    """The preset and what differs from it, as our plug-in reads them."""
    row = preset(config.algorithm)
    usual, names = head_of(row), {field.name for field in fields(Head)}
    chosen = {
        name: getattr(objective, name)
        for name in config.objective
        if getattr(objective, name) != getattr(row.objective, name)
    }
    head = {
        name: getattr(config.head, name)
        for name in names
        if objective.needs.head and getattr(config.head, name) != getattr(usual, name)
    }
    right = {} if config.reward.right == 1.0 else {"+algorithm.evenflow.right": config.reward.right}
    return {
        "trainer.v1.trainer_mode": "evenflow",
        "+ray_kwargs.ray_init.runtime_env.env_vars.VERL_USE_EXTERNAL_MODULES": PLUGIN,
        "algorithm.adv_estimator": "grpo",
        "+algorithm.evenflow.preset": config.algorithm,
        **{f"+algorithm.evenflow.objective.{name}": value for name, value in chosen.items()},
        **{f"+algorithm.evenflow.head.{name}": value for name, value in sorted(head.items())},
        **right,
        f"{ACTOR}.use_kl_loss": objective.needs.reference,
        f"{ACTOR}.kl_loss_coef": 0,
    }


def problems_of_balance(config: TrainConfig, objective: Balance) -> Iterator[str]:
    """What our plug-in has no counterpart for."""
    if objective.log_z == "flow":
        yield (
            "objective.log_z: flow needs a critic on the policy's states, which is not in verl; "
            "use group or head"
        )
    if objective.log_z == "offline":
        yield (
            "objective.log_z: offline needs answers of the reference, which verl does not sample; "
            "use group or head"
        )
    if objective.guidance > 0:
        yield (
            "objective.guidance: above 0 asks the reference once more, with the gold answer in "
            "the prompt, which verl does not do; set it to 0"
        )
    if objective.needs.head and config.head.pooling == "separator":
        yield (
            "head.pooling: separator puts a token into each prompt, which verl makes by itself; "
            "use mean, last or max"
        )
    if objective.needs.head and config.model.lora is not None:
        yield (
            "model.lora: with a learned log Z verl would save the adapter without the head; "
            "train all weights, or use objective.log_z=group"
        )
    if config.rollout.dynamic_sampling:
        yield (
            "rollout.dynamic_sampling: is verl's for its own trainer of surrogates alone; set it "
            "to false"
        )


def overrides_of_surrogate(config: TrainConfig, objective: Surrogate) -> Overrides:
    """verl's own loss of the same name and value; `problems_of_surrogate` says of which there is
    none."""
    found: Overrides = {
        "trainer.v1.trainer_mode": "sync",
        "algorithm.adv_estimator": ADVANTAGES.get(objective.advantage),
        "algorithm.norm_adv_by_std_in_grpo": objective.advantage == "group",
        f"{ACTOR}.policy_loss.loss_mode": LOSSES.get((objective.ratio, objective.clip)),
        f"{ACTOR}.loss_agg_mode": AGGREGATIONS[objective.aggregation],
        f"{ACTOR}.clip_ratio_c": NO_DUAL_CLIP,
        f"{ACTOR}.entropy_coeff": objective.entropy_bonus,
        f"{ACTOR}.use_kl_loss": objective.kl_coefficient > 0 and objective.kl_in == "loss",
        "algorithm.use_kl_in_reward": objective.kl_coefficient > 0 and objective.kl_in == "reward",
    }
    if objective.clip != "none":
        # A weight has no lower limit: 1 − 1 takes it away.
        low = 1.0 if objective.clip == "weight" else objective.epsilon
        found |= {f"{ACTOR}.clip_ratio_low": low, f"{ACTOR}.clip_ratio_high": objective.upper}
    if objective.aggregation == "constant":
        found[f"{ACTOR}.loss_scale_factor"] = int(objective.aggregation_length or 1)
    if found[f"{ACTOR}.use_kl_loss"]:
        found[f"{ACTOR}.kl_loss_coef"] = objective.kl_coefficient
        found[f"{ACTOR}.kl_loss_type"] = KL_IN_LOSS[objective.kl_estimator]
    if found["algorithm.use_kl_in_reward"]:
        found["algorithm.kl_penalty"] = "kl"
        found["algorithm.kl_ctrl.kl_coef"] = objective.kl_coefficient
    if config.rollout.dynamic_sampling:
        found |= {
            "algorithm.filter_groups.enable": True,
            "algorithm.filter_groups.metric": "acc",
        }
    return found


def problems_of_surrogate(config: TrainConfig, objective: Surrogate) -> Iterator[str]:
    """Where verl's own losses are other functions (docs/baselines.md)."""
    name = config.algorithm
    if objective.advantage not in ADVANTAGES:
        yield (
            f"algorithm: {name} has advantage: {objective.advantage}, which is not the same in "
            "verl; take verl's own recipe of it, or group, centred, leave-one-out"
        )
    elif asked := objective.asks_what_is_right:
        yield (
            f"algorithm: {name} has {asked} above 0 (objective.{asked}), which verl's advantages "
            "do not know; set it to 0"
        )
    elif objective.whiten:
        yield (
            f"algorithm: {name} whitens advantages (objective.whiten), which verl does in its own "
            "REINFORCE++ alone; take that, or grpo"
        )
    if (objective.ratio, objective.clip) not in LOSSES:
        yield (
            f"algorithm: {name} has ratio: {objective.ratio} with clip: {objective.clip}, of which "
            "verl's loss is another function or none"
        )
    length = objective.aggregation_length
    if objective.aggregation == "constant" and length is not None and not length.is_integer():
        yield f"objective.aggregation_length: {length:g} is no whole number, as verl wants one"
    rounds = type(config.rollout).model_fields["max_rounds"].default
    if config.rollout.dynamic_sampling and config.rollout.max_rounds != rounds:
        yield (
            "rollout.max_rounds: verl samples until a step has all its questions, however many "
            f"rounds that takes; leave it at {rounds}"
        )
    in_reward = objective.kl_coefficient > 0 and objective.kl_in == "reward"
    if in_reward and objective.kl_credit == "to-go":
        yield "objective.kl_credit: to-go is verl's only in its own REINFORCE++; use answer"


def of_objective(config: TrainConfig) -> tuple[Overrides, Mapping[str, str], list[str]]:
    """verl's overrides, the environment, and a sentence for all that cannot be."""
    objective = config.build_objective()
    if isinstance(objective, Balance):
        problems = list(problems_of_balance(config, objective))
        environment = {"VERL_USE_EXTERNAL_MODULES": PLUGIN}
        return overrides_of_balance(config, objective), environment, problems
    if isinstance(objective, Surrogate):
        problems = list(problems_of_surrogate(config, objective))
        return overrides_of_surrogate(config, objective), {}, problems
    return {}, {}, [f"algorithm: {config.algorithm} is an objective of your own, unknown to verl"]

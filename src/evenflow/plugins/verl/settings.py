"""What a run's configuration of verl chooses, and what of verl does not go with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from evenflow.errors import UserError
from evenflow.objectives import Balance, Setting
from evenflow.plugins.choices import Head, choose

LOG_Z = ("head", "group", "leave-one-out", "running", "none")
"""Those that can be had: neither samples of the reference nor a flow at every token."""
STRATEGIES = ("fsdp", "fsdp2")
ACTOR = "actor_rollout_ref.actor"
SECTION = "algorithm.evenflow"


@dataclass(frozen=True)
class Chosen:
    """The objective of a run, and its head where it has one."""

    objective: Balance
    head: Head | None
    right: float
    """The reward from which on an answer is right."""


def chosen(config: Mapping[str, Any]) -> Chosen:
    """From verl's whole configuration. UserError that names the field."""
    section = _section(config, "algorithm", "evenflow")
    known = ("preset", "objective", "head", "right")
    if unknown := set(section) - set(known):
        raise UserError(f"{SECTION}.{min(unknown)}: no such field; there are {', '.join(known)}")
    model = _section(config, "actor_rollout_ref")
    actor, rollout = model["actor"], model["rollout"]
    batch, mini = config["data"]["train_batch_size"], actor["ppo_mini_batch_size"]
    setting = Setting(
        single_step=batch == mini and actor.get("ppo_epochs", 1) == 1,
        num_generations=rollout["n"],
        longest=float(config["data"]["max_response_length"]),
        right=float(section.get("right", 1.0)),
    )
    objective, head = choose(
        section.get("preset", "flowrl"),
        section.get("objective") or {},
        section.get("head") or {},
        setting,
        LOG_Z,
    )
    for problem in problems(config, objective):
        raise UserError(problem)
    return Chosen(objective, head if objective.needs.head else None, setting.right)


def problems(config: Mapping[str, Any], objective: Balance) -> Iterator[str]:
    """A sentence for each of verl's settings that does not go with the objective."""
    algorithm, model = config["algorithm"], _section(config, "actor_rollout_ref")
    actor, needs = model["actor"], objective.needs
    if actor["strategy"] not in STRATEGIES:
        yield (
            f"{ACTOR}.strategy: {actor['strategy']} is not to be had with evenflow's objectives; "
            f"there are {' and '.join(STRATEGIES)}"
        )
    if needs.groups_of_two and model["rollout"]["n"] < 2:
        yield "actor_rollout_ref.rollout.n: the objective compares the answers to a question; 2 on"
    if needs.reference and not actor.get("use_kl_loss"):
        yield (
            f"{ACTOR}.use_kl_loss: the objective has the reference in its target, which verl "
            "computes only where this is True; set it, with kl_loss_coef 0"
        )
    terms = {
        f"{ACTOR}.kl_loss_coef": actor.get("kl_loss_coef") if actor.get("use_kl_loss") else 0,
        f"{ACTOR}.entropy_coeff": actor.get("entropy_coeff"),
        "algorithm.use_kl_in_reward": algorithm.get("use_kl_in_reward"),
    }
    for field, value in terms.items():
        if value:
            yield f"{field}: {value} adds a term that the objective does not have; set it to 0"
    if (config.get("distillation") or {}).get("enabled"):
        yield "distillation.enabled: True adds a term that the objective does not have; set it to 0"
    if _has_critic(config):
        yield "algorithm.adv_estimator: gae brings a critic that nothing would use; set it to grpo"
    correction = algorithm.get("rollout_correction") or {}
    if correction.get("rollout_is") == "token":
        yield (
            "algorithm.rollout_correction.rollout_is: token is not to be had, as the objective "
            "weighs whole answers; sequence is"
        )
    if "token_" in (correction.get("rollout_rs") or ""):
        yield (
            "algorithm.rollout_correction.rollout_rs: without some of its tokens an answer's "
            "probability is another's; take a criterion of sequences"
        )
    manager = _section(config, "reward", "reward_manager").get("name")
    buffer = _section(config, "reward", "reward_kwargs", "overlong_buffer_cfg")
    if objective.asks_what_is_right and manager == "dapo" and buffer.get("enable"):
        yield (
            "reward.reward_kwargs.overlong_buffer_cfg.enable: with "
            f"{objective.asks_what_is_right} a right answer is known by its reward, which a "
            "penalty would lower; leave one of them out"
        )
    if needs.head and _has_adapter(model["model"]):
        yield (
            "actor_rollout_ref.model.lora_rank: an adapter is not to be had with log_z: head; set "
            f"{SECTION}.objective.log_z to group, or train the whole model"
        )
    if needs.head and actor["strategy"] == "fsdp":
        yield f"{ACTOR}.strategy: fsdp is not to be had with log_z: head; fsdp2 is"
    if needs.head and _section(actor, "fsdp_config").get("ulysses_sequence_parallel_size", 1) > 1:
        yield (
            f"{ACTOR}.fsdp_config.ulysses_sequence_parallel_size: log_z: head reads whole prompts; "
            f"set it to 1, or {SECTION}.objective.log_z to group"
        )


def _has_critic(config: Mapping[str, Any]) -> bool:
    enabled = (config.get("critic") or {}).get("enable")
    return config["algorithm"]["adv_estimator"] == "gae" if enabled is None else bool(enabled)


def _has_adapter(model: Mapping[str, Any]) -> bool:
    lora = model.get("lora") or {}
    return bool(lora.get("rank") or model.get("lora_rank") or model.get("lora_adapter_path"))


def _section(config: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """A section inside others; empty where one is missing. UserError where it is no section."""
    for name in names:
        config = config.get(name) or {}
        if not isinstance(config, Mapping):
            raise UserError(f"{'.'.join(names)}: must be a section with fields, not {config!r}")
    return config

"""What a configuration of verl's chooses; verl itself is not needed for it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from evenflow.errors import UserError
from evenflow.plugins.choices import Head
from evenflow.plugins.verl.settings import chosen

CONFIG: dict[str, Any] = {
    "algorithm": {"adv_estimator": "grpo", "use_kl_in_reward": False, "evenflow": {}},
    "critic": {"enable": None},
    "data": {"train_batch_size": 8, "max_response_length": 40},
    "actor_rollout_ref": {
        "actor": {
            "strategy": "fsdp2",
            "ppo_mini_batch_size": 8,
            "ppo_epochs": 1,
            "use_kl_loss": True,
            "kl_loss_coef": 0,
            "entropy_coeff": 0,
            "fsdp_config": {"ulysses_sequence_parallel_size": 1},
        },
        "model": {"lora_rank": 0},
        "rollout": {"n": 8},
    },
}
ACTOR = "actor_rollout_ref.actor"


def config(**changes: object) -> dict[str, Any]:
    """The configuration with changes, by dotted name with `__` for a dot."""
    made = copy.deepcopy(CONFIG)
    for name, value in changes.items():
        *path, last = name.split("__")
        at = made
        for part in path:
            at = at.setdefault(part, {})
        at[last] = value
    return made


def test_the_preset_is_flowrl_unless_another_is_named() -> None:
    found = chosen(config())
    assert (found.objective.log_z, found.head, found.right) == ("head", Head(), 1.0)
    found = chosen(config(algorithm__evenflow__preset="tba"))
    assert (found.objective.log_z, found.head) == ("group", None)
    found = chosen(config(algorithm__evenflow__preset="flowrl-official"))
    assert found.head == Head(
        dropout=0.1, learning_rate=None, trunk_gradient=True, drop_last_token=True
    )


def test_guidance_is_refused_for_want_of_the_gold_answer() -> None:
    with pytest.raises(UserError, match=r"objective\.guidance: above 0"):
        chosen(config(algorithm__evenflow__preset="flowbalance"))


def test_fields_of_the_objective_and_the_head_change_the_preset() -> None:
    section = {
        "objective": {"log_z": "leave-one-out", "inverse_temperature": 6, "scale": "sum"},
        "right": 0.5,
    }
    found = chosen(config(algorithm__evenflow=section)).objective
    assert (found.log_z, found.inverse_temperature, found.scale) == ("leave-one-out", 6, "sum")
    assert found.right_reward == 0.5
    head = chosen(config(algorithm__evenflow={"head": {"layers": 2}})).head
    assert head == Head(layers=2)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("trunk_gradient", "false"),
        ("layers", 0),
        ("layers", "3"),
        ("learning_rate", 0),
        ("learning_rate", -1.0),
        ("learning_rate", "1e-3"),
        ("dropout", 2.0),
        ("drop_last_token", 1),
        ("pooling", "separator"),
    ],
)
def test_no_value_of_the_head_is_taken_for_another(field: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"head\.{field}: Input should"):
        chosen(config(algorithm__evenflow={"head": {field: value}}))


def test_what_changes_nothing_is_said() -> None:
    section = {"preset": "tba", "objective": {"epsilon": 0.3}, "head": {"layers": 2}}
    with pytest.warns(UserWarning, match="no effect") as said:
        chosen(config(algorithm__evenflow=section))
    texts = [str(each.message) for each in said]
    assert any(text.startswith("no effect: objective.epsilon: ") for text in texts)
    assert "no effect: head: only log_z: head has a head" in texts


def test_what_acts_is_not_warned_of(recwarn: pytest.WarningsRecorder) -> None:
    chosen(
        config(algorithm__evenflow={"objective": {"inverse_temperature": 3}, "head": {"layers": 2}})
    )
    assert not recwarn.list


GROUP = {"objective": {"log_z": "group"}}
REFUSED = {
    "algorithm.evenflow.objectve": {"algorithm__evenflow": {"objectve": {}}},
    "objective.inverse_temp": {"algorithm__evenflow": {"objective": {"inverse_temp": 1}}},
    "head.pooling": {"algorithm__evenflow": {"head": {"pooling": "median"}}},
    "algorithm: grpo": {"algorithm__evenflow": {"preset": "grpo"}},
    "objective.log_z: offline": {
        "algorithm__evenflow": {
            "preset": "tba",
            "objective": {"log_z": "offline"},
        }
    },
    f"{ACTOR}.strategy: megatron": {"actor_rollout_ref__actor__strategy": "megatron"},
    f"{ACTOR}.strategy: fsdp is": {"actor_rollout_ref__actor__strategy": "fsdp"},
    f"{ACTOR}.use_kl_loss": {"actor_rollout_ref__actor__use_kl_loss": False},
    f"{ACTOR}.kl_loss_coef": {"actor_rollout_ref__actor__kl_loss_coef": 0.001},
    f"{ACTOR}.entropy_coeff": {"actor_rollout_ref__actor__entropy_coeff": 0.01},
    "algorithm.use_kl_in_reward": {"algorithm__use_kl_in_reward": True},
    "distillation.enabled": {"distillation__enabled": True},
    "algorithm.adv_estimator": {"algorithm__adv_estimator": "gae"},
    "actor_rollout_ref.rollout.n": {"actor_rollout_ref__rollout__n": 1},
    "algorithm.rollout_correction.rollout_is": {
        "algorithm__rollout_correction__rollout_is": "token"
    },
    "algorithm.rollout_correction.rollout_rs": {
        "algorithm__rollout_correction__rollout_rs": "seq_sum_k1,token_k3"
    },
    "actor_rollout_ref.model.lora_rank": {"actor_rollout_ref__model__lora_rank": 8},
    f"{ACTOR}.fsdp_config.ulysses": {
        "actor_rollout_ref__actor__fsdp_config__ulysses_sequence_parallel_size": 2
    },
}


@pytest.mark.parametrize("begins", REFUSED)
def test_what_does_not_go_together_is_refused_by_the_name_of_the_field(begins) -> None:
    with pytest.raises(UserError) as said:
        chosen(config(**REFUSED[begins]))
    assert str(said.value).startswith(begins)


def test_a_group_log_z_goes_with_adapters_and_fsdp() -> None:
    changes = {
        "actor_rollout_ref__model__lora_rank": 8,
        "actor_rollout_ref__actor__strategy": "fsdp",
    }
    assert chosen(config(algorithm__evenflow=GROUP, **changes)).head is None


def test_without_a_reference_in_the_target_none_is_asked_for() -> None:
    section = {"preset": "tba", "objective": {"reference_weight": 0}}
    off = {"actor_rollout_ref__actor__use_kl_loss": False}
    assert not chosen(config(algorithm__evenflow=section, **off)).objective.needs.reference


def test_a_penalty_for_length_hides_what_is_right() -> None:
    """`prior_lift` is for right answers, which are known by their reward."""
    buffer = {
        "reward__reward_manager__name": "dapo",
        "reward__reward_kwargs__overlong_buffer_cfg": {"enable": True},
    }
    lifted = {"objective": {"log_z": "group", "prior_lift": 1.0}}
    with pytest.raises(UserError, match=r"^reward\.reward_kwargs\.overlong_buffer_cfg\.enable"):
        chosen(config(algorithm__evenflow=lifted, **buffer))
    chosen(config(algorithm__evenflow=GROUP, **buffer))
    chosen(config(algorithm__evenflow=lifted, **(buffer | {"reward__reward_manager__name": "x"})))

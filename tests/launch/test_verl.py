"""A recipe in verl's terms: what is said, and what is refused (verl itself: tests_verl)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evenflow.config import TrainConfig, load
from evenflow.errors import UserError
from evenflow.launch.job import Cluster, Files, Job, hydra
from evenflow.launch.refused import refuse
from evenflow.launch.verl import job
from evenflow.objectives import PRESETS, Balance

FAMILY = [
    name
    for name, row in PRESETS.items()
    if isinstance(row.objective, Balance)
    and row.objective.log_z != "flow"
    and not row.objective.guidance
]
OWN_LOSS = ("grpo", "dr-grpo", "rloo", "dapo", "gspo", "cispo")
"""Surrogates that verl has as they are."""
ELSEWHERE = {
    "reinforce++": "advantage: global",
    "reinforce++-baseline": "whitens",
    "ppo": "advantage: gae",
    "prorl": "reset: verl has one reference",
    "gmpo": "clip: log-token",
    "maxrl": "advantage: relative",
    "pkpo": "advantage: best-of-k",
    "ds-grpo": "smoothing above 0",
    "ucpo": "rarity above 0",
    "subtb": "log_z: flow",
    "flowbalance": "objective.guidance: above 0",
}
ACTOR, ROLLOUT = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"


def recipe(*overrides: str) -> TrainConfig:
    return load(
        TrainConfig,
        None,
        ["data.train=q.jsonl", "reward.functions={math: 1.0}", "model.path=M", *overrides],
    )


def files(folder: Path = Path("/run"), **other: Any) -> Files:
    return Files(folder, folder / "config.yaml", folder / "train.parquet", 100, **other)


def told(*overrides: str, passed_on: tuple[str, ...] = ()) -> Job:
    return job(recipe(*overrides), files(), Cluster(), passed_on)


@pytest.mark.parametrize("name", FAMILY)
def test_the_balance_family_is_our_plug_in(name: str) -> None:
    found = told(f"algorithm={name}")
    assert found.overrides["trainer.v1.trainer_mode"] == "evenflow"
    assert found.overrides["+algorithm.evenflow.preset"] == name
    assert found.overrides[f"{ACTOR}.use_kl_loss"] is True
    assert found.overrides[f"{ACTOR}.kl_loss_coef"] == 0
    assert found.environment == {"VERL_USE_EXTERNAL_MODULES": "evenflow.plugins.verl"}
    # The preset says it all.
    assert not [key for key in found.overrides if "evenflow.objective" in key or ".head." in key]


def test_what_differs_from_the_preset_is_said() -> None:
    found = told(
        "algorithm=flowrl-official",
        "objective={inverse_temperature: 5, truncation: none, reference_weight: 0}",
        "head.dropout=0.3",
        "reward.functions={math: 2.0}",
    ).overrides
    ours = {k.rpartition("evenflow.")[2]: v for k, v in found.items() if "algorithm.evenflow" in k}
    assert ours == {
        "preset": "flowrl-official",
        "objective.inverse_temperature": 5.0,
        "objective.reference_weight": 0.0,
        "head.dropout": 0.3,
        "right": 2.0,
    }
    assert found[f"{ACTOR}.use_kl_loss"] is False  # no prior, no reference


@pytest.mark.parametrize("name", OWN_LOSS)
def test_surrogates_are_verls_own(name: str) -> None:
    found = told(f"algorithm={name}")
    assert found.overrides["trainer.v1.trainer_mode"] == "sync"
    assert not found.environment
    assert None not in found.overrides.values()


def test_a_surrogate_by_the_numbers() -> None:
    dapo = told("algorithm=dapo", "rollout.max_completion_length=100").overrides
    assert dapo[f"{ACTOR}.policy_loss.loss_mode"] == "vanilla"
    assert dapo[f"{ACTOR}.loss_agg_mode"] == "token-mean"
    assert (dapo[f"{ACTOR}.clip_ratio_low"], dapo[f"{ACTOR}.clip_ratio_high"]) == (0.2, 0.28)
    assert dapo["algorithm.filter_groups.enable"] is True
    assert "algorithm.filter_groups.max_num_gen_batches" not in dapo  # verl's trainer reads none
    assert dapo["reward.reward_manager.name"] == "dapo"
    assert dapo["+reward.reward_kwargs.overlong_buffer_cfg.len"] == 20
    rloo = told("algorithm=rloo").overrides
    assert rloo["algorithm.adv_estimator"] == "rloo"
    assert rloo[f"{ACTOR}.policy_loss.loss_mode"] == "gpg"
    assert rloo["algorithm.use_kl_in_reward"] is True
    assert rloo["algorithm.kl_ctrl.kl_coef"] == 0.03
    cispo = told("algorithm=cispo").overrides
    assert (cispo[f"{ACTOR}.clip_ratio_low"], cispo[f"{ACTOR}.clip_ratio_high"]) == (1.0, 4.0)
    dr_grpo = told("algorithm=dr-grpo").overrides
    assert dr_grpo[f"{ACTOR}.loss_scale_factor"] == 512
    assert dr_grpo["algorithm.norm_adv_by_std_in_grpo"] is False


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_verl_has_otherwise_is_refused_by_name(name: str) -> None:
    guide = ["data.guide_template={prompt} {answer}"] * PRESETS[name].objective.needs.guide
    config = recipe(f"algorithm={name}", *guide)
    with pytest.raises(UserError, match=ELSEWHERE[name]):
        refuse(config)


def test_every_preset_is_one_or_the_other() -> None:
    assert {*FAMILY} | {*OWN_LOSS, *ELSEWHERE} == PRESETS.keys()


@pytest.mark.parametrize(
    "settings",
    [
        ["device=cpu"],
        ["threads=2"],
        ["model.reference=R"],
        ["model.logprob_chunk=100"],
        ["model.lora.dropout=0.1", "algorithm=grpo"],
        ["data.chat_template=${x}"],
        ["rollout.engine=my_module:MyEngine"],
        ["rollout.stop=['x']"],
        ["rollout.segment=64"],
        ["rollout.lag=1"],
        ["rollout.replay.questions=4"],
        ["rollout.decoding=static"],
        ["rollout.largest_gap=null"],
        ["train.answers=100000"],
        ["train.schedule=linear"],
        ["train.correction.kind=token-mask", "algorithm=grpo"],
        ["reset.every=5"],
        ["rollout.dynamic_sampling=true"],
        ["model.lora={rank: 8}"],
        ["objective.log_z=offline", "algorithm=tba"],
        ["head.pooling=separator"],
    ],
    ids=lambda settings: settings[0],
)
def test_what_verl_has_no_counterpart_for_is_refused_by_key(settings: list[str]) -> None:
    with pytest.raises(UserError) as error:
        refuse(recipe(*settings))
    title, sentence = str(error.value).splitlines()
    assert title == "not by verl:"
    assert settings[0].startswith(sentence.partition(":")[0])


def test_all_is_refused_at_once() -> None:
    with pytest.raises(UserError) as error:
        refuse(recipe("threads=1", "rollout.lag=1", "train.schedule=linear"))
    assert len(str(error.value).splitlines()) == 4


def test_steps_must_be_shared_out_evenly() -> None:
    with pytest.raises(UserError, match=r"8 questions × 8 answers .* over 48 GPUs"):
        job(recipe("rollout.questions=8"), files(), Cluster(6, 8))
    with pytest.raises(UserError, match="128 are more than the 100 training questions"):
        told("rollout.questions=128")


def test_a_run_ends_after_its_steps() -> None:
    found = told("rollout.questions=32", "train.steps=10").overrides
    assert found["trainer.total_training_steps"] == 10
    assert found["trainer.total_epochs"] == 4  # of three whole steps each
    assert found["trainer.save_freq"] == 50
    assert told("checkpoint.every=0", "train.steps=7").overrides["trainer.save_freq"] == 7


def test_without_held_out_questions_nothing_is_evaluated() -> None:
    found = told().overrides
    assert (found["trainer.test_freq"], found["trainer.val_before_train"]) == (-1, False)
    held_out = job(recipe(), files(test=Path("/run/test.parquet")), Cluster()).overrides
    assert (held_out["trainer.test_freq"], held_out["trainer.val_before_train"]) == (50, True)


def test_the_longest_answer_fits_into_a_micro_batch() -> None:
    key = f"{ACTOR}.ppo_max_token_len_per_gpu"
    assert told().overrides[key] == 16384
    assert told("rollout.max_completion_length=20000").overrides[key] == 22048


@pytest.mark.parametrize("engine", ["embedded", "vllm"])
def test_vllms_share_is_the_recipes_and_that_of_the_plan(engine: str) -> None:
    """verl samples by vLLM, whatever engine the recipe has by itself."""
    key = f"{ROLLOUT}.gpu_memory_utilization"
    assert told(f"rollout.engine={engine}").overrides[key] == 0.4
    found = told(f"rollout.engine={engine}", "rollout.gpu_share=0.7")
    assert found.overrides[key] == 0.7
    assert not found.remarks


def test_what_changes_nothing_there_is_said() -> None:
    found = told("algorithm=grpo", "head.layers=2", "rollout.timeout=5", "rollout.replay.keep=9")
    assert [text.split(":")[:2] for text in found.remarks] == [
        ["no effect", " head.layers"],
        ["no effect", " rollout.replay.keep"],
        ["no effect", " rollout.timeout"],
    ]
    stale = told("algorithm=rloo", "train.epochs=2").remarks
    assert [text for text in stale if text.startswith("take care: ")]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("algorithm=dapo", "rollout.max_rounds=3"), "rollout.max_rounds: verl samples until"),
        (("algorithm=dr-grpo", "objective.aggregation_length=0.4"), "0.4 is no whole number"),
        (("algorithm=dr-grpo", "objective.aggregation_length=1.5"), "1.5 is no whole number"),
        (("model.lora={alpha: 32.4}",), "model.lora.alpha: verl wants a whole number"),
        (("train.correction.limit=2.0",), "train.correction.limit: auto leaves"),
    ],
)
def test_what_would_be_rounded_or_passed_over_is_refused(
    overrides: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        refuse(recipe(*overrides))


def test_what_is_passed_on_takes_the_place_of_ours() -> None:
    word = f"{ROLLOUT}.tensor_model_parallel_size=4"
    arguments = told(passed_on=(word,)).arguments
    assert [a for a in arguments if "tensor_model" in a] == [word]
    assert arguments[-1] == word
    with pytest.raises(UserError, match="'tp': behind -- stand verl's own overrides"):
        told(passed_on=("tp",))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "True"),
        (1e-06, "1e-06"),
        ("/a/b-c.d_e", "/a/b-c.d_e"),
        ("true", "'true'"),
        ("1e3", "'1e3'"),
        ("", "''"),
        ("it's", r"'it\'s'"),
        ("a\\", "'a\\\\'"),
        ("${x}", r"'\${x}'"),
        (["console", "a b"], "[console,'a b']"),
        ({"a": 1, "b": {"c": False}}, "{a:1,b:{c:False}}"),
    ],
)
def test_values_in_hydras_grammar(value: object, text: str) -> None:
    assert hydra(value) == text


def test_verl_logs_where_the_page_looks_for_it() -> None:
    found = told("log.backends=[wandb]").overrides
    assert found["trainer.logger"] == ["console", "file", "wandb"]
    variables = "+ray_kwargs.ray_init.runtime_env.env_vars"
    assert found[f"{variables}.VERL_FILE_LOGGER_PATH"] == "verl-1.jsonl"


def test_steps_end_a_run_of_which_verl_drops_questions() -> None:
    """29 epochs of the 1000 rows were 200 steps; of the 800 that are kept they are 174."""
    found = told("rollout.questions=32", "train.steps=200", "data.long_prompts=drop").overrides
    assert found["trainer.total_epochs"] == found["trainer.total_training_steps"] == 200


def test_what_a_correction_does_not_multiply_there_is_said() -> None:
    kind = "train.correction.kind=token-truncate"
    beside = told("algorithm=grpo", kind, "objective.kl_coefficient=0.1").remarks
    assert [text.split(":")[:2] for text in beside] == [["take care", " train.correction"]]
    assert not told("algorithm=grpo", kind, "objective.kl_coefficient=0").remarks
    assert not told("algorithm=rloo", kind).remarks  # its KL is in the reward

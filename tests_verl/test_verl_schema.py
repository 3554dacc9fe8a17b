"""What `evenflow verl` says, against verl's own configuration: composed by hydra from its files,
checked by its `validate_config`, and made into its dataclasses as its trainer makes them."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.utils.config import omega_conf_to_dataclass, validate_config

from evenflow.cli import main
from evenflow.config import read_yaml
from evenflow.installation import recipes
from evenflow.objectives import PRESETS, Balance
from evenflow.plugins.choices import Head

ASSET = Path(__file__).parents[1] / "src/evenflow/assets/countdown"
OURS = [name for name in recipes() if name.startswith("verl_")]
ROWS = [
    {
        "prompt": [{"role": "user", "content": f"${{x}}'s {n}\\boxed"}],
        "answer": "1",
        "tests": json.dumps({"entry_point": "f", "inputs": [[3]], "outputs": [9]}),
    }
    for n in range(512)
]


@pytest.fixture(autouse=True)
def questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "run").mkdir()
    return tmp_path / "q.jsonl"


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """The arguments that verl would get."""
    capsys.readouterr()
    assert main(list(words)) == 0
    shell = capsys.readouterr().out
    found = shlex.split(shell.replace("\\\n", ""))
    return found[found.index("verl.trainer.main_ppo") + 1 :]


def checked(arguments: list[str]) -> DictConfig:
    """verl's configuration, as its command makes and checks it."""
    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose("ppo_trainer", overrides=arguments)
    validate_config(
        config,
        use_reference_policy=need_reference_policy(config),
        use_critic=need_critic(config),
    )
    OmegaConf.resolve(config)
    for part in ("actor", "rollout", "model"):
        omega_conf_to_dataclass(config.actor_rollout_ref[part])
    return config


def by(
    capsys: pytest.CaptureFixture[str], name: str, *settings: str, passed_on: tuple[str, ...] = ()
) -> DictConfig:
    fixed = [f"model.path={ASSET}", "data.train=q.jsonl", "output=run"]
    return checked(printed(capsys, "verl", name, *fixed, *settings, "--print", "--", *passed_on))


@pytest.mark.parametrize("name", OURS)
def test_the_command_of_each_recipe_is_verls(name: str, capsys: Any) -> None:
    text = recipes()[name].read_text().replace("\\\n#", "")
    (command,) = re.findall(r"^#   (evenflow verl .*)$", text, re.MULTILINE)
    own, _, passed_on = command.partition(" -- ")
    words = [
        word
        for word in shlex.split(own)[2:]
        if not word.startswith(("model.path=", "data.train=", "data.test="))
    ]
    config = by(capsys, *words, passed_on=tuple(shlex.split(passed_on)))
    assert config.trainer.v1.trainer_mode == "evenflow"
    assert config.algorithm.evenflow.preset == read_yaml(recipes()[name])["algorithm"]
    assert config.actor_rollout_ref.actor.use_kl_loss is True
    assert config.actor_rollout_ref.actor.kl_loss_coef == 0


@pytest.mark.parametrize(
    "name", ["grpo", "dr-grpo", "rloo", "dapo", "gspo", "cispo", "flowrl", "tba", "rtb"]
)
def test_every_preset_is_verls(name: str, capsys: Any) -> None:
    config = by(capsys, "math", f"algorithm={name}")
    is_balance = isinstance(PRESETS[name].objective, Balance)
    assert (config.trainer.v1.trainer_mode == "evenflow") == is_balance
    assert not need_critic(config)


def test_verl_has_the_losses_and_advantages_that_are_named(capsys: Any) -> None:
    from verl.trainer.ppo.core_algos import get_adv_estimator_fn, get_policy_loss_fn

    for name in ("grpo", "dr-grpo", "rloo", "dapo", "gspo", "cispo"):
        config = by(capsys, "math", f"algorithm={name}")
        assert get_policy_loss_fn(config.actor_rollout_ref.actor.policy_loss.loss_mode)
        assert get_adv_estimator_fn(config.algorithm.adv_estimator)


def test_our_choices_arrive_as_they_are(capsys: Any) -> None:
    from evenflow.objectives import Setting
    from evenflow.plugins.choices import choose

    changes = ["objective={inverse_temperature: 3, prior_lift: 1.0}", "head.pooling=last"]
    ours = by(capsys, "math", "algorithm=flowrl-official", *changes).algorithm.evenflow
    told: Any = OmegaConf.to_container(ours)
    objective, head = choose(told["preset"], told["objective"], told["head"], Setting(), ["head"])
    assert (objective.inverse_temperature, objective.prior_lift) == (3, 1)
    assert objective.truncation == "none"
    assert head == Head(
        dropout=0.1,
        pooling="last",
        drop_last_token=True,
        trunk_gradient=True,
        learning_rate=None,
    )


@pytest.mark.parametrize(
    "settings",
    [
        ["model.dtype=float32", "model.attention=eager", "train.compile=false"],
        ["data.chat=true", "data.chat_template_kwargs={enable_thinking: false, words: 'a b'}"],
        ["algorithm=grpo", "train.correction.kind=sequence-truncate", "train.schedule=cosine"],
        ["log.backends=[wandb, tensorboard]", "log.project=my project", "seed=3"],
        ["checkpoint.weights_only=true", "checkpoint.every=0", "evaluation.temperature=0"],
        ["reward.overlong_share=0.2", "rollout.max_batch=64", "rollout.engine=vllm"],
    ],
    ids=lambda settings: settings[-1],
)
def test_settings_are_verls(settings: list[str], capsys: Any) -> None:
    by(capsys, "math", *settings)


def test_an_adapter_is_verls(capsys: Any) -> None:
    # Of vLLM, which is not there, verl would ask for the ranks that it knows.
    sglang = ("actor_rollout_ref.rollout.name=sglang",)
    lora = "model.lora={rank: 8, alpha: 4, target_modules: [q_proj, v_proj]}"
    model = by(capsys, "math", "algorithm=tba", lora, passed_on=sglang).actor_rollout_ref.model
    assert (model.lora_rank, model.lora_alpha) == (8, 4)
    assert model.target_modules == ["q_proj", "v_proj"]


def test_a_template_reaches_verl_letter_by_letter(capsys: Any) -> None:
    template = "{% for m in messages %}it's \\n\\{{ m.content }}{% endfor %}\\"
    config = by(capsys, "math", f"data.chat_template={json.dumps(template)}")
    assert config.actor_rollout_ref.model.custom_chat_template == template


def test_verl_reads_our_questions_and_calls_our_rewards(capsys: Any) -> None:
    import numpy as np
    import torch
    from transformers import AutoTokenizer
    from verl.trainer.ppo.reward import get_custom_reward_fn
    from verl.utils.dataset.rl_dataset import RLHFDataset

    config = by(capsys, "math")
    tokenizer = AutoTokenizer.from_pretrained(ASSET)
    data = RLHFDataset(
        data_files=config.data.train_files,
        tokenizer=tokenizer,
        config=OmegaConf.merge(config.data, {"filter_overlong_prompts": False}),
    )
    row = data[5]
    assert row["raw_prompt"] == ROWS[5]["prompt"]
    assert isinstance(row["dummy_tensor"], torch.Tensor)
    reward: Any = get_custom_reward_fn(config)
    for answer, score in ((r"\boxed{1}", 1.0), (r"\boxed{2}", 0.0)):
        found = reward(
            data_source=row["data_source"],
            solution_str=answer,
            ground_truth=row["reward_model"]["ground_truth"],
            extra_info=row["extra_info"] | {"num_turns": np.int32(2), "rollout_reward_scores": {}},
        )
        assert found == {"score": score, "acc": score, "unknown": 0.0}

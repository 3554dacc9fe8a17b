"""What is said of fields that change nothing, and of losses that need a ratio."""

from __future__ import annotations

from pathlib import Path

import pytest

from evenflow.config import TrainConfig, load
from evenflow.config.effect import cautions, idle_templates, without_effect
from evenflow.errors import UserError
from evenflow.objectives import PRESETS, Balance, Setting

RECIPES = Path(__file__).parents[1] / "recipes"


OFF_POLICY = "train.epochs=2"
FROM_FILES = [
    *("data.task=null", "data.train=a.jsonl", "data.test=b.jsonl"),
    "reward.functions={gsm8k: 1.0}",
]
EXACT = "model.dtype=float32"
OF_CORRECTION = ["train.correction.kind", "train.correction.limit"]
CORRECTED = [
    *("algorithm=grpo", "rollout.largest_gap=0.5"),
    *("train.correction.kind=token-truncate", "train.correction.limit=2"),
]
OF_EVALUATION = [
    f"evaluation.{name}"
    for name in ("questions", "skip", "num_generations", "temperature", "top_p", "samples")
]
EVALUATED = [
    f"{name}={value}" for name, value in zip(OF_EVALUATION, (7, 7, 7, 0.5, 0.5, 7), strict=True)
]


def config(*overrides: str) -> TrainConfig:
    return load(TrainConfig, None, ["data.task=countdown", *overrides])


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        (["algorithm=tba", "head.layers=2", "head.dropout=0.1"], ["head.layers", "head.dropout"]),
        (["algorithm=flowrl", "head.layers=2"], []),
        (["algorithm=grpo", "critic.layers=3"], ["critic.layers"]),
        (["algorithm=ppo", "critic.layers=3"], []),
        (["rollout.max_rounds=3"], ["rollout.max_rounds"]),
        (["rollout.max_rounds=3", "rollout.dynamic_sampling=true"], []),
        (["algorithm=flowrl", "objective={cap: 3.0}"], ["objective.cap"]),
        (["algorithm=flowrl", "objective={cap: 3.0, truncation: upper}", OFF_POLICY], []),
        (
            ["algorithm=flowrl", "objective={cap: 3.0, truncation: upper}"],
            ["objective.truncation", "objective.cap"],
        ),
        (["algorithm=flowrl", "objective={cap: 0.5, truncation: upper}"], []),
        (["algorithm=flowrl", "head.separator=<s>"], ["head.separator"]),
        (["algorithm=flowrl", "head.separator=<s>", "head.pooling=separator"], []),
        (["algorithm=flowrl", "head.layers=1", "head.dropout=0.1"], ["head.dropout"]),
        (["log.project=mine"], ["log.project"]),
        (["log.project=mine", "log.backends=[tensorboard]"], ["log.project"]),
        (["log.project=mine", "log.backends=[tensorboard, trackio]"], []),
        (["algorithm=grpo", "log.reference_kl=false"], ["log.reference_kl"]),
        (["algorithm=dapo", "log.reference_kl=false"], []),
        (["train.mini_batch_questions=32"], ["train.mini_batch_questions"]),
        (["train.mini_batch_questions=16"], []),
        (["train.answers=25600"], ["train.answers"]),  # 100 steps of 32 · 8
        (["train.answers=25599"], []),
        (["train.answers=25600", "rollout.dynamic_sampling=true"], []),
        (["algorithm=tba", "objective={log_z: offline}", "train.answers=25600"], []),
        (["train.warmup_steps=100", "train.schedule=linear"], ["train.schedule"]),
        (["train.warmup_steps=99", "train.schedule=linear"], []),
        (["train.answers=512", "train.schedule=linear"], ["train.schedule"]),  # 2 steps
        (["train.answers=2560", "train.schedule=linear"], ["train.schedule"]),
        (["train.answers=2816", "train.schedule=linear"], []),
        (["data.train_split=test"], ["data.train_split"]),
        ([*FROM_FILES, "evaluation.every=0"], ["data.test"]),
        (FROM_FILES, []),
        (CORRECTED, []),  # model.dtype: auto may stand for bfloat16
        ([*CORRECTED, "model.dtype=bfloat16"], []),
        ([*CORRECTED, "model.dtype=float32", "rollout.engine=m:E"], []),
        ([*CORRECTED, EXACT], ["rollout.largest_gap", *OF_CORRECTION]),
        ([*CORRECTED, EXACT, "rollout.lag=1"], ["rollout.largest_gap"]),
        ([*CORRECTED, EXACT, "rollout.replay.questions=2"], ["rollout.largest_gap"]),
        ([*CORRECTED, EXACT, "rollout.segment=256"], ["rollout.largest_gap"]),
        (["evaluation.every=0", *EVALUATED], OF_EVALUATION),
        (["evaluation.every=1", *EVALUATED], []),
        (["data.chat_template_kwargs={thinking: false}"], ["data.chat_template_kwargs"]),
        (["data.chat_template_kwargs={thinking: false}", "data.chat=true"], []),
        (["algorithm=rtb", "objective={duplicates: once}"], []),
        (
            ["algorithm=rtb", "objective={duplicates: once}", "rollout.num_generations=1"],
            ["objective.duplicates"],
        ),
        (["algorithm=ppo", "objective={value_epsilon: 0.1}"], ["objective.value_epsilon"]),
        (
            ["algorithm=ppo", "objective={value_epsilon: 0.1}", "model.lora={dropout: 0.1}"],
            [],
        ),
        (
            [
                "algorithm=flowrl",
                "objective={cap: 3.0, truncation: upper, importance: none}",
                OFF_POLICY,
            ],
            ["objective.truncation", "objective.cap"],
        ),
        (["algorithm=grpo", "objective={gae_lambda: 0.9}"], ["objective.gae_lambda"]),
        (["algorithm=ppo", "objective={gae_lambda: 0.9}"], []),
        (["algorithm=flowrl", "objective={epsilon: 0.2}"], []),  # as it is anyhow
        (["algorithm=flowrl-official", "objective={log_z: group}"], []),  # the preset's own head
        (["algorithm=dr-grpo", "model.reference=m"], []),  # its KL is logged
        (
            ["algorithm=dr-grpo", "model.reference=m", "log.reference_kl=false"],
            ["model.reference"],
        ),
    ],
)
def test_a_field_that_changes_nothing_is_named(overrides: list[str], names: list[str]) -> None:
    assert [text.partition(":")[0] for text in without_effect(config(*overrides))] == names


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_our_own_recipes_say_nothing_idle(recipe: Path) -> None:
    if "_base" in recipe.stem:
        pytest.skip("a recipe for pretraining")
    blanks = ["model.path=m", "data.train=t"] if "???" in recipe.read_text() else []
    blanks = [
        text for text in blanks if f"{text.split('.')[1].split('=')[0]}: ???" in recipe.read_text()
    ]
    loaded = load(TrainConfig, recipe, blanks)
    assert without_effect(loaded) == []
    assert cautions(loaded) == []


@pytest.mark.parametrize("name", PRESETS)
def test_no_preset_has_an_idle_part(name: str) -> None:
    assert without_effect(config(f"algorithm={name}")) == []


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("setting", [Setting(), Setting(single_step=True, num_generations=1)])
def test_rules_name_fields_that_are_there(name: str, setting: Setting) -> None:
    row = PRESETS[name].objective
    found = {field for fields, _ in row.idle(setting, row) for field in fields}
    assert found <= set(type(row).model_fields)


def test_a_warm_up_that_never_ends() -> None:
    (sentence,) = cautions(config("train.steps=3"))
    assert sentence.startswith("train.warmup_steps: 10 last to the end of 3 steps")
    assert "0.27 of train.learning_rate" in sentence
    assert cautions(config("train.steps=11")) == []


def test_a_warm_up_that_lasts_longer_than_the_budget_of_answers() -> None:
    (sentence,) = cautions(config("train.answers=512"))  # 2 steps of 32 · 8
    assert sentence.startswith("train.warmup_steps: 10 last to the end of 2 steps (train.answers)")
    assert "0.18 of train.learning_rate" in sentence
    assert cautions(config("train.answers=2816")) == []
    (sentence,) = cautions(config("train.answers=512", "rollout.dynamic_sampling=true"))
    assert "the end of 2 steps (train.answers)" in sentence
    (sentence,) = cautions(config("train.steps=3", "train.answers=2560"))
    assert "the end of 3 steps (train.steps)" in sentence


@pytest.mark.parametrize(
    "override",
    [
        "train.learning_rate=0",
        "train.learning_rate=.inf",
        "train.max_grad_norm=0",
        "train.max_grad_norm=.inf",
        "train.max_grad_norm=.nan",
        "head.learning_rate=0",
        "train.steps=0",
        "objective={inverse_temperature: .inf}",
        "objective={inverse_temperature: 0}",
    ],
)
def test_a_setting_that_could_not_train_is_refused(override: str) -> None:
    with pytest.raises(UserError, match=override.split("=")[0]):
        config(override)


def test_a_loss_without_ratio_off_policy() -> None:
    assert cautions(config("algorithm=rloo")) == []
    for overrides in (["train.epochs=2"], ["train.mini_batch_questions=8"]):
        (sentence,) = cautions(config("algorithm=rloo", *overrides))
        assert sentence.startswith("objective.ratio: none")
        assert cautions(config("algorithm=grpo", *overrides)) == []
    off = "objective={importance: none}"
    (sentence,) = cautions(config("algorithm=tba", off, "train.epochs=2"))
    assert sentence.startswith("objective.importance: none")
    for older in ("rollout.lag=1", "rollout.replay.questions=2", "rollout.segment=8"):
        for algorithm in ("rloo", "tba"):  # corrected, or in no need of it: offpolicy.md
            assert cautions(config(f"algorithm={algorithm}", older)) == []
        assert cautions(config("algorithm=tba", off, older, "train.epochs=2")) == [sentence]


@pytest.mark.parametrize(
    "older", ["rollout.lag=1", "rollout.replay.questions=2", "rollout.segment=8"]
)
def test_a_loss_without_ratio_on_older_answers(older: str) -> None:
    """Without a ratio and without a correction nothing knows whose the answers are."""
    off = "train.correction.kind=none"
    for algorithm in ("rloo", "pkpo"):
        (sentence,) = cautions(config(f"algorithm={algorithm}", older, off))
        assert sentence.startswith("objective.ratio: none")
        assert "train.correction.kind" in sentence
        assert cautions(config(f"algorithm={algorithm}", off)) == []
        kind = "train.correction.kind=token-truncate"
        assert cautions(config(f"algorithm={algorithm}", older, kind)) == []
    for algorithm in ("grpo", "tba", "flowrl"):  # a ratio of their own, or no need of one
        assert cautions(config(f"algorithm={algorithm}", older, off)) == []


def test_an_adapter_with_the_rate_of_all_weights() -> None:
    (sentence,) = cautions(config("model.lora={rank: 4}"))
    assert sentence.startswith("train.learning_rate: 1e-06")
    assert cautions(config("model.lora={rank: 4}", "train.learning_rate=5.0e-5")) == []


def test_one_field_says_what_is_right() -> None:
    """reward.right reaches the objective; to say something else there is refused."""
    halves = ["algorithm=tba", "reward.right=0.5"]
    objective = config(*halves, "objective={prior_lift: 1.0}").build_objective()
    assert isinstance(objective, Balance)
    assert objective.right_reward == 0.5
    with pytest.raises(UserError, match="leave the first out"):
        config(*halves, "objective={prior_lift: 1.0, right_reward: 1.0}")


@pytest.mark.parametrize(
    ("overrides", "chats", "idle"),
    [
        (["data.prompt_template=Q {prompt}", "data.chat=true"], [True, True],
         ["data.prompt_template", "data.chat"]),
        (["data.prompt_template=Q {prompt}"], [True, False], []),
        (["data.prompt_template=Q {prompt}"], [False], []),
        (["data.chat_template={{ messages }}", "data.chat_template_kwargs={a: 1}"], [False],
         ["data.chat_template", "data.chat_template_kwargs"]),
        (["data.chat_template={{ messages }}"], [True, False], []),
        (["data.chat_template={{ messages }}", "data.chat=true"], [False], []),
        (["data.chat_template={{ messages }}"], [], []),
    ],
)  # fmt: skip
def test_templates_that_no_question_goes_through(
    overrides: list[str], chats: list[bool], idle: list[str]
) -> None:
    given = ["data.train=a.jsonl", "reward.functions={gsm8k: 1}", *overrides]
    config = load(TrainConfig, None, given)
    assert [text.partition(":")[0] for text in idle_templates(config.data, chats)] == idle

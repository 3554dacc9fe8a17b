"""Recipes: precedence, refusals that name the field, and no field that nobody reads."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

import evenflow
from evenflow.config import (
    BenchmarkConfig,
    CompareConfig,
    DiversityConfig,
    ExactConfig,
    LoraConfig,
    PretrainConfig,
    TrainConfig,
    dump,
    fields,
    load,
)
from evenflow.config.explain import type_name
from evenflow.config.reading import OLD_NAME
from evenflow.errors import UserError
from evenflow.objectives import PRESETS, Balance

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


def read(*overrides: str, recipe: Path | None = None) -> TrainConfig:
    return load(TrainConfig, recipe, ["data.task=countdown", *overrides])


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return path


# --- precedence ------------------------------------------------------------------------------


def test_defaults_give_way_to_the_preset_the_recipe_and_the_command_line(tmp_path: Path) -> None:
    preset = "algorithm: flowrl-official\n"
    recipe = written(tmp_path, preset + "head: {dropout: 0.3}\n")
    assert read().head.dropout == 0.0
    assert read("algorithm=flowrl-official").head.dropout == 0.1
    assert read(recipe=recipe).head.dropout == 0.3
    assert read("head.dropout=0.4", recipe=recipe).head.dropout == 0.4
    # What the recipe does not say about the head still comes from the preset.
    assert read(recipe=recipe).head.drop_last_token
    assert read("head.drop_last_token=false", recipe=recipe).head.drop_last_token is False
    # A null of the recipe is a choice too.
    chosen = written(tmp_path, preset + "head: {learning_rate: 0.5}\n")
    assert read(recipe=chosen).head.learning_rate == 0.5


def test_objective_changes_the_presets_row() -> None:
    objective = read("algorithm=tba", "objective.inverse_temperature=3").build_objective()
    assert isinstance(objective, Balance)
    assert objective == PRESETS["tba"].objective.model_copy(update={"inverse_temperature": 3.0})


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "1.0e-4", "0.0001", "+1e-4"])
def test_numbers_as_people_write_them(tmp_path: Path, text: str) -> None:
    assert read(f"train.learning_rate={text}").train.learning_rate == 1e-4
    recipe = written(tmp_path, f"train: {{learning_rate: {text}}}")
    assert read(recipe=recipe).train.learning_rate == 1e-4


def test_texts_that_look_like_yaml_stay_texts() -> None:
    config = read("data.prompt_template=Q: {prompt}", "rollout.stop=['1e5', 7]", "output=runs/[x")
    assert config.data.prompt_template == "Q: {prompt}"
    assert config.rollout.stop == ["1e5", 7]
    assert config.output == "runs/[x"


def test_fields_of_text_are_read_as_text() -> None:
    config = read(
        "data.prompt_template={prompt}", "output=2024", "data.system_prompt=End with #### and it."
    )
    assert config.data.prompt_template == "{prompt}"
    assert config.output == "2024"
    assert config.data.system_prompt == "End with #### and it."
    assert read("output='a #b'").output == "a #b"
    assert read("data.system_prompt=null").data.system_prompt is None


# --- refusals --------------------------------------------------------------------------------

REFUSED = {
    # Python's word for null
    "output=None": "output: None is a text in YAML; write null for nothing",
    "threads=none": "threads: none is a text in YAML; write null for nothing",
    "data.test='None'": "data.test: None is a text in YAML; write null for nothing",
    "data.system_prompt=[Be brief]": "not ['Be brief'] (put text like that in quotes)",
    # unknown names, at any depth
    "x=1": "x: there is no such field; there are: seed, output,",
    "seeds=1": "seeds: there is no such field; did you mean seed?",
    "train.stps=1": "train.stps: there is no such field; did you mean train.steps?",
    "model.lora={rnk: 1}": "model.lora.rnk: there is no such field; did you mean model.lora.rank?",
    "objective.log_zz=head": "objective.log_zz: there is no such field; did you mean objective",
    "train.betas.a=1": "train.betas: must be",
    # wrong types and values
    "train.steps=true": "train.steps: must be a valid integer, not true",
    "model.path=no": "model.path: must be a valid string, not false (yes, no, on and off are",
    "train.steps=1.5": "train.steps: must be a valid integer, not 1.5",
    "train.steps=0": "train.steps: must be greater than 0, not 0",
    "train.learning_rate=fast": "train.learning_rate: must be a valid number, not 'fast'",
    "rollout.temperature=.inf": "rollout.temperature: must be a finite number",
    "seed=": "seed: must be a valid integer, not empty (null)",
    "train=5": "train: must be a section of fields (steps, ",
    "data=": "data: must be a section of fields (task, ",
    "algorithm=[a]": "algorithm: must be a valid string",
    "model.attention=fast": "model.attention: must be 'sdpa', 'eager' or 'flash_attention_2', not",
    "rollout.stop=[1.5]": "rollout.stop: must be a valid string or a valid integer, not 1.5",
    "model.lora.target_modules=5": "must be a valid list or 'all-linear', not 5",
    "reward.functions={a: b}": "reward.functions: must be a valid number, not 'b'",
    "train.betas=[0.9, 1]": "train.betas: must be less than 1, not 1",
    "train.betas=[0.9]": "train.betas: must be [number, number], not [0.9]",
    "train.betas=[0.9, 0.9, 0.9]": "train.betas: must be [number, number], not [0.9, 0.9, 0.9]",
    "train.betas=null": "train.betas: must be [number, number], not empty (null)",
    "log.backends=[aim]": "log.backends: must be 'tensorboard', 'wandb', 'trackio' or 'mlflow',",
    # the objective's own rules
    "objective.log_z=grup": "objective.log_z: must be 'head', 'group', ",
    "objective.log_z=offline": "objective.log_z: offline needs scale: sum or constant",
    "objective.scale=constant": "objective.scale: constant needs scale_length",
    "objective.advantage=group": "objective.advantage: not with algorithm=flowrl; only grpo",
    # combinations
    "algorithm=ppoo": "algorithm: there is no preset 'ppoo'; did you mean ppo or pkpo? there are ",
    "algorithm=GRPO": "algorithm: there is no preset 'GRPO'; did you mean grpo or gspo? there",
    "algorithm=xyz": "algorithm: there is no preset 'xyz'; there are flowrl, ",
    "objective.inverse_temperature=true": "must be a valid number, not true",
    "objective.inverse_temperature='5'": "must be a valid number, not '5'",
    "rollout.top_p=0.9": "rollout.top_p, rollout.top_k: filtered sampling is refused",
    "rollout.top_k=5": "rollout.top_p, rollout.top_k: filtered sampling is refused",
    "train.mini_batch_questions=5": "train.mini_batch_questions: 5 does not divide rollout.quest",
    "data.task=null": "data.task, data.train: name exactly one source",
    "data.train=a.jsonl": "data.task, data.train: name exactly one source",
    "data.test=a.jsonl": "data.test: a built-in task brings its own",
    "rollout.num_generations=1": "rollout.num_generations: this objective compares answers",
    # names of before the package was renamed
    f"reward.functions={{{OLD_NAME}.rewards.math:math: 1.0}}": "write evenflow.rewards.math:math",
    f"algorithm={OLD_NAME}.my:X": "algorithm: the package has another name; write evenflow.my:X",
    # not even a field
    "seed": "'seed': an override is written key=value",
    "=1": "'=1': an override is written key=value",
}


@pytest.mark.parametrize("override", REFUSED)
def test_refusals_name_the_field_and_what_is_allowed(override: str) -> None:
    with pytest.raises(UserError, match=re.escape(REFUSED[override])):
        read(override)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["algorithm=grpo", "objective.log_z=head"], "objective.log_z: not with algorithm=grpo"),
        (["model.lora={}", "model.reference=x"], "model.reference: with LoRA"),
        (["head.pooling=separator", "head.drop_last_token=true"], "head.drop_last_token: the last"),
        (["data.task=null", "data.train=x.jsonl"], "reward.functions: questions from a file need"),
        (
            ["data.task=null", "data.train=x.jsonl", "data.task_options={a: 1}"],
            "data.task_options: only together with data.task",
        ),
        (["algorithm=grpo", "rollout.num_generations=1"], "rollout.num_generations: this objecti"),
    ],
)
def test_impossible_combinations(overrides: list[str], says: str) -> None:
    with pytest.raises(UserError, match=re.escape(says)):
        read(*overrides)


def test_one_answer_a_question_is_enough_where_none_are_compared() -> None:
    assert read("algorithm=rtb", "rollout.num_generations=1").rollout.num_generations == 1


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(UserError) as caught:
        read("train.steps=0", "sed=1", "rollout.questions=x")
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines] == ["rollout.questions", "train.steps", "sed"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "recipe.yaml: not a YAML file: "),
        ("- a\n- b", "recipe.yaml: a recipe is a mapping"),
        ("train: {steps: 1}\ntrain: {epochs: 2}", "'train' stands there twice"),
        ("train:\n", "train: must be a section of fields"),
        ("train.steps: 2", "train.steps: in a file a section holds its fields, train: {steps: …}"),
        ("1: 2", "a recipe: fields have names, not 1"),
        ("train: {1: 2}", "train: fields have names, not 1"),
        (
            "model:\n  path: ???\ndata:\n  train: ???",
            "only you can say: model.path=…, data.train=…",
        ),
    ],
)
def test_recipes_that_cannot_be_read(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UserError, match=re.escape(says)):
        load(TrainConfig, written(tmp_path, text), [])


def test_a_missing_or_binary_recipe(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml: there is no such recipe"):
        load(TrainConfig, tmp_path / "none.yaml", [])
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"binary\.yaml: is not UTF-8 text"):
        load(TrainConfig, tmp_path / "binary.yaml", [])


def test_the_old_name_may_stand_where_it_is_no_import_path() -> None:
    words = [f"data.prompt_template={OLD_NAME}.py: {{prompt}}", f"output=runs/{OLD_NAME}.old"]
    assert read(*words, f"log.project={OLD_NAME}").output == f"runs/{OLD_NAME}.old"


def test_what_must_be_given_is_named_with_its_section() -> None:
    with pytest.raises(UserError, match=r"^model\.path=… is missing\nbenchmark=… is missing$"):
        load(BenchmarkConfig, None, [])
    with pytest.raises(UserError, match=r"^model\.path=… is missing$"):
        load(BenchmarkConfig, None, ["benchmark=x", "model.dtype=auto"])


def test_open_fields_can_be_filled(tmp_path: Path) -> None:
    recipe = written(tmp_path, "model:\n  path: ???\n")
    assert read("model.path=here", recipe=recipe).model.path == "here"


# --- round trip, shipped recipes -------------------------------------------------------------


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_loads_and_survives_the_round_trip(path: Path, tmp_path: Path) -> None:
    values = yaml.safe_load(path.read_text()) or {}
    kind = PretrainConfig if "batch" in values else TrainConfig
    filled = [
        f"{section}.{name}=filled"
        for section, inner in values.items()
        if isinstance(inner, dict)
        for name, value in inner.items()
        if value == "???"
    ]
    config = load(kind, path, filled)
    again = written(tmp_path, dump(config))
    assert load(kind, again, []) == config


# --- every field is documented and read ------------------------------------------------------


KINDS = [TrainConfig, PretrainConfig, BenchmarkConfig, CompareConfig, ExactConfig, DiversityConfig]


@pytest.mark.parametrize("kind", [*KINDS, LoraConfig, Balance])
def test_every_field_has_a_type_and_a_meaning(kind: type[BaseModel]) -> None:
    for name, shown, _, meaning in fields(kind):
        assert meaning.endswith((".", ")")) or ":" in meaning, name
        assert not re.search(r"typing|Literal|Annotated|class|NoneType", shown), (name, shown)


def test_types_are_shown_as_a_writer_of_yaml_knows_them() -> None:
    shown = {name: kind for name, kind, _, _ in fields(TrainConfig)}
    assert shown["model.dtype"] == "auto | float32 | bfloat16"
    assert shown["train.mini_batch_questions"] == "integer | null"
    assert shown["train.betas"] == "[number, number]"
    assert shown["rollout.stop"] == "list of text | integer"
    assert shown["reward.functions"] == "{text: number}"
    assert shown["model.lora.rank"] == "integer"
    assert type_name(bool) == "true | false"


def test_every_field_is_read_somewhere() -> None:
    """By attribute access in the package's sources; `architecture` is handed on as a whole."""
    read_names = {
        node.attr
        for path in Path(evenflow.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
    }
    names = [name for kind in KINDS for name, *_ in fields(kind)]
    dead = [
        name
        for name in names
        if name.rpartition(".")[2] not in read_names and not name.startswith("architecture.")
    ]
    assert not dead


def test_another_algorithm_leaves_the_recipe_s_objective_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """β belongs to the recipe's algorithm; what the command line says, to the new one."""
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "algorithm: tba\nobjective: {inverse_temperature: 6}\ndata: {task: countdown}\n"
    )
    other = load(TrainConfig, recipe, ["algorithm=dapo", "objective.epsilon=0.1"])
    assert other.objective == {"epsilon": 0.1}
    assert other.rollout.dynamic_sampling
    assert "its objective settings belong to tba; left out for dapo" in caplog.text
    assert load(TrainConfig, recipe, ["algorithm=tba"]).objective == {"inverse_temperature": 6}
    assert load(TrainConfig, recipe, ["objective.epsilon=0.3"]).objective["epsilon"] == 0.3


def test_settings_of_the_old_algorithm_go_with_it(tmp_path: Path) -> None:
    """A resolved configuration holds what its preset brought; what the user set otherwise stays."""
    recipe = tmp_path / "r.yaml"
    old = load(TrainConfig, None, ["algorithm=prorl", "data.task=countdown", "reset.patience=7"])
    recipe.write_text(dump(old))
    new = load(TrainConfig, recipe, ["algorithm=flowrl"])
    assert not new.rollout.dynamic_sampling
    assert new.rollout.temperature == 1.0
    assert new.reset.patience == 7


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.answers=255"], "train.answers: 255 is less than one batch.* = 256 answers"),
        (
            ["algorithm=reinforce++", "rollout.num_generations=1", "rollout.dynamic_sampling=true"],
            "rollout.num_generations must be at least 2",
        ),
        (
            ["algorithm=tba", "objective.log_z=offline", "reward.overlong_share=0.2"],
            "reward.overlong_share: an offline log Z",
        ),
        (
            ["algorithm=tba", "objective.prior_lift=1", "reward.overlong_share=0.2"],
            "reward.overlong_share: with prior_lift",
        ),
        (
            ["algorithm=maxrl", "reward.overlong_share=0.2"],
            "reward.overlong_share: advantage: relative divides by a group's mean reward",
        ),
        (
            [
                *("algorithm=maxrl", "objective.kl_coefficient=0.1"),
                *("objective.kl_in=reward", "objective.kl_estimator=k1"),
            ],
            "objective.kl_in: reward: advantage: relative divides by a group's mean reward",
        ),
        (
            ["algorithm=maxrl", "objective.smoothing_wrong=0.2"],
            "objective.smoothing_wrong: advantage: relative divides by a group's mean reward",
        ),
        (
            ["algorithm=flowrl", "objective.reward=relative", "reward.overlong_share=0.2"],
            "reward.overlong_share: reward: relative divides by a group's mean reward",
        ),
    ],
)
def test_impossible_together(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(TrainConfig, None, ["data.task=countdown", *overrides])


def test_smoothing_of_the_advantage_spares_a_mean_that_is_divided_by() -> None:
    """A wrong answer's smoothing can bring a reward below 0, an advantage anywhere."""
    given = ["algorithm=maxrl", "objective.smoothing_wrong=0.2", "objective.smoothing_in=advantage"]
    load(TrainConfig, None, ["data.task=countdown", *given])


def test_constant_aggregation_takes_the_longest_answer() -> None:
    config = load(TrainConfig, None, ["data.task=countdown", "algorithm=dr-grpo"])
    assert config.build_objective().aggregation_length == 512.0  # type: ignore[union-attr]
    config = load(
        TrainConfig,
        None,
        ["data.task=countdown", "algorithm=dr-grpo", "objective.aggregation_length=9"],
    )
    assert config.build_objective().aggregation_length == 9.0  # type: ignore[union-attr]

"""The face: a recipe from Python values, a run with Python's own rewards, questions, callbacks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import evenflow
from evenflow import Trainer, load, train
from evenflow.cli import main
from evenflow.commands.train import resumed
from evenflow.config import GIVEN, TrainConfig
from evenflow.errors import UserError
from evenflow.run import checkpoints
from tests.test_package import modules_after
from tests.training.rewards import digits

ROWS = [{"prompt": f"1,2,3>{target}:", "wanted": str(target)} for target in range(1, 9)]
Make = Callable[..., TrainConfig]


@pytest.fixture
def small(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A recipe for questions from Python; sections and fields may be added."""
    monkeypatch.chdir(tmp_path)

    def make(*overrides: str, **fields: Any) -> TrainConfig:
        defaults = (
            "device=cpu",
            "rollout={questions: 2, num_generations: 2, max_completion_length: 6}",
            "train={steps: 3, warmup_steps: 1, learning_rate: 1e-3}",
            "checkpoint.every=0",
            "evaluation={every: 1, num_generations: 2}",
            f"model.path={tiny_model}",
        )
        return load(None, *defaults, *overrides, **fields)

    return make


def wanted(completions: list[str], wanted: list[str], **_: Any) -> list[float]:
    return [float(gold in text) for text, gold in zip(completions, wanted, strict=True)]


# --- names -----------------------------------------------------------------------------------


def test_importing_the_package_imports_nothing_heavy() -> None:
    loaded = modules_after("import evenflow; dir(evenflow); evenflow.__all__")
    assert not loaded & {"torch", "transformers", "pydantic", "yaml", "rich", "evenflow.face"}


def test_every_name_is_there_when_it_is_asked_for() -> None:
    assert set(evenflow.__all__) <= set(dir(evenflow))
    assert set(evenflow.__all__) == set(evenflow.HOMES)
    for name in evenflow.__all__:
        assert getattr(evenflow, name).__name__ if name != "PRESETS" else evenflow.PRESETS
    with pytest.raises(AttributeError, match="has no attribute 'Trianer'"):
        evenflow.Trianer  # noqa: B018
    with pytest.raises(ImportError, match="Trianer"):
        exec("from evenflow import Trianer")


# --- load ------------------------------------------------------------------------------------


def test_fields_and_sections_by_name() -> None:
    config = load(
        algorithm="tba",
        seed=3,
        objective={"inverse_temperature": 7},
        train={"steps": 5, "learning_rate": 1e-5},
        model={"path": Path("some/where"), "lora": {"rank": 2}},
        data={"task": "countdown", "task_options": {"targets": (5, 20)}},
    )
    assert (config.seed, config.train.steps, config.train.learning_rate) == (3, 5, 1e-5)
    assert config.objective == {"inverse_temperature": 7}
    assert (config.model.path, config.model.lora and config.model.lora.rank) == ("some/where", 2)
    assert (config.data.task, config.data.train) == ("countdown", None)


def test_without_a_source_the_questions_are_given(tmp_path: Path) -> None:
    assert load().data.train == GIVEN
    assert load(data={"max_prompt_length": 9}).data.train == GIVEN
    assert load(None, "data={task: countdown}").data.train is None
    assert load(None, "data.task=countdown").data.train is None
    (tmp_path / "r.yaml").write_text("train: {steps: 2}\n")
    assert load(tmp_path / "r.yaml").data.train == GIVEN


def test_a_file_then_overrides_then_fields(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(
        "algorithm: tba\nobjective: {inverse_temperature: 6}\n"
        "train: {steps: 2, warmup_steps: 7}\ndata: {task: countdown}\n"
    )
    config = load(file, "train.steps=3", "seed=1", seed=2, rollout={"questions": 8})
    assert (config.train.steps, config.train.warmup_steps, config.seed) == (3, 7, 2)
    assert (config.rollout.questions, config.data.task) == (8, "countdown")
    assert config.objective == {"inverse_temperature": 6}
    assert load(file, algorithm="grpo").objective == {}  # as the command line has it
    assert load(str(file)).seed == 0


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"stepz": 1}, "stepz: there is no such field"),
        ({"train": {"stps": 1}}, "train.stps: there is no such field; did you mean train.steps?"),
        ({"model": {"lora": {"rnk": 1}}}, "model.lora.rnk: there is no such field"),
        ({"train": {"steps": "many"}}, "train.steps: must be a valid integer, not 'many'"),
        ({"train": {"steps": object}}, "train.steps: must be a valid integer"),
        ({"train": 3}, "train: must be a section of fields"),
        ({"data": 3}, "data: must be a section of fields"),
        ({"algorithm": "grop"}, "there is no preset 'grop'"),
        ({"objective": {"tau": 1}}, "objective.tau"),
        ({"reward": {"functions": {wanted: 1}}}, "reward.functions: must be a valid string"),
        ({"train": {"learning_rate": float("nan")}}, "train.learning_rate: must be a finite"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as error:
        load(**fields)
    assert sentence in str(error.value)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml: there is no such recipe"):
        load("nowhere.yaml")


# --- rewards and questions -------------------------------------------------------------------


def test_rewards_as_a_list_and_as_a_mapping(small: Make) -> None:
    result = Trainer(small(), rewards=[wanted], questions=ROWS).run()
    assert result.steps == 3
    assert result.rows[-1]["step"] == 3
    assert "reward/wanted" not in result.rows[-1]  # one alone is the reward
    weights = {wanted: 1.0, digits: 0.5}
    row = Trainer(small(), rewards=weights, questions=ROWS).run().rows[-1]
    assert row["reward/mean"] == pytest.approx(row["reward/wanted"] + row["reward/digits"] / 2)


def test_rewards_beside_a_task(small: Make) -> None:
    config = small("data={task: countdown, train_questions: 8}", "evaluation.questions=4")
    result = Trainer(config, rewards=[digits]).run()
    assert result.rows[-1]["reward/mean"] > 0
    assert "log_z/true" not in result.rows[0]  # which goes by the task's own reward


@pytest.mark.parametrize(
    ("rewards", "sentence"),
    [
        (None, r"rewards: name them: Trainer\(config, questions=…, rewards=\[my_reward\]\)"),
        ([], "there is no reward function"),
        (wanted, "rewards: must be a list of functions, or function → weight, not <function"),
        ("gsm8k", "rewards: must be a list of functions, or function → weight, not 'gsm8k'"),
        (3, "rewards: must be a list of functions"),
        (["gsm8k"], "rewards: 'gsm8k' is no function"),
        ({wanted: "much"}, "rewards: the weight of wanted must be a number"),
        ({wanted: float("inf")}, "the weight of the reward 'wanted' is inf"),
        ([wanted, wanted], "two reward functions have the same name"),
    ],
)
def test_rewards_that_are_none(small: Make, rewards: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Trainer(small(), rewards=rewards, questions=ROWS)
    assert not list(Path().glob("runs/*"))  # nothing is left of what could not begin


@pytest.mark.parametrize(
    ("questions", "sentence"),
    [
        (None, r"data.train: given stands for .* Trainer\(config, questions=…\)"),
        ([], "questions: there are none to train on"),
        ("train.jsonl", "questions: must be rows, .* not a str; a file is named by data.train"),
        (ROWS[0], "questions: must be rows, .* not a dict"),
        (3, "questions: must be rows, .* not a int"),
        (["1>1:"], r"questions: row 1 is str \('1>1:'\), not a mapping"),
        ([*ROWS, {1: 2}], r"questions: row 9 is dict \({1: 2}\), not a mapping"),
        ([{"question": "1>1:"}], "row 1 has no column 'prompt'"),
        ([{"prompt": 7}], "row 1: the prompt in column 'prompt' must be text or a list"),
        ([{"prompt": "1>1:"}], "needs the column 'wanted', which the data lack"),
    ],
)
def test_questions_that_are_none(small: Make, questions: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Trainer(small(), rewards=[wanted], questions=questions).run()


def test_questions_beside_others_are_refused(small: Make) -> None:
    config = small("data.task=countdown")
    with pytest.raises(UserError, match=r"questions: the recipe names others .* data\.train=given"):
        Trainer(config, rewards=[wanted], questions=ROWS)
    with pytest.raises(UserError, match="held_out: row 1 is int"):
        Trainer(small(), rewards=[wanted], questions=ROWS, held_out=[1])  # type: ignore[list-item]


def test_questions_of_any_kind_of_rows(small: Make) -> None:
    def one_by_one() -> Iterator[dict[str, Any]]:
        yield from ROWS

    asked = [
        [prompt.text for prompt in Trainer(small(), rewards=[wanted], questions=q).questions.train]
        for q in (ROWS, tuple(ROWS), one_by_one())
    ]
    assert asked[0] == asked[1] == asked[2] == [row["prompt"] for row in ROWS]
    fewer = small(data={"train_questions": 3})
    assert len(Trainer(fewer, rewards=[wanted], questions=ROWS).questions.train) == 3


def test_a_data_set_of_datasets(small: Make) -> None:
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_list(ROWS)
    trainer = Trainer(small(), rewards=[wanted], questions=data, held_out=data.select([0, 1]))
    assert [prompt.text for prompt in trainer.questions.train] == [row["prompt"] for row in ROWS]
    assert [prompt.columns for prompt in trainer.questions.test] == [
        {"wanted": "1"},
        {"wanted": "2"},
    ]
    assert trainer.run().steps == 3


def test_held_out_questions_are_scored(small: Make) -> None:
    result = Trainer(small(), rewards=[wanted], questions=ROWS[:6], held_out=ROWS[6:]).run()
    assert {"accuracy", "reward", "diversity"} <= result.before.keys() & result.after.keys()
    assert [row["step"] for row in result.rows if "test/accuracy" in row] == [0, 1, 2, 3]
    assert not Trainer(small(), rewards=[wanted], questions=ROWS).run().before


# --- callbacks -------------------------------------------------------------------------------


def test_callbacks_are_told_every_step_and_evaluation(small: Make) -> None:
    steps, scores = [], []
    Trainer(
        small(),
        rewards=[wanted],
        questions=ROWS[:6],
        held_out=ROWS[6:],
        on_step=lambda step, row: steps.append((step, "reward/mean" in row)),
        on_evaluation=lambda step, row: scores.append((step, "accuracy" in row)),
    ).run()
    assert steps == [(n, True) for n in (1, 2, 3)]
    assert scores == [(n, True) for n in (0, 1, 2, 3)]


@pytest.mark.parametrize(("callback", "at"), [("on_step", 2), ("on_evaluation", 2)])
@pytest.mark.parametrize("resume_elsewhere", [False, True])
def test_a_callback_ends_the_run_in_good_order(
    small: Make,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    callback: str,
    at: int,
    resume_elsewhere: bool,
) -> None:
    given: dict[str, Any] = {"rewards": [wanted], "questions": ROWS[:6], "held_out": ROWS[6:]}
    config = small()
    result = Trainer(config, **given, **{callback: lambda step, _: step == at}).run()
    assert (result.steps, result.stopped_by) == (at, 0)
    assert result.checkpoint.name == "checkpoint-000002"
    assert checkpoints.verify(result.checkpoint) is None
    assert not (result.folder / "summary.json").exists()
    said = capsys.readouterr().out.replace("\n", " ")
    assert "stopped after step 2 of 3; go on with: Trainer(config, resume=Path(" in said
    assert "evenflow train --resume" not in said
    if resume_elsewhere:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
    again = Trainer(config, resume=result.checkpoint, **given).run()
    assert (again.folder, again.steps) == (result.folder, 3)
    assert [row["step"] for row in again.rows] == [0, 1, 2, 3]
    assert again.before == result.before


def test_a_run_stopped_before_its_first_step_can_go_on(small: Make) -> None:
    given: dict[str, Any] = {"rewards": [wanted], "questions": ROWS[:6], "held_out": ROWS[6:]}
    result = Trainer(small(), **given, on_evaluation=lambda *_: True).run()
    assert (result.steps, result.checkpoint.name) == (0, "checkpoint-000000")
    again = Trainer(small(), resume=result.checkpoint, **given).run()
    assert [row["step"] for row in again.rows] == [0, 1, 2, 3]


def test_what_a_callback_raises_is_its_callers(small: Make) -> None:
    def fail(*_: Any) -> bool:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        Trainer(small(), rewards=[wanted], questions=ROWS, on_step=fail).run()


# --- train, and going on ---------------------------------------------------------------------


def test_train_writes_the_page(small: Make) -> None:
    result = train(small(), rewards=[wanted], questions=ROWS)
    assert "<html" in (result.folder / "report.html").read_text(encoding="utf-8")
    assert json.loads((result.folder / "summary.json").read_text())["steps"] == 3
    assert not list(result.folder.glob(".lock"))


def test_train_by_a_file_is_the_command(small: Make, tmp_path: Path) -> None:
    given = small("data={task: countdown, train_questions: 8}", "evaluation.questions=2")
    file = tmp_path / "mine.yaml"
    file.write_text(json.dumps(given.model_dump(mode="json")))
    result = train(file, "train.steps=1", "algorithm=tba")
    assert (result.steps, result.folder.name.split("-")[0]) == (1, "mine")
    again = load(None, "data.task=countdown", model={"path": result.folder})
    assert again.model.path == str(result.checkpoint)
    with pytest.raises(UserError, match=r"seed=1: goes with a recipe's file, or into load\(…\)"):
        train(given, "seed=1")


def test_what_cannot_begin_leaves_nothing(small: Make) -> None:
    with pytest.raises(UserError, match="there are none to train on"):
        train(small(), rewards=[wanted], questions=[])
    assert not list(Path().glob("runs/*"))


def test_the_command_cannot_go_on_with_questions_or_rewards_from_python(
    small: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: Any) -> bool:
        return True

    run = Trainer(small(), rewards=[wanted], questions=ROWS, on_step=stop).run().folder
    capsys.readouterr()
    assert main(["train", "--resume", str(run)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: data.train: given stands for questions that Python hands")
    assert said.count("\n") == 1

    config = small("data={task: countdown, train_questions: 8}", "evaluation.questions=2")
    result = Trainer(config, rewards=[digits], on_step=stop).run()
    with pytest.raises(UserError, match=r"rewards from Python \(rewards\): not the same as when"):
        resumed(result.folder, [])
    with pytest.raises(UserError, match=r"rewards from Python \(rewards\)"):
        Trainer(config, resume=result.checkpoint, rewards={digits: 0.5})
    assert Trainer(config, resume=result.checkpoint, rewards=[digits]).run().steps == 3


def test_held_out_questions_follow_the_recipe(small: Make) -> None:
    def asked(**evaluation: int) -> list[str]:
        config = small(evaluation=evaluation)
        trainer = Trainer(config, rewards=[wanted], questions=ROWS, held_out=ROWS)
        return [prompt.text for prompt in trainer.questions.test]

    texts = [row["prompt"] for row in ROWS]
    assert asked(every=1) == texts
    assert asked(every=1, questions=2, skip=1) == texts[1:3]
    assert asked(every=0) == []


def test_a_run_in_a_thread(small: Make) -> None:
    """Signals are the main thread's."""
    trainer = Trainer(small(), rewards=[wanted], questions=ROWS)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(trainer.run).result().steps == 3

"""Studies in files: they say what the command line says, and what is wrong with one is a sentence
before anything starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evenflow.cli import main
from evenflow.commands.compare import parse
from evenflow.errors import UserError
from evenflow.studies.compare.comparison import Comparison
from evenflow.yaml_text import dump_yaml

Write = Callable[..., str]


@pytest.fixture
def study(small: str, tmp_path: Path) -> Write:
    """The name of a file with a small study and other fields."""

    def write(**fields: Any) -> str:
        path = tmp_path / "study.yaml"
        values = {"recipe": small, "algorithms": ["tba"], "output": str(tmp_path / "cmp")} | fields
        path.write_text(dump_yaml({k: v for k, v in values.items() if v != "left out"}))
        return str(path)

    return write


def plans(words: list[str]) -> list[dict[str, Any]]:
    """What each run and each trial of a comparison would be."""
    comparison = Comparison(parse(words))
    runs = [*comparison.runs, *(trial.run for trial in comparison.trials)]
    return [{"name": run.name, **run.config.model_dump()} for run in runs]


def test_a_file_says_what_the_command_line_says(small: str, study: Write, tmp_path: Path) -> None:
    path = study(
        algorithms=["tba", {"flowrl": {"importance": "none", "rollout.questions": 1}}],
        seeds=[0, 2],
        baseline="flowrl:importance=none:rollout.questions=1",
        search={"train.learning_rate": [1e-3, 2e-3]},
        search_answers=4,
        ood={"far": {"targets": [41, 60]}},
        overrides={"train.answers": 12, "train": {"warmup_steps": 1}},
    )
    words = [
        small,
        "algorithms=tba,flowrl:importance=none:rollout.questions=1",
        "seeds=0,2",
        "baseline=flowrl:importance=none:rollout.questions=1",
        "search=train.learning_rate=1e-3,2e-3",
        "search_answers=4",
        "ood={far: {targets: [41, 60]}}",
        "train.answers=12",
        "train.warmup_steps=1",
        f"output={tmp_path / 'cmp'}",
    ]
    assert plans([path]) == plans(words)
    assert parse([path]).baseline == parse(words).baseline
    listed = "algorithms=[tba, {flowrl: {importance: none, rollout.questions: 1}}]"
    assert plans([small, listed, *words[2:]]) == plans(words)


def test_the_command_line_comes_after_the_file(study: Write) -> None:
    path = study(seeds=[0, 1], overrides={"train": {"learning_rate": 1e-3}, "train.answers": 12})
    plan = plans([path, "seeds=5", "train.answers=16", "train.learning_rate=2e-3"])
    assert [(run["seed"], run["train"]["answers"]) for run in plan] == [(5, 16)]
    assert plan[0]["train"]["learning_rate"] == 2e-3


def test_a_section_of_overrides_leaves_its_other_fields_to_the_recipe(study: Write) -> None:
    (run,) = plans([study(seeds=[0], overrides={"train": {"answers": 12}})])
    assert (run["train"]["answers"], run["train"]["learning_rate"]) == (12, 1e-3)


def test_what_one_run_changes_is_not_in_another(study: Write) -> None:
    """A trial's value goes into a mapping that the variant gave, of that trial alone."""
    path = study(
        algorithms=[{"tba": {"objective": {"scale": "sum"}}}],
        search={"inverse_temperature": [2, 4]},
        search_answers=4,
    )
    run, first, second = plans([path, "seeds=0"])
    assert run["objective"] == {"scale": "sum"}
    assert first["objective"] == {"scale": "sum", "inverse_temperature": 2}
    assert second["objective"] == {"scale": "sum", "inverse_temperature": 4}
    request = parse([path])
    assert Comparison(request).trials
    assert request.variants[0].changes == (("objective", {"scale": "sum"}),)


def test_folders_are_named_after_the_file(study: Write, small: str) -> None:
    assert parse([study(output=None)]).folder == Path("runs/compare-study")
    assert parse([small, "algorithms=tba"]).folder == Path("runs/compare-small")
    assert parse([f"recipe={small}", "algorithms=tba"]).folder == Path("runs/compare-small")


def test_several_searches_are_one_grid(small: str) -> None:
    words = [small, "algorithms=tba", "search=train.epochs=1,2", "search=train.warmup_steps=0,1"]
    grid = {"train.epochs": [1, 2], "train.warmup_steps": [0, 1]}
    assert parse(words).study.search == grid
    with pytest.raises(UserError, match="search=: stands there twice"):
        parse([*words, "search={train.epochs: [1]}"])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"algorithms": "left out"}, "algorithms=… is missing"),
        ({"recipe": "left out"}, "recipe=… is missing"),
        ({"recipe": 5}, "recipe: must be a valid string, not 5"),
        ({"recipe": "nowhere/none.yaml"}, "nowhere/none.yaml: there is no such recipe"),
        ({"recipe": "."}, "cannot be read: is a folder"),
        ({"seed": [0]}, "seed: there is no such field; did you mean seeds?"),
        ({"algorithm": "tba"}, "algorithm: there is no such field; did you mean algorithms?"),
        ({"train": {"answers": 5}}, "train: there is no such field; there are: recipe, overrides,"),
        ({"seeds": "a"}, "seeds: must be a valid integer, not 'a'"),
        ({"seeds": [1.5]}, "seeds: must be a valid integer, not 1.5"),
        ({"seeds": [True]}, "seeds: must be a valid integer, not true"),
        ({"seeds": []}, "seeds: .*name different whole numbers"),
        ({"seeds": [1, 1]}, "seeds: .*name different whole numbers"),
        ({"seeds": None}, "seeds: must be a valid list, not empty"),
        ({"jobs": "many"}, "jobs: must be a valid integer, not 'many'"),
        ({"baseline": {"flowrl": {}}}, "baseline: must be a valid string"),
        ({"baseline": "flowrl"}, "baseline: 'flowrl' is none of the algorithms .tba."),
        ({"overrides": None}, "overrides: must be a valid dictionary, not empty"),
        ({"overrides": ["train.steps=1"]}, "overrides: must be a valid dictionary"),
        ({"overrides": {"train.stps": 1}}, "train.stps: there is no such field; did you mean tr"),
        ({"overrides": {"train": {"stps": 1}}}, "train.stps: there is no such field; did you m"),
        ({"overrides": {"train.steps": "x"}}, "train.steps: must be a valid integer, not 'x'"),
        ({"overrides": {"seed": 1}}, "seed: compare takes seeds=… instead"),
        ({"overrides": {"threads": 1}}, "threads: compare takes jobs=… instead"),
        ({"overrides": {"output": "x"}}, "output: compare takes output=… instead"),
        ({"ood": {"far": 5}}, "ood: must be a valid dictionary"),
        ({"ood": {"test": {"targets": [41, 60]}}}, "ood: test is the name of the held-out"),
        ({"ood_questions": 0}, "ood_questions: must be greater than 0"),
        ({"search_by": ["accuracy"]}, "search_by: must be a valid string"),
        ({"search_by": "accuracy"}, "search_by: nothing is searched; name settings to try"),
        ({"search_answers": 4}, "search_answers: nothing is searched; name settings to try"),
        ({"output": "\0"}, "output: has a character that no file can hold"),
    ],
)
def test_refused_before_anything_starts(
    study: Write, tmp_path: Path, fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        Comparison(parse([study(**fields)]))
    assert not (tmp_path / "cmp").exists()


def test_what_is_no_study_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], small: str
) -> None:
    twice = tmp_path / "twice.yaml"
    twice.write_text("seeds: [0]\nseeds: [1]\n")
    listed = tmp_path / "list.yaml"
    listed.write_text("- tba\n")
    for words, said in {
        ("nowhere.yaml",): "nowhere.yaml: there is no such recipe",
        (str(twice),): "'seeds' stands there twice",
        (str(listed),): "a recipe is a mapping of field: value",
        (): "recipe=… is missing\nalgorithms=… is missing",
        (small, small, "algorithms=tba"): "an override is written key=value",
    }.items():
        assert main(["compare", *words]) == 2
        assert said in capsys.readouterr().err

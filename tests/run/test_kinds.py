"""What lies in a folder decides which command may write into it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from evenflow.cli import main
from evenflow.config import BenchmarkConfig, PretrainConfig, TrainConfig, check, dump
from evenflow.errors import UserError
from evenflow.run.folder import begin
from evenflow.run.kinds import CONFIGS, Kind, refuse_other_kinds

Make = Callable[..., TrainConfig]

WRITTEN = {
    Kind.TRAINING: dump(
        check(TrainConfig, {"model": {"path": "m"}, "data": {"task": "countdown"}})
    ),
    Kind.PRETRAINING: dump(PretrainConfig()),
    Kind.EVALUATION: dump(
        check(BenchmarkConfig, {"model": {"path": "m"}, "benchmark": "countdown"})
    ),
}
FILES = {
    Kind.TRAINING: ("checkpoint-000001/config.json", "metrics.jsonl"),
    Kind.PRETRAINING: ("model/config.json", "metrics.jsonl"),
    Kind.EVALUATION: ("answers.jsonl",),
    Kind.COMPARISON: ("plan.json", "study.yaml"),
    Kind.EXACT: ("results/study--problem--tba--seed-0.json",),
    Kind.VERL: ("global_step_5/data.pt", "config.yaml"),
}


def results(folder: Path, kind: Kind) -> Path:
    """A folder as a command of that kind leaves it."""
    for name in FILES[kind]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    if kind in WRITTEN or kind is Kind.VERL:
        (folder / "config.yaml").write_text(WRITTEN.get(kind, WRITTEN[Kind.TRAINING]))
    return folder


@pytest.mark.parametrize("own", FILES)
@pytest.mark.parametrize("there", FILES)
def test_a_folder_is_of_one_kind(tmp_path: Path, there: Kind, own: Kind) -> None:
    folder = results(tmp_path, there)
    if own is there:
        refuse_other_kinds(folder, own)
        return
    says = f"holds {there}, which {own} would overwrite or be mixed with; choose another folder"
    with pytest.raises(UserError, match=re.escape(says)):
        refuse_other_kinds(folder, own)


@pytest.mark.parametrize("own", FILES)
def test_an_empty_folder_and_one_that_is_not_there_are_anybody_s(tmp_path: Path, own: Kind) -> None:
    refuse_other_kinds(tmp_path, own)
    refuse_other_kinds(tmp_path / "none", own)
    (tmp_path / "questions.jsonl").write_text("{}")
    (tmp_path / "verl-questions.jsonl").write_text("{}")
    refuse_other_kinds(tmp_path, own)


@pytest.mark.parametrize("own", CONFIGS)
def test_a_start_that_failed_leaves_a_folder_for_its_own_kind(tmp_path: Path, own: Kind) -> None:
    text = WRITTEN.get(own, WRITTEN[Kind.TRAINING])
    (tmp_path / "config.yaml").write_text(text)
    (tmp_path / "provenance.json").write_text("{}")
    refuse_other_kinds(tmp_path, own)
    of_others = {other for other in CONFIGS if CONFIGS[other] is not CONFIGS[own]}
    for other in {*of_others, Kind.COMPARISON, Kind.EXACT}:
        with pytest.raises(UserError, match=r"holds an? "):
            refuse_other_kinds(tmp_path, other)


def test_a_recipe_that_somebody_put_there_is_the_run_s_own(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("train: {steps: 3}\n")
    refuse_other_kinds(tmp_path, Kind.TRAINING)
    with pytest.raises(UserError, match=r"holds a config\.yaml that is none of evenflow's"):
        refuse_other_kinds(tmp_path, Kind.PRETRAINING)


@pytest.mark.parametrize("text", ["site_name: mine\n", "- a list\n", "a: [\n", ""])
def test_a_config_of_something_else_is_not_overwritten(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=r"holds a config\.yaml that is none of evenflow's"):
        begin(PretrainConfig(), tmp_path)
    assert (tmp_path / "config.yaml").read_text() == text


def test_answers_without_their_config_are_still_an_evaluation_s(tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").write_text("{}")
    with pytest.raises(UserError, match="holds an evaluation on a benchmark"):
        begin(PretrainConfig(), tmp_path)


def test_a_run_that_has_ended_is_not_overwritten_where_its_weights_are_gone(tmp_path: Path) -> None:
    begin(PretrainConfig(), tmp_path)
    begin(PretrainConfig(), tmp_path)
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(UserError, match="holds the results of a run that has ended"):
        begin(PretrainConfig(), tmp_path)


@pytest.mark.parametrize(
    ("words", "there"),
    [
        (["train", "RECIPE"], Kind.EVALUATION),
        (["train", "RECIPE"], Kind.COMPARISON),
        (["pretrain", "countdown_base"], Kind.EVALUATION),
        (["eval", "model.path=MODEL", "benchmark=countdown"], Kind.COMPARISON),
        (["eval", "model.path=MODEL", "benchmark=countdown"], Kind.TRAINING),
        (["compare", "RECIPE", "algorithms=tba,grpo"], Kind.TRAINING),
        (["exact", "only=tba"], Kind.TRAINING),
        (["verl", "RECIPE", "--print", "device=auto"], Kind.EVALUATION),
    ],
    ids=lambda given: given[0] if isinstance(given, list) else None,
)
def test_every_command_refuses_before_it_writes(
    recipe: Make,
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    there: Kind,
) -> None:
    (tmp_path / "small.yaml").write_text(dump(recipe()))
    folder = results(tmp_path / "there", there)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    named = {"RECIPE": str(tmp_path / "small.yaml"), "model.path=MODEL": f"model.path={tiny_model}"}
    assert main([*(named.get(word, word) for word in words), f"output={folder}"]) == 2
    said = capsys.readouterr().err
    assert f"error: {folder}: holds {there}, which " in said
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before

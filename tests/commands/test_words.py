"""One language for all commands with settings: a file, then ``key=value``."""

from __future__ import annotations

from pathlib import Path

import pytest

from evenflow.cli import main
from evenflow.commands import config
from evenflow.commands.words import file_and_settings, split_words
from evenflow.config import BenchmarkConfig, TrainConfig


@pytest.mark.parametrize(
    ("words", "file", "settings"),
    [
        ([], None, []),
        (["recipe.yaml"], "recipe.yaml", []),
        (["a.b_2=1", "c=2"], None, ["a.b_2=1", "c=2"]),
        (["recipe.yaml", "a=1"], "recipe.yaml", ["a=1"]),
        (["./a=b.yaml", "a=1"], "./a=b.yaml", ["a=1"]),
        (["runs/x=1/config.yaml"], "runs/x=1/config.yaml", []),
        (["recipe.yaml", "other.yaml", "a=1"], "recipe.yaml", ["other.yaml", "a=1"]),
        (["a=1", "recipe.yaml"], None, ["a=1", "recipe.yaml"]),
        (["=1"], "=1", []),
        (["ü=1"], "ü=1", []),
        ([""], "", []),
    ],
)
def test_the_first_word_is_a_file_unless_it_is_a_setting(
    words: list[str],
    file: str | None,
    settings: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    if file is not None:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).touch()
    assert file_and_settings(words) == (file, settings)


def test_files_come_before_settings() -> None:
    assert split_words(["a", "b.jsonl", "k=1", "c"]) == (["a", "b.jsonl"], ["k=1", "c"])


@pytest.mark.parametrize("command", ["train", "pretrain", "eval", "compare", "exact"])
def test_a_word_that_is_no_setting_is_refused_by_all_alike(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("{}\n")
    for word in ("other.yaml", "seed", "=1"):
        assert main([command, str(path), word]) == 2
        assert f"{word!r}: an override is written key=value" in capsys.readouterr().err
    assert main([command, "none.yaml"]) == 2
    assert "none.yaml: there is no such recipe" in capsys.readouterr().err


@pytest.mark.parametrize("kind", config.KINDS)
def test_a_wrong_key_is_answered_with_the_right_one(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In each command that takes settings, whose fields `evenflow config` lists."""
    assert main(["config", kind]) == 0
    names = [x.partition(":")[0] for x in capsys.readouterr().out.splitlines() if x[:1] != " "]
    assert "output" in names
    path = tmp_path / "empty.yaml"
    path.write_text("benchmark: x\n" if kind == "eval" else "{}\n")
    assert main([kind, str(path), "outptu=x"]) == 2
    assert "outptu: there is no such field; did you mean output?" in capsys.readouterr().err


def test_config_lists_the_fields_of_a_study(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "compare"]) == 0
    said = capsys.readouterr().out
    assert 'recipe: text = "???"\n    The training recipe that all runs start from' in said
    assert "seeds: list of integer = [0, 1, 2]" in said
    assert "search: {text: list of value} = {}" in said
    assert main(["config", "exact", "rollouts"]) == 0
    assert capsys.readouterr().out.startswith("rollouts: integer | null = null\n")


# --- eval: which of the two ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words", "kind"),
    [
        ("benchmark: aime24\nmodel: {dtype: float32}\n", ["model.path=m"], BenchmarkConfig),
        ("num_generations: 2\n", ["model.path=m", "benchmark=aime24"], BenchmarkConfig),
        (None, ["model.path=m", "benchmark=aime24"], BenchmarkConfig),
        ("data: {task: countdown}\n", ["model.path=m"], TrainConfig),
        ("data: {task: countdown}\n", ["model.path=m", "model.reference=a=b"], TrainConfig),
    ],
)
def test_a_benchmark_in_the_settings_decides(
    text: str | None,
    words: list[str],
    kind: type,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wherever it stands, in a file or on the command line."""
    asked = []
    monkeypatch.setattr("evenflow.evaluation.benchmarks.evaluate.evaluate", asked.append)
    monkeypatch.setattr("evenflow.commands.eval.evaluate", lambda c: asked.append(c) or {})
    path = tmp_path / "some=thing.yaml"
    if text is not None:
        path.write_text(text)
    assert main(["eval", *([str(path)] if text is not None else []), *words]) == 0
    assert [type(each) for each in asked] == [kind]
    assert asked[0].model.path == "m"


def test_eval_says_what_is_missing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "aime.yaml"
    path.write_text("benchmark: aime24\nnum_generation: 2\n")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("algorithm: tba\nmodel: {path: m}\n")
    for words, said in {
        (str(recipe), "benchmark=aime24"): "recipe.yaml: is a training recipe (algorithm), which",
        (): "eval needs a recipe, or model.path=… benchmark=…",
        ("model.path=x",): "benchmark=… is missing",
        ("benchmark=aime24",): "model.path=… is missing",
        (str(path),): "model.path=… is missing\nnum_generation: there is no such field; did you",
    }.items():
        assert main(["eval", *words]) == 2
        assert said in capsys.readouterr().err

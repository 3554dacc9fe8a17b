"""`evenflow verl`, without verl."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from evenflow.cli import main

pytest.importorskip("pyarrow")


@pytest.fixture
def questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": [{"role": "user", "content": f"{n}+1?"}], "answer": n + 1} for n in range(8)]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "q.jsonl"


def words(tiny_model: Path, *more: str) -> list[str]:
    fixed = ["data.train=q.jsonl", "rollout.questions=8", "train.mini_batch_questions=8"]
    return ["verl", "math", f"model.path={tiny_model}", *fixed, *more]


def test_the_command_is_printed_for_a_shell(
    questions: str, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["output=out", "--print", "--nodes=2", "--", "trainer.logger=[console,file]"]
    assert main(words(tiny_model, *more)) == 0
    found = shlex.split(capsys.readouterr().out.replace("\\\n", ""))
    assert found[:4] == [
        "VERL_USE_EXTERNAL_MODULES=evenflow.plugins.verl",
        *("python", "-m", "verl.trainer.main_ppo"),
    ]
    assert f"data.train_files={tmp_path}/out/train.parquet" in found
    assert "trainer.nnodes=2" in found
    assert found[-1] == "trainer.logger=[console,file]"
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"config.yaml", "train.parquet"}


def test_what_is_refused_leaves_no_folder(
    questions: str, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tiny_model, "output=out", "rollout.lag=2", "threads=1", "--print")) == 2
    said = capsys.readouterr().err
    assert "not by verl:" in said
    assert "threads: " in said
    assert "rollout.lag: " in said
    assert not (tmp_path / "out").exists()


def test_verl_that_is_missing_is_said_before_anything(
    questions: str, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tiny_model, "output=out")) == 2
    assert "verl is not installed here" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_another_recipe_does_not_go_on_with_a_run(
    questions: str, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tiny_model, "output=out", "--print")) == 0
    (tmp_path / "out" / "global_step_5").mkdir()
    assert main(words(tiny_model, "output=out", "train.steps=300", "--print")) == 0
    assert main(words(tiny_model, "output=out", "train.learning_rate=1", "--print")) == 2
    assert "train.learning_rate: cannot change when a run goes on" in capsys.readouterr().err


def test_other_questions_do_not_go_on_with_a_run(
    questions: str, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told, rows = words(tiny_model, "output=out", "--print"), (tmp_path / "q.jsonl").read_text()
    assert main(told) == 0
    before = (tmp_path / "out" / "train.parquet").read_bytes()
    (tmp_path / "q.jsonl").write_text(rows.replace("3+1?", "3+2?"))
    assert main(told) == 0  # nothing is learned yet
    (tmp_path / "q.jsonl").write_text(rows)
    (tmp_path / "out" / "global_step_5").mkdir()
    assert main(told) == 2
    assert "holds other questions than the recipe names now" in capsys.readouterr().err
    (tmp_path / "q.jsonl").write_text(rows.replace("3+1?", "3+2?"))
    assert main(told) == 0
    assert (tmp_path / "out" / "train.parquet").read_bytes() != before


def test_what_changes_nothing_is_said_beside_the_command(
    questions: str, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tiny_model, "output=out", "rollout.timeout=5", "--print")) == 0
    said = capsys.readouterr()
    assert "no effect: rollout.timeout: " in said.err
    assert "no effect" not in said.out


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--nodes=0", "--print"], "--nodes: must be at least 1"),
        (["rollout.questions=64", "--print"], "64 are more than the 8 training questions"),
    ],
)
def test_what_is_asked_wrongly(
    questions: str,
    more: list[str],
    sentence: str,
    tiny_model: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(words(tiny_model, *more)) == 2
    assert sentence in capsys.readouterr().err


def test_checkpoints_of_weights_alone_are_not_gone_on_from(
    questions: str, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = words(tiny_model, "output=out", "checkpoint.weights_only=true", "--print")
    assert main(told) == 0
    (tmp_path / "out" / "global_step_5").mkdir()
    assert main(told) == 2
    assert "saved with checkpoint.weights_only" in capsys.readouterr().err

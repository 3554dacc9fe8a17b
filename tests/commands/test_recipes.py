"""`evenflow recipes`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from evenflow.cli import main
from evenflow.installation import recipes


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_all_are_listed_with_what_they_need(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[::2]] == list(recipes())
    assert all(line.lstrip().startswith(("needs one ", "needs four ")) for line in lines[1::2])


@pytest.mark.parametrize(
    ("to", "file"),
    [([], "gsm8k.yaml"), (["mine.yaml"], "mine.yaml"), (["new/mine.yaml"], "new/mine.yaml")],
)
def test_a_copy_to_change(to: list[str], file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "copy", "gsm8k", *to]) == 0
    assert capsys.readouterr().out == f"recipe: {file}\n"
    assert Path(file).read_bytes() == recipes()["gsm8k"].read_bytes()


def test_nothing_is_written_over(capsys: pytest.CaptureFixture[str]) -> None:
    Path("gsm8k.yaml").write_text("mine")
    assert main(["recipes", "copy", "gsm8k"]) == 2
    assert "gsm8k.yaml: exists already; name a new file" in capsys.readouterr().err
    assert Path("gsm8k.yaml").read_text() == "mine"


@pytest.mark.parametrize("command", ["train", "plan", "pretrain", "eval", "compare", "exact"])
def test_a_recipe_that_there_is_not_is_not_waited_for(command: str) -> None:
    code = (
        f"import sys; from evenflow.cli import main; status = main(['{command}', 'countdwn']); "
        "print(status, *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    status, *loaded = done.stdout.split()
    assert status == "2"
    assert "countdwn: there is no such recipe; did you mean countdown?" in done.stderr
    assert not {"torch", "transformers", "pydantic"} & set(loaded)

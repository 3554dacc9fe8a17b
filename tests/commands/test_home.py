"""`~` is the home of whoever types it, wherever a path may stand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evenflow.cli import main


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with one file of answers; the current folder is another one, and stays empty."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    rows = [{"prompt": "1+1", "response": str(i), "gold": "2"} for i in range(3)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "home/answers.jsonl").write_text(text)
    return tmp_path / "home"


def test_files_are_read_and_written_there(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grade = ["grade", "~/answers.jsonl", "--kind", "math", "--out=~/graded.jsonl"]
    assert main(grade) == 0
    assert "3 responses: right 1" in capsys.readouterr().out
    assert len((home / "graded.jsonl").read_text().splitlines()) == 3
    assert main(["recipes", "copy", "programs", "~/mine.yaml"]) == 0
    assert (home / "mine.yaml").is_file()
    assert not any(Path().iterdir())


@pytest.mark.parametrize(
    "words",
    [
        ["train", "~/none.yaml"],
        ["train", "--resume=~/none"],
        ["report", "~/none"],
        ["diversity", "~/none.jsonl"],
        ["eval", "--regrade=~/none"],
        ["sandbox", "run", "~/none.py"],
        ["grade", "~/none.jsonl", "--kind=math", "--out=~/graded.jsonl"],
        ["compare", "~/none.yaml", "algorithms=tba"],
    ],
    ids=lambda words: words[0],
)
def test_what_is_missing_is_looked_for_there(
    words: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert str(home / "none") in capsys.readouterr().err


def test_a_home_of_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "~nobody-of-that-name/run"]) == 2
    assert "there is no home of such a user" in capsys.readouterr().err

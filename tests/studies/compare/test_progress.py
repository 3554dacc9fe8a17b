"""What is shown of runs while they go on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from evenflow.commands.compare import parse
from evenflow.studies.compare import progress
from evenflow.studies.compare.comparison import Comparison
from evenflow.studies.compare.progress import Progress, last_row


def test_the_last_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert last_row(path) == {}
    path.write_text("")
    assert last_row(path) == {}
    rows = [json.dumps({"step": step, "padding": "x" * 500}) for step in range(200)]
    path.write_text("\n".join(rows) + "\n")
    assert last_row(path)["step"] == 199
    for end in ('{"step": 200, "acc', "2\n", "\0\0\n\n"):  # while it is being written, or damaged
        path.write_text("\n".join(rows) + "\n" + end)
        assert last_row(path)["step"] == 199


@pytest.fixture
def shown(small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Progress:
    """Two runs of a budget of eight answers; one has spent half of it."""
    words = ["algorithms=tba,grpo:train.betas=[0.9,0.99]", "seeds=0", "ood=none"]
    runs = Comparison(parse([small, *words, f"output={tmp_path / 'x'}"])).runs
    runs[1].folder.mkdir(parents=True)
    row = {"step": 1, "answers": 4, "accuracy": 0.25, "kl/reference": None}
    (runs[1].folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    monkeypatch.setattr(progress, "LOOK_EVERY", 0.0)
    return Progress("compare", runs)


def test_a_line_says_where_every_run_is(
    shown: Progress, capsys: pytest.CaptureFixture[str]
) -> None:
    tba, grpo = (run.name for run in shown.runs)
    shown.watch({"base": "done", tba: "measuring", grpo: "training"})
    said = capsys.readouterr().out
    assert "compare: 1/3 done" in said
    assert f"{tba} measuring  {grpo} 50%" in said
    assert shown.done == 0.75
    shown.watch({"base": "done", tba: "measuring", grpo: "training"})
    assert capsys.readouterr().out == ""  # nothing new


def test_the_live_table(shown: Progress) -> None:
    tba, grpo = (run.name for run in shown.runs)
    shown.watch({"base": "measuring", tba: "waiting", grpo: "training"})
    wide = Console(width=200)
    with wide.capture() as captured:
        wide.print(shown._render())
    lines = captured.get().splitlines()
    row = next(line for line in lines if grpo in line)  # brackets are no markup
    for cell in ("training", "4", "50%", "1", "25.0%", "–"):
        assert cell in row
    assert any("base" in line and "measuring" in line for line in lines)

"""Runs of verl on the page: its numbers under our names, over several starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evenflow.cli import main
from evenflow.report.reading import read_run
from evenflow.report.verl_log import row_of
from evenflow.run.tracking import next_verl_log, verl_logs

STEP = {
    "critic/score/mean": 0.5,
    "reward/mean": 0.55,
    "actor/grad_norm": 2.0,
    "actor/grad_norm/head": 0.1,
    "actor/log_z/used": -0.2,
    "actor/lr": 1e-6,
    "response_length/mean": 120.0,
    "timing_s/gen": 3.0,
    "perf/mfu/actor": 0.4,
    "training/epoch": 0,
    "said": "words",
}
EVALUATED = {
    "val-core/math/acc/mean@4": 0.25,
    "val-core/amc/acc/mean@4": 0.75,
    "val-core/math/acc/best@4/mean": 0.5,
    "val-aux/math/acc/std@4": 0.1,
    "val-core/math/reward/mean@4": 9.0,
}


def test_verls_numbers_get_our_names_and_the_plug_ins_lose_the_actor() -> None:
    assert row_of(STEP | EVALUATED) == {
        "reward/mean": 0.55,  # the plug-in's own: without unknown answers
        "grad_norm/policy": 2.0,
        "grad_norm/head": 0.1,
        "log_z/used": -0.2,
        "learning_rate": 1e-6,
        "answer/length": 120.0,
        "seconds/sampling": 3.0,
        "perf/mfu/actor": 0.4,
        "training/epoch": 0.0,
        "test/accuracy": 0.5,
        "test/pass@4": 0.5,
        "val-aux/math/acc/std@4": 0.1,
        "val-core/math/reward/mean@4": 9.0,
    }
    assert row_of({"critic/score/mean": 0.5}) == {"reward/mean": 0.5}


def write(path: Path, steps: dict[int, dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps({"step": s, "data": d}) + "\n" for s, d in steps.items()))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Three steps, killed after the second was logged and taken up again after the first."""
    folder = tmp_path / "seven"
    folder.mkdir()
    (folder / "config.yaml").write_text("algorithm: flowrl\ntrain: {steps: 3}\n")
    assert next_verl_log(folder).name == "verl-1.jsonl"
    write(folder / "verl-1.jsonl", {0: EVALUATED, 1: STEP, 2: STEP | {"reward/mean": 0.1}})
    assert next_verl_log(folder).name == "verl-2.jsonl"
    later = EVALUATED | {"val-core/math/acc/mean@4": 0.5}
    write(folder / "verl-2.jsonl", {2: STEP | {"reward/mean": 0.7}, 3: STEP | later})
    return folder


def test_a_run_of_several_starts_is_one_run(run: Path) -> None:
    found = read_run(run)
    assert [row["step"] for row in found.rows] == [0, 1, 2, 3]
    assert [row.get("reward/mean") for row in found.rows] == [None, 0.55, 0.7, 0.55]
    assert found.ended
    assert found.algorithm == "flowrl"
    assert found.before["accuracy"] == 0.5
    assert found.after["accuracy"] == 0.625
    assert any("a run of verl" in note for note in found.notes)


def test_one_that_was_stopped_is_said_not_to_have_ended(run: Path) -> None:
    (run / "verl-2.jsonl").unlink()
    assert not read_run(run).ended


@pytest.mark.parametrize("steps", ["many", "null", "[3]", "{a: 3}"])
def test_where_nobody_knows_how_many_steps_it_has_it_has_ended(run: Path, steps: str) -> None:
    (run / "config.yaml").write_text(f"algorithm: flowrl\ntrain: {{steps: {steps}}}\n")
    assert read_run(run).ended


def test_starts_are_in_their_order_beyond_nine(tmp_path: Path) -> None:
    for number in range(1, 12):
        write(tmp_path / f"verl-{number}.jsonl", {number: {}})
    assert [path.name for path in verl_logs(tmp_path)][-2:] == ["verl-10.jsonl", "verl-11.jsonl"]
    assert next_verl_log(tmp_path).name == "verl-12.jsonl"


def test_it_becomes_a_page_and_a_damaged_line_a_note(run: Path, tmp_path: Path) -> None:
    with (run / "verl-2.jsonl").open("a") as file:
        file.write('{"step": 4, "da')
    page = tmp_path / "page.html"
    assert main(["report", str(run), "--out", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "a run of verl" in text
    assert "verl-2.jsonl: 1 line is left out" in text
    assert "Gradient of the policy" in text

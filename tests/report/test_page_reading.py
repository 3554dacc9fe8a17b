"""What lies in a folder, whole or not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from evenflow.errors import UserError
from evenflow.report.reading import names, read_run, read_runs

Make = Callable[..., Path]


def test_a_training_run(training_run: Make) -> None:
    run = read_run(training_run())
    assert (run.kind, run.name, run.algorithm, run.notes) == ("training", "run", "flowrl", [])
    assert run.config["train.steps"] == 4
    assert [row["step"] for row in run.rows] == [0, 1, 2, 3, 4]
    assert (run.before["accuracy"], run.after["accuracy"]) == (0.25, 0.5)
    assert len(run.samples) == 2


def test_an_evaluation(evaluation: Make) -> None:
    run = read_run(evaluation())
    assert (run.kind, run.notes) == ("evaluation", [])
    assert run.result["benchmark"] == "aime24"
    assert [row["verdict"] for row in run.answers] == ["right", "right", "wrong", "unknown"]
    assert run.diversity == {"judge": {"value": 2.28, "low": 2.0, "high": 2.5}, "words": 0.5}


def test_a_run_that_goes_on_has_its_latest_evaluation(training_run: Make) -> None:
    folder = training_run()
    (folder / "summary.json").unlink()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5}\n')
    run = read_run(folder)
    assert (run.before["accuracy"], run.after["accuracy"]) == (0.25, 0.5)
    assert (run.ended, run.evaluated) == (False, 4)
    assert run.notes == ["summary.json is missing: not ended; its scores are of step 4"]


def stopped(folder: Path, step: int) -> Path:
    """The run as it is after `step`."""
    (folder / "summary.json").unlink(missing_ok=True)
    for name in ("metrics.jsonl", "samples.jsonl"):
        rows = (folder / name).read_text().splitlines(keepends=True)
        (folder / name).write_text("".join(r for r in rows if json.loads(r)["step"] <= step))
    return folder


def test_only_step_0_is_before_and_no_other_step_is(training_run: Make) -> None:
    early = read_run(stopped(training_run("early"), 3))
    assert early.before["accuracy"] == 0.25
    assert (early.after, early.evaluated) == ({}, None)
    assert early.notes == ["summary.json is missing: not ended; no evaluation after a step yet"]
    folder = stopped(training_run("late"), 4)
    rows = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(rows[1:]))
    late = read_run(folder)
    assert (late.before, late.after["accuracy"]) == ({}, 0.5)


def test_pretraining(pretraining: Make) -> None:
    run = read_run(pretraining())
    assert (run.kind, run.algorithm, run.notes) == ("training", "pretraining", [])
    assert (run.ended, run.evaluated) == (True, None)
    assert (run.before, run.after) == ({}, {"accuracy": 0.75})


def test_pretraining_that_goes_on_or_was_stopped(pretraining: Make) -> None:
    folder = pretraining("goes-on", steps=5)
    (folder / "model").rmdir()
    run = read_run(folder)
    assert (run.ended, run.evaluated, run.after) == (False, 4, {"accuracy": 0.75})
    assert run.notes == ["model/ is missing: not ended; its scores are of step 4"]
    run = read_run(pretraining("stopped", steps=5))
    assert (run.ended, run.evaluated, run.notes) == (True, 4, [])


def test_half_written_files_cost_their_part_and_say_so(training_run: Make) -> None:
    folder = training_run()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')
    (folder / "summary.json").write_text('{"before": {"accu')
    (folder / "config.yaml").write_text("seed: [1,\n")
    (folder / "samples.jsonl").write_text('{"step": 0, "prompt": "x", "rewards": []}\n')
    run = read_run(folder)
    assert len(run.rows) == 5
    assert run.samples == []
    assert run.config == {}
    assert run.after["accuracy"] == 0.5  # of the metrics
    assert [note.partition(":")[0] for note in run.notes] == [
        "config.yaml is damaged or only half written",
        "metrics.jsonl",
        "summary.json is damaged or only half written",
        "samples.jsonl",
    ]
    assert "1 line is left out, cut short or damaged" in run.notes[1]
    assert "1 line is left out, without a usable step or prompt or answers" in run.notes[3]


def test_every_file_may_be_missing(training_run: Make, evaluation: Make) -> None:
    for folder in (training_run(), evaluation()):
        files = sorted(path for path in folder.iterdir() if path.name != "diversity.json")
        for path in files:
            text = path.read_text()
            path.unlink()
            assert any(
                note.startswith(f"{path.name} is missing") for note in read_run(folder).notes
            )
            path.write_text(text)


def test_a_run_without_evaluation_misses_no_samples(training_run: Make) -> None:
    folder = training_run()
    (folder / "config.yaml").write_text("evaluation: {every: 0}\n")
    (folder / "samples.jsonl").unlink()
    assert read_run(folder).notes == []


def test_a_comparison_measures_after_training(training_run: Make) -> None:
    folder = training_run()
    measured = {"sets": {"test": {"scores": {"accuracy": 0.75, "pass@256": 1.0}}}}
    (folder / "measured.json").write_text(json.dumps(measured))
    assert read_run(folder).after == {"accuracy": 0.75, "pass@256": 1.0}


def test_folders_of_something_else_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match=r"neither a run nor an evaluation.*in its runs/"):
        read_runs([tmp_path])
    with pytest.raises(UserError, match="there is no such folder"):
        read_runs([tmp_path / "none"])


def test_the_diversity_of_a_training_run(training_run: Make) -> None:
    folder = training_run()
    (folder / "diversity.json").write_text('{"scores": {"judge": 2.28}}')
    run = read_run(folder)
    assert (run.kind, run.diversity) == ("training", {"judge": 2.28})
    (folder / "diversity.json").write_text('{"scores": ')
    assert read_run(folder).notes == [
        "diversity.json is damaged or only half written: its diversity is not shown"
    ]


def test_names_are_as_short_as_tells_them_apart(tmp_path: Path) -> None:
    a, b = tmp_path / "a" / "run", tmp_path / "b" / "run"
    assert names([a]) == ["run"]
    assert names([a, b]) == ["a/run", "b/run"]
    assert names([a, a]) == ["run", "run (2)"]

"""What lies in a folder, whole or not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from flowbalance.errors import UserError
from flowbalance.report.page.reading import flat, names, read_run, read_runs

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
    run = read_run(folder)
    assert (run.before["accuracy"], run.after["accuracy"]) == (0.25, 0.5)
    assert run.notes == [
        "summary.json is missing: not ended; the latest evaluation stands in the table"
    ]


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
    assert "1 line is cut short or damaged" in run.notes[1]
    assert "1 line is without prompt or answers or rewards" in run.notes[3]


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


def test_settings_by_dotted_name() -> None:
    assert flat({"a": {"b": 1, "c": {}}, "d": None}) == {"a.b": 1, "d": None}

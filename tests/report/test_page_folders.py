"""Which folders the page is of, and on which questions they were scored."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from evenflow.errors import UserError
from evenflow.report.frontier import points
from evenflow.report.page import make_page
from evenflow.report.reading import read_run, read_runs
from evenflow.report.scored import interval_of
from evenflow.report.sets import question_sets, set_title

Make = Callable[..., Path]


def test_links_and_copies_of_a_run_count_once(training_run: Make, tmp_path: Path) -> None:
    run = training_run("20260101")
    (tmp_path / "latest").symlink_to(run.name)
    shutil.copytree(run, tmp_path / "copy")
    found = read_runs([run, tmp_path / "latest", tmp_path / "copy", training_run("other")])
    assert [each.name for each in found] == ["20260101", "other"]
    assert found[0].notes == [
        f"{tmp_path / name} is {run} again and counts once" for name in ("latest", "copy")
    ]


def test_runs_of_equal_settings_that_have_just_begun_are_two(
    training_run: Make, tmp_path: Path
) -> None:
    run = training_run("first")
    (run / "metrics.jsonl").write_text("")
    shutil.copytree(run, tmp_path / "second")
    assert [each.name for each in read_runs([run, tmp_path / "second"])] == ["first", "second"]


@pytest.fixture
def comparison(training_run: Make, tmp_path: Path) -> Path:
    """Two runs of two questions, measured with their base: one half right, one wrong."""
    specification = {"evaluation": {"questions": 2, "skip": 0}}

    def measure(folder: Path, masses: list[list[float]]) -> None:
        folder.mkdir(exist_ok=True)
        accuracy = sum(map(sum, masses)) / len(masses)
        test = {"scores": {"accuracy": accuracy}, "questions": 2, "masses": masses}
        text = json.dumps({"specification": specification, "sets": {"test": test}})
        (folder / "measured.json").write_text(text)

    for name in ("grpo-0", "tba-0"):
        measure(training_run(f"cmp/runs/{name}"), [[0.5, 0.25], [0.0, 0.25]])
    measure(tmp_path / "cmp" / "base", [[0.25, 0.0], [0.0, 0.0]])
    return tmp_path / "cmp"


def test_a_comparison_stands_for_its_runs_with_its_base_before_them(comparison: Path) -> None:
    runs = read_runs([comparison])
    assert [run.name for run in runs] == ["grpo-0", "tba-0"]
    for run in runs:
        assert (run.before, run.after) == ({"accuracy": 0.125}, {"accuracy": 0.5})
        assert run.before_of["accuracy"] == [0.25, 0.0]
        assert run.after_of["accuracy"] == [0.75, 0.25]
        assert run.questions == 2
    assert question_sets(runs) == [0, 0]


def test_a_base_measured_otherwise_is_not_before(comparison: Path) -> None:
    base = comparison / "base" / "measured.json"
    base.write_text(base.read_text().replace('"skip": 0', '"skip": 7'))
    run = read_runs([comparison])[0]
    assert run.before["accuracy"] == 0.25  # of its own summary
    assert run.before_of == {}


def test_a_comparison_of_sampled_answers_has_points_too(comparison: Path) -> None:
    """Its accuracy goes by another name there."""
    for path in comparison.rglob("measured.json"):
        values = json.loads(path.read_text())
        scores = values["sets"]["test"]["scores"]
        scores |= {"accuracy_sampled": scores.pop("accuracy"), "pass@16": 0.75}
        path.write_text(json.dumps(values))
    assert points(read_runs([comparison])[0]) == [
        {"step": 0.0, "accuracy": 0.125, "pass@16": 0.75},
        {"step": 4.0, "accuracy": 0.5, "pass@16": 0.75},
    ]


def test_the_exact_accuracy_goes_before_that_of_a_sample(comparison: Path) -> None:
    for path in comparison.rglob("measured.json"):
        values = json.loads(path.read_text())
        values["sets"]["test"]["scores"] |= {"accuracy_sampled": 0.9, "pass@16": 0.75}
        path.write_text(json.dumps(values))
    assert [p["accuracy"] for p in points(read_runs([comparison])[0])] == [0.125, 0.5]


@pytest.mark.parametrize(("at_end", "accuracies"), [(0.5, [0.125, 0.3, 0.5]), (0.6, [0.125, 0.5])])
def test_scores_along_training_are_points_where_the_last_is_as_measured(
    comparison: Path, at_end: float, accuracies: list[float]
) -> None:
    for path in comparison.rglob("measured.json"):
        values = json.loads(path.read_text())
        values["sets"]["test"]["scores"]["effective_solutions"] = 1.5
        path.write_text(json.dumps(values))
    metrics = comparison / "runs" / "grpo-0" / "metrics.jsonl"
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    rows[2] |= {"test/accuracy": 0.3, "test/effective_solutions": 1.8}
    rows[-1] |= {"test/accuracy": at_end}
    metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [p["accuracy"] for p in points(read_runs([comparison])[0])] == accuracies


def test_a_comparison_without_runs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs" / "empty").mkdir(parents=True)
    with pytest.raises(UserError, match="nor a comparison with runs in its runs/"):
        read_runs([tmp_path])


def test_scores_of_each_question_are_read_by_step(training_run: Make) -> None:
    folder = training_run()
    rows = [
        {"step": 0, "scores": {"accuracy": [0.0, 0.5]}},
        {"step": 4, "scores": {"accuracy": [1.0, None], "length": [3, 4]}},
    ]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = read_run(folder)
    assert run.questions == 2
    assert run.before_of == {"accuracy": [0.0, 0.5]}
    assert run.after_of["length"] == [3.0, 4.0]
    assert math.isnan(run.after_of["accuracy"][1])


def test_none_of_three_is_not_surely_none() -> None:
    low, high = interval_of("accuracy", [0.0] * 3) or (1, 1)
    assert low == 0
    assert high == pytest.approx(0.5615, abs=1e-3)  # Wilson's z²/(n + z²)
    assert interval_of("length", [1.0, 3.0]) == (1.0, 3.0)
    assert interval_of("accuracy", [1.0]) is None


def with_questions(folder: Path, count: int, mark: str | None = None) -> Path:
    config = (folder / "config.yaml").read_text()
    text = f"data: {{task: countdown}}\nevaluation: {{questions: {count}}}\n"
    (folder / "config.yaml").write_text(config + text)
    if mark:
        entry = {"inputs": {f"held-out questions 1 to {count} (data.task)": mark}}
        (folder / "provenance.json").write_text(json.dumps({"starts": [entry]}))
    return folder


def test_other_questions_are_another_set(training_run: Make, evaluation: Make) -> None:
    runs = read_runs(
        [
            with_questions(training_run("a"), 20),
            with_questions(training_run("b"), 30),
            evaluation(),
            with_questions(training_run("c"), 20, "sha256 1"),
        ]
    )
    assert question_sets(runs) == [0, 1, -1, 0]  # one has no mark: by their settings
    assert set_title(runs[1]) == "at most 30 questions of countdown"
    marked = [
        read_run(with_questions(training_run(name), 20, mark))
        for name, mark in (("d", "sha256 1"), ("e", "sha256 2"), ("f", "sha256 1"))
    ]
    assert question_sets(marked) == [0, 1, 0]


@pytest.mark.parametrize("odd", ["many", "[1]", "{a: 1}", "null", "true"])
def test_settings_of_another_kind_than_they_have(training_run: Make, odd: str) -> None:
    fields = "{task: ODD, test: ODD, test_split: ODD}\nevaluation: {questions: ODD, skip: ODD}\n"
    folder = training_run()
    with (folder / "config.yaml").open("a") as file:
        file.write(f"data: {fields}".replace("ODD", odd))
    (run,) = read_runs([folder])
    assert question_sets([run, run]) == [0, 0]
    assert "questions" in set_title(run)
    assert 'id="scores"' in make_page([folder])

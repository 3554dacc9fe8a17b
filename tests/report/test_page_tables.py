"""Scores with their intervals, variants of an algorithm, provenance, and watching."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evenflow.cli import main
from evenflow.report import watch as watching
from evenflow.report.frontier import frontiers
from evenflow.report.origins import origin
from evenflow.report.page import make_page
from evenflow.report.reading import read_run, read_runs
from evenflow.report.tables import benchmark_table, diversity_table, final_table, run_facts
from evenflow.report.variants import dials, variants

Make = Callable[..., Path]


def scored(folder: Path, **values: list[float | None]) -> Path:
    """The run with these scores of each question at its end."""
    (folder / "questions.jsonl").write_text(json.dumps({"step": 4, "scores": values}) + "\n")
    return folder


def test_a_score_has_its_interval_and_its_questions(training_run: Make) -> None:
    folder = scored(training_run(), accuracy=[0.0] * 3, effective_solutions=[1.0, 2.0, None])
    summary = json.loads((folder / "summary.json").read_text())
    summary["after"] = {"accuracy": 0.0, "effective_solutions": 1.5, "pass@16": 0.5}
    (folder / "summary.json").write_text(json.dumps(summary))
    run = read_run(folder)
    assert run_facts(run)[-1] == "3 questions"
    (part,) = final_table([run])["sets"]
    cells = [cell["interval"] for cell in part["rows"][0]["cells"]]
    assert cells == ["[0.0 %, 56.1 %]", "", "[1, 2]"]  # of pass@16 nothing is kept by question


def test_diversity_says_how_many_answers_are_finished(training_run: Make, evaluation: Make) -> None:
    folder = training_run()
    summary = json.loads((folder / "summary.json").read_text())
    summary["after"] |= {"diversity": 0.9, "finished": 0.25}
    (folder / "summary.json").write_text(json.dumps(summary))
    (part,) = final_table([read_run(folder)])["sets"]
    notes = [cell["note"] for cell in part["rows"][0]["cells"] if cell["note"]]
    assert notes == ["of answers of which 25.0 % are finished"]
    (row,) = diversity_table([read_run(evaluation())])
    assert row["cells"]["finished"] == "75.0 %"


def test_lengths_of_a_benchmark_have_an_interval(evaluation: Make) -> None:
    folder = evaluation()
    text = (folder / "answers.jsonl").read_text()
    other = text.replace('"I-1"', '"I-2"').replace('"tokens": 3', '"tokens": 5')
    (folder / "answers.jsonl").write_text(text + other)
    (row,) = benchmark_table([read_run(folder)])
    assert row["cells"]["tokens"] == "12.5 [3, 5]"
    assert row["cells"]["cut off"].startswith("25.0 % [")


@pytest.mark.parametrize("key", ["null", '["I", 1]', '{"I": 1}'])
def test_questions_without_an_id_are_told_apart_by_their_texts(evaluation: Make, key: str) -> None:
    folder = evaluation()
    text = (folder / "answers.jsonl").read_text().replace('"I-1"', key)
    other = text.replace("How long?", "How wide?").replace('"tokens": 3', '"tokens": 5')
    (folder / "answers.jsonl").write_text(text + other)
    (row,) = benchmark_table([read_run(folder)])
    alike = key != "null"  # an id, however odd, says that it is one question
    assert row["cells"]["tokens"] == ("12.5" if alike else "12.5 [3, 5]")


def test_seeds_are_one_variant_and_a_dial_is_one_setting_turned(training_run: Make) -> None:
    def run(name: str, seed: int, beta: float, gamma: float = 1) -> Path:
        folder = training_run(name, loss=seed + beta)
        (folder / "config.yaml").write_text(
            f"seed: {seed}\nalgorithm: flowrl\noutput: {folder}\ncheckpoint: {{every: {seed}}}\n"
            f"objective: {{beta: {beta}, gamma: {gamma}}}\n"
        )
        return folder

    runs = read_runs(
        [run("a", 0, 15), run("b", 1, 15), run("c", 0, 5), run("d", 0, 40), run("e", 0, 40, 2)]
    )
    every = variants(runs)
    assert [variant.runs for variant in every] == [[0, 1], [2], [3], [4]]
    assert every[0].label == "flowrl, beta 15, gamma 1"
    assert [v.label for v in every[1:]] == ["c", "d", "e"]
    turned = [(d["setting"], d["variants"], d["values"]) for d in dials(every)]
    assert ("objective.beta", [1, 0, 2], [5, 15, 40]) in turned
    assert ("objective.gamma", [2, 3], [1, 2]) in turned
    assert len(turned) == 2
    (chart,) = frontiers(runs, every)
    assert [key for key, _ in chart["measures"]] == ["effective_solutions"]
    assert chart["paths"][0]["points"] == [
        {"step": 0.0, "accuracy": 0.25, "effective_solutions": 2.0},
        {"step": 4.0, "accuracy": 0.5, "effective_solutions": 1.5},
    ]


def test_where_the_numbers_come_from(training_run: Make) -> None:
    first = {
        "command": "evenflow train x",
        "commit": "abc",
        "device": "CPU",
        "host": "here",
        "versions": {"python": "3.11", "torch": "2.13"},
        "started": "2026-11-27T10:00:00+00:00",
        "ended": "2026-11-27T10:01:00+00:00",
        "seconds": 60.0,
        "memory": {"main": 2**30},
    }
    second = first | {"command": "evenflow train --resume x", "memory": {"main": 2**31}}
    assert origin([first, second]) == {
        "command": "evenflow train x → evenflow train --resume x",
        "commit": "abc",
        "versions": "python 3.11, torch 2.13",
        "device": "CPU",
        "host": "here",
        "started": "2026-11-27 10:00:00 UTC",
        "ended": "2026-11-27 10:01:00 UTC",
        "duration": "2:00",
        "memory at most": "2.00 GiB main memory",
    }
    assert origin([{"started": 3, "memory": [1], "versions": "x", "seconds": None}]) == {
        "started": "3",
        "ended": "not ended, or killed",
    }
    folder = training_run()
    (folder / "provenance.json").write_text(json.dumps({"starts": [first]}))
    assert "2026-11-27 10:00:00 UTC" in make_page([folder])


def test_rewards_by_function_stand_near_the_top(training_run: Make) -> None:
    page = make_page([training_run(**{"reward/format": 0.5, "answer/length": 7.0})])
    places = [page.index(f'<section id="{name}"') for name in ("rewards", "held-out", "training")]
    assert places == sorted(places)
    assert "format 0.5" in page[places[0] : places[1]]  # the same throughout: in words


def test_watching_draws_anew_until_the_run_has_ended(
    training_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = training_run()
    summary = (run / "summary.json").read_text()
    (run / "summary.json").unlink()
    seen: list[tuple[float, bool, bool]] = []

    def sleep(seconds: float) -> None:
        page = (run / "report.html").read_text()
        seen.append((seconds, 'data-seconds="2.0"' in page, '"step",5' in page or "[0,5]" in page))
        if len(seen) == 2:
            with (run / "metrics.jsonl").open("a") as file:
                file.write('{"step": 5, "test/accuracy": 0.75}\n')
        if len(seen) == 4:
            (run / "summary.json").write_text(summary)

    monkeypatch.setattr(watching.time, "sleep", sleep)
    assert main(["report", str(run), "--watch", "2"]) == 0
    assert [(seconds, again) for seconds, again, _ in seen] == [(2.0, True)] * 4
    page = (run / "report.html").read_text()
    assert "data-seconds" not in page
    assert "5 steps" in page


def test_files_that_are_gone_by_now_are_no_change(
    training_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = training_run()
    there = watching.changes([run])
    (run / ".metrics.jsonl.tmp").write_text("")
    (run / "moved.json").symlink_to("nowhere")  # listed, and gone when it is looked at
    assert watching.changes([run]) == there


def test_ctrl_c_ends_watching_with_a_page_that_stays(
    training_run: Make, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    run = training_run()
    (run / "summary.json").unlink()

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(watching.time, "sleep", interrupted)
    assert main(["report", str(run), "--watch"]) == 0
    assert 'id="watched"' not in (run / "report.html").read_text()
    for value in ("0", "x", "nan"):
        with pytest.raises(SystemExit):
            main(["report", str(run), "--watch", value])
    assert "give seconds from 0.5" in capsys.readouterr().err


def test_a_run_without_scores_makes_no_set_of_questions(training_run: Make) -> None:
    known, bare = training_run("known"), training_run("bare")
    (bare / "summary.json").write_text(json.dumps({"steps": 4}))
    rows = [json.loads(line) for line in (bare / "metrics.jsonl").read_text().splitlines()]
    kept = [{k: v for k, v in row.items() if not k.startswith("test/")} for row in rows]
    (bare / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    (part,) = final_table([read_run(bare), read_run(known)])["sets"]
    assert [row["run"] for row in part["rows"]] == [1, 0]


def test_a_result_of_something_else_costs_itself(evaluation: Make) -> None:
    folder = evaluation()
    (folder / "result.json").write_text(json.dumps({"metrics": 3, "benchmark": ["x"]}))
    run = read_run(folder)
    assert benchmark_table([run]) == []
    assert any("result.json is not of evenflow eval" in note for note in run.notes)

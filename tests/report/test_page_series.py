"""From rows to curves, sums and shares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evenflow.report.page import make_page
from evenflow.report.reading import Run, read_run
from evenflow.report.sections import DRAWN, SECTIONS
from evenflow.report.series import (
    BINS,
    POINTS,
    axes,
    curve_of,
    drawn_sections,
    histogram,
    on_policy,
    pass_curves,
    phases,
    thinned,
)

Make = Callable[..., Path]


def run_of(*rows: dict[str, Any]) -> Run:
    return Run("run", "training", rows=[{"step": i} | row for i, row in enumerate(rows)])


def test_thinning_keeps_every_spike() -> None:
    points = [(i, 0.0) for i in range(50_000)]
    points[31_234], points[31_300] = (31_234, 9.0), (31_300, -9.0)
    kept = thinned(points, POINTS)
    assert len(kept) <= POINTS
    assert {points[31_234], points[31_300], points[0], points[-1]} <= set(kept)
    assert [i for i, _ in kept] == sorted({i for i, _ in kept})
    assert thinned(points[:POINTS], POINTS) == points[:POINTS]


def test_thinning_keeps_the_range_of_each_stretch() -> None:
    points = [(i, float(i % 7)) for i in range(1000)]
    kept = thinned(points, limit=12)  # the ends, and two of each of five stretches
    assert [value for _, value in kept[1:-1]].count(0.0) == 5
    assert [value for _, value in kept[1:-1]].count(6.0) == 5


def test_a_thinned_curve_keeps_the_mean_of_each_stretch() -> None:
    run = run_of(*({"loss": 10.0 if i % 100 == 50 else 0.1} for i in range(20_000)))
    curve = curve_of(run, "loss")
    assert curve is not None
    assert curve["v"].count(10.0) == 200  # the raw curve has its extremes
    found = curve["stretches"]
    assert len(found["mean"]) == POINTS // 4
    assert sum(found["count"]) == 20_000
    assert found["at"][-1] == 19_999
    total = sum(n * mean for n, mean in zip(found["count"], found["mean"], strict=True))
    assert total / 20_000 == pytest.approx(0.199, rel=1e-4)  # 0.99·0.1 + 0.01·10
    assert max(found["mean"]) == pytest.approx(0.1 + 9.9 / 40, rel=1e-4)  # a spike in forty values


def test_what_is_not_thinned_needs_no_stretches() -> None:
    run = run_of(*({"loss": float(i)} for i in range(POINTS)))
    assert "stretches" not in (curve_of(run, "loss") or {})


@pytest.mark.parametrize(("runs", "points"), [(1, 2000), (4, 2000), (10, 800), (100, 500)])
def test_many_runs_have_fewer_points_each(runs: int, points: int) -> None:
    run = run_of(*({"loss": float(i % 7)} for i in range(3000)))
    (section,) = drawn_sections([run] * runs)
    assert {len(curve["v"]) for curve in section["charts"][0]["curves"]} == {points}


def test_steps_answers_and_minutes(training_run: Make) -> None:
    found = axes(read_run(training_run()))
    assert found == {
        "step": [0, 1, 2, 3, 4],
        "answers": [0, 16, 32, 48, 64],
        "minutes": pytest.approx([0, 0.1, 0.2, 0.3, 0.4]),
    }


def test_what_a_run_has_not_counted_is_no_axis(evaluation: Make) -> None:
    assert axes(run_of({"loss": 2.0}, {"loss": 1.0})) == {"step": [0, 1]}
    odd = run_of({"answers": "many"}, {"answers": 16.0}, {})
    assert axes(odd) == {"step": [0, 1, 2], "answers": [0, 16, 16]}
    assert axes(read_run(evaluation())) == {}


def test_what_is_no_number_is_left_out_of_a_curve() -> None:
    run = run_of({"loss": 1.0}, {"loss": None}, {"loss": float("nan")}, {}, {"loss": 1 / 3})
    assert curve_of(run, "loss") == {"at": [0, 4], "v": [1.0, 0.33333]}
    assert curve_of(run, "accuracy") is None


def test_a_true_log_z_holds_until_the_reference_changes() -> None:
    run = run_of({"log_z/true": 2.0}, {"resets": 0.0}, {"resets": 0.0}, {"resets": 1.0})
    assert curve_of(run, "log_z/true") == {"at": [0, 2], "v": [2.0, 2.0]}
    alone = run_of({"log_z/true": 2.0})
    assert curve_of(alone, "log_z/true") == {"at": [0], "v": [2.0]}


def test_phases_and_pass_at_k(training_run: Make) -> None:
    run = read_run(training_run())
    assert phases(run) == {"rollout": 8.0, "learning": 16.0}
    before, after = pass_curves(run, 3)
    assert (before["part"], before["run"], before["k"]) == ("before", 3, [1, 2, 4])
    assert before["v"] == [0.25, 0.375, 0.5]  # pass@1 is the accuracy
    assert (after["part"], after["v"]) == ("after", [0.5, 0.625, 0.75])


def test_pass_at_k_of_a_run_that_goes_on_names_its_step(training_run: Make) -> None:
    folder = training_run()
    (folder / "summary.json").unlink()
    assert [curve["part"] for curve in pass_curves(read_run(folder), 0)] == ["before", "step 4"]
    rows = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(rows[:3]))
    assert [curve["part"] for curve in pass_curves(read_run(folder), 0)] == ["before"]


def test_pass_at_k_of_a_benchmark_has_its_interval(evaluation: Make) -> None:
    (curve,) = pass_curves(read_run(evaluation()), 0)
    assert (curve["k"], curve["v"]) == ([1, 4], [0.5, 1.0])
    assert (curve["low"], curve["high"]) == ([0.25, None], [0.75, None])


def test_the_histogram_is_of_all_steps_and_of_the_ends() -> None:
    counts = [[0] * BINS for _ in range(8)]
    for step, row in enumerate(counts):
        row[64] = 2 if step < 2 else 3
        row[70] = 2 if step < 2 else 1
    run = run_of({}, *({"weight/histogram": row} for row in counts))
    found = histogram(run)
    assert found is not None
    assert (found["first"][64], found["first"][70]) == (0.5, 0.5)
    assert (found["last"][64], found["last"][70]) == (0.75, 0.25)
    assert found["all"][64] == pytest.approx(22 / 32, abs=1e-5)
    assert sum(found["all"]) == pytest.approx(1)
    assert histogram(run_of({}, {"weight/mean": 1.0})) is None


def test_weights_of_one() -> None:
    one = {"weight/p01": 1.0, "weight/p99": 1.0}
    assert on_policy(run_of({}, one, one))
    assert not on_policy(run_of({}, one, {"weight/p01": 0.9, "weight/p99": 1.0}))
    assert not on_policy(run_of({}))


def test_charts_are_of_metrics_that_some_run_has(training_run: Make) -> None:
    run = read_run(training_run(**{"my/own": 3.0, "weight/histogram": [1]}))
    run.rows[2]["my/own"] = 4.0
    sections = {section["key"]: section for section in drawn_sections([run])}
    titles = {key: [c["title"] for c in found["charts"]] for key, found in sections.items()}
    assert titles == {
        "held-out": ["Accuracy"],
        "diversity": ["Effective solutions"],
        "rewards": ["Reward"],
        "training": [],
        "optimisation": ["Loss"],
        "further": ["my/own"],
    }
    assert sections["training"]["constant"] == ["Unknown 0 %"]  # told in words, not drawn
    (accuracy,) = sections["held-out"]["charts"]
    assert accuracy["curves"] == [{"run": 0, "line": 0, "at": [0, 4], "v": [0.25, 0.5]}]


def test_a_constant_speed_is_told_in_words(training_run: Make) -> None:
    page = make_page([training_run(tokens_per_second=1234.0)])
    assert "The same throughout: Tokens a second 1234." in page
    assert "The same throughout: Unknown 0 %." in page


def test_each_metric_is_drawn_once() -> None:
    lines = [line.metric for s in SECTIONS for chart in s.charts for line in chart.lines]
    assert len(lines) == len(set(lines))
    assert set(lines) <= DRAWN


def test_sampling_beside_learning_takes_no_time_of_its_own() -> None:
    """Two steps of 1 + 5 s by the clock, in which a thread sampled for 4 s."""
    step = {"seconds/rollout": 4.0, "seconds/reward": 0.5, "seconds/learning": 5.0}
    run = run_of(step | {"seconds/waiting": 1.0}, step | {"seconds/waiting": 1.0})
    assert phases(run) == {"learning": 10.0, "waiting": 2.0}
    assert axes(run)["minutes"] == [0.1, 0.2]
    assert phases(run_of(step)) == {"rollout": 4.0, "reward": 0.5, "learning": 5.0}

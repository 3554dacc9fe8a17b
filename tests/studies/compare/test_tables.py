"""Tables from hand-made measurements."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from evenflow.evaluation.statistics import Estimate
from evenflow.studies.compare.tables import (
    BASE,
    COLUMNS,
    Results,
    number,
    pass_at_k_csv,
    to_csv,
    to_markdown,
    trials_table,
    written,
)


def measured(accuracy: float, residual: float | None = None) -> dict[str, Any]:
    scores = {"accuracy": accuracy, "pass@1": accuracy, "residual": residual, "entropy": 4.0}
    masses = [[accuracy], [accuracy / 2, accuracy / 2]]
    sets = {"test": {"scores": scores, "masses": masses, "questions": 2}}
    far = {"scores": {"accuracy": accuracy / 10}, "masses": None, "questions": 7}
    return {"sets": sets | {"far": far}}


@pytest.fixture
def results() -> Results:
    """tba gains 0.2 over grpo with seed 0, 0.1 with seed 1."""
    results = Results(["grpo", "tba"], "grpo")
    results.add_base(measured(0.2))
    for label, seed, accuracy in [
        ("grpo", 0, 0.3), ("grpo", 1, 0.5), ("tba", 0, 0.5), ("tba", 1, 0.6),
    ]:  # fmt: skip
        costs = {"sampled_tokens": 5000, "optimizer_steps": 40, "cpu_seconds": 61.5}
        results.add(
            label,
            seed,
            measured(accuracy, 1.5 if label == "tba" else None),
            {"answers": 10240 - seed} | costs,
        )
    return results


def rows(text: str) -> dict[tuple[str, str, str], dict[str, str]]:
    table = list(csv.DictReader(io.StringIO(text)))
    return {(row["questions"], row["algorithm"], row["seed"]): row for row in table}


def test_csv_has_every_run_and_what_follows_from_them(results: Results) -> None:
    table = rows(to_csv(results))
    assert table["test", BASE, ""]["accuracy"] == "0.2"
    assert table["test", "tba", "1"]["accuracy"] == "0.6"
    assert table["test", "tba", "mean"]["accuracy"] == "0.55"
    # s = 0.1/√2, so that half = 12.7062·0.1/2
    assert float(table["test", "tba", "mean ±"]["accuracy"]) == pytest.approx(0.63531, abs=1e-5)
    assert table["test", "tba", "difference to grpo"]["accuracy"] == "0.15"
    half = table["test", "tba", "difference to grpo ±"]["accuracy"]
    assert float(half) == pytest.approx(12.7062 * 0.05, abs=1e-4)
    assert ("test", "grpo", "difference to grpo") not in table
    assert table["far", "tba", "mean"]["accuracy"] == "0.055"


def test_what_is_not_known_is_empty(results: Results) -> None:
    table = rows(to_csv(results))
    assert table["test", "grpo", "0"]["residual"] == ""  # no fixed point of this kind
    assert table["test", "tba", "difference to grpo"]["residual"] == ""
    assert table["test", "tba", "mean"]["residual"] == "1.5"
    assert table["test", BASE, ""]["answers"] == ""
    assert table["far", "tba", "0"]["answers"] == ""
    assert table["test", "tba", "1"]["answers"] == "10239"
    assert table["test", "tba", "1"]["gradient_steps"] == "40"


def test_markdown(results: Results) -> None:
    text = to_markdown(results, "tried nothing")
    assert "## Held-out questions (2)" in text
    assert "| base model |  | 20.0 |" in text
    assert "| `tba` | 2 | 55.0 (0.0 – 100.0) |" in text
    assert "### Paired differences to `grpo`" in text
    assert "| `tba` | 2 | +15.0 ± 63.5 |" in text
    assert "## Out of distribution: far (7)" in text
    assert text.endswith("## Search\n\ntried nothing\n")
    tables = [part for part in text.split("\n\n") if part.startswith("|")]
    for lines in (part.splitlines() for part in tables):
        assert len({line.count("|") for line in lines}) == 1


def test_one_seed_has_no_interval() -> None:
    results = Results(["tba"], "tba")
    results.add_base(measured(0.2))
    results.add("tba", 3, measured(0.4), dict.fromkeys(
        ("answers", "sampled_tokens", "optimizer_steps", "cpu_seconds"), 1))  # fmt: skip
    assert "| `tba` | 1 | 40.0 |" in to_markdown(results)
    assert rows(to_csv(results))["test", "tba", "mean ±"]["accuracy"] == ""


def test_differences_count_the_seeds_that_both_have() -> None:
    results = Results(["grpo", "tba"], "grpo")
    results.add_base(measured(0.2))
    costs = dict.fromkeys(("answers", "sampled_tokens", "optimizer_steps", "cpu_seconds"), 1)
    for label, seed in (("grpo", 0), ("grpo", 1), ("tba", 1), ("tba", 2)):
        results.add(label, seed, measured(0.3 if label == "grpo" else 0.5), costs)
    held_out, _, differences = to_markdown(results).partition("### Paired differences")
    assert "| `tba` | 2 | 50.0 " in held_out
    assert "| `tba` | 1 | +20.0 |" in differences


def test_equal_shares_of_0_or_1_are_no_sure_difference(results: Results) -> None:
    """Wilson's interval of 0 of 30 questions ends at 11.4 %, of 30 of 30 it begins at 88.6 %."""
    results.questions["test"] = 30
    for label, share in (("grpo", 0.0), ("tba", 1.0)):
        results.scores[label, "test"]["accuracy_sampled"] = {0: share, 1: share}
    found = results.difference("tba", "test", "accuracy_sampled")
    assert found is not None
    assert found.mean == 1
    assert found.half == pytest.approx(2 * 0.1135, abs=1e-3)
    results.scores["grpo", "test"]["accuracy_sampled"] = {0: 0.5, 1: 0.5}
    found = results.difference("tba", "test", "accuracy_sampled")
    assert found is not None
    assert found.half == pytest.approx(0.1135, abs=1e-3)


@pytest.mark.parametrize(
    ("scores", "shown"),
    [
        ({"accuracy_sampled": 0.5, "pass@1": 0.5, "pass@2": 0.6, "pass@4": 0.7},
         ["accuracy, sampled (%)", "pass@4 (%)"]),
        ({"accuracy_sampled": 0.5, "pass@1": 0.5}, ["accuracy, sampled (%)"]),
        ({"accuracy_sampled": 0.5, "pass@4": 0.6, "pass@16": 0.7, "pass@32": 0.8},
         ["accuracy, sampled (%)", "pass@16 (%)"]),
        ({"accuracy": 0.4, "accuracy_sampled": 0.5, "pass@8": 0.6, "pass@16": 0.7, "pass@256": 0.8},
         ["accuracy, exact (%)", "pass@16 (%)", "pass@256 (%)"]),
    ],
)  # fmt: skip
def test_differences_are_of_what_is_known(scores: dict[str, float], shown: list[str]) -> None:
    of_set = {"scores": scores, "masses": None, "questions": 30}
    results = Results(["grpo", "tba"], "grpo")
    results.add_base({"sets": {"test": of_set}})
    costs = dict.fromkeys(("answers", "sampled_tokens", "optimizer_steps", "cpu_seconds"), 1)
    for label in ("grpo", "tba"):
        results.add(label, 0, {"sets": {"test": of_set}}, costs)
    differences = to_markdown(results).partition("### Paired differences")[2]
    assert f"| algorithm | seeds | {' | '.join(shown)} |\n" in differences


def test_a_label_whose_runs_all_failed(results: Results) -> None:
    results.labels = ["grpo", "tba", "cispo"]
    assert "| `cispo` | 0 |  |" in to_markdown(results)


def test_every_k(results: Results) -> None:
    """Both questions have p = 0.3 and 0.5 with seeds 0 and 1: pass@2 is 0.51 and 0.75."""
    table = list(csv.DictReader(io.StringIO(pass_at_k_csv(results))))
    of = {(row["algorithm"], int(row["k"])): row for row in table if row["questions"] == "test"}
    assert len(of) == 2 * 256
    assert float(of["grpo", 2]["mean"]) == pytest.approx((0.51 + 0.75) / 2)
    assert float(of["grpo", 1]["mean"]) == pytest.approx(0.4)


def test_numbers() -> None:
    assert [number(x) for x in (None, 0.1234567, 40.0, 12345678.0, 1e-9)] == [
        "", "0.123457", "40", "12345678", "1e-09",
    ]  # fmt: skip


def test_trials() -> None:
    text = trials_table(
        "accuracy",
        [("tba", {"a.b": 1}, 0.25, True), ("tba", {"a.b": 2}, None, False)],
    )
    assert text.splitlines()[2:] == ["| `tba` | 1 | 25.0 | yes |", "| `tba` | 2 | failed |  |"]


def test_nothing_right_in_any_sample_has_an_interval() -> None:
    results = Results(["tba"], "tba")
    none = {"scores": {"accuracy_sampled": 0.0, "pass@4": 0.0}, "masses": None, "questions": 30}
    results.add_base({"sets": {"test": none}})
    costs = dict.fromkeys(("answers", "sampled_tokens", "optimizer_steps", "cpu_seconds"), 1)
    for seed in (0, 1):
        results.add("tba", seed, {"sets": {"test": none}}, costs)
    assert to_markdown(results).count("| `tba` | 2 | 0.0 (0.0 – 11.4) |") == 2


def test_labels_with_bars_and_backticks_stay_in_their_cells() -> None:
    rows = [("tba:x=a|b", {"y": "|"}, 0.5, True), ("tba:x=`", {"y": "z"}, 0.5, False)]
    first, second = trials_table("accuracy", rows).splitlines()[2:]
    assert first == '| `tba:x=a\\|b` | "\\|" | 50.0 | yes |'
    assert second == "| `` tba:x=` `` | z | 50.0 |  |"


@pytest.mark.parametrize(
    ("mean", "half", "expected"),
    [
        (0.4, 0.018, "40.0 ± 1.8"),
        (0.98, 0.05, "98.0 (93.0 – 100.0)"),
        (0.01, 0.05, "1.0 (0.0 – 6.0)"),
        (0.0, 0.0, "0.0 ± 0.0"),
        (0.5, None, "50.0"),
    ],
)
def test_a_share_does_not_leave_its_range(mean: float, half: float | None, expected: str) -> None:
    column = COLUMNS["accuracy"]
    assert written(Estimate(mean, half, 3), column.write, column) == expected


def test_a_difference_of_shares_may_be_below_0() -> None:
    column = COLUMNS["accuracy"]
    assert written(Estimate(-0.01, 0.05, 3), column.difference, column) == "-1.0 ± 5.0"

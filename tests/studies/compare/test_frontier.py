"""Curves: which points make them, what they say at equal accuracy, and a study that draws them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from evenflow.cli import main
from evenflow.commands.compare import parse
from evenflow.errors import UserError
from evenflow.evaluation.frontier import Frontiers, Point, at, mean_over, pareto
from evenflow.objectives import PRESETS
from evenflow.studies.compare.comparison import Comparison
from evenflow.studies.compare.frontier import to_csv, to_markdown

Calls = Callable[..., list[tuple[str, str]]]
STEPS = [(0.3, 2.5), (0.4, 2.0), (0.45, 1.9), (0.5, 1.0)]


def test_a_point_that_another_betters_in_both_is_no_part_of_the_curve() -> None:
    worse = [(0.35, 1.9), (0.4, 1.5), (0.2, 2.5), (0.5, 0.9)]
    assert pareto([*worse, *STEPS[::-1]]) == STEPS
    assert pareto([]) == []
    assert pareto([(0.3, 1.0), (0.3, 2.0)]) == [(0.3, 2.0)]


def test_between_two_points_the_curve_is_straight() -> None:
    assert at(STEPS, 0.35) == pytest.approx(2.25)
    assert at(STEPS, 0.4) == pytest.approx(2.0)
    assert at(STEPS, 0.475) == pytest.approx(1.45)


def test_before_a_curve_stands_its_first_point_and_beyond_it_nothing() -> None:
    assert at(STEPS, 0.1) == 2.5
    assert at(STEPS, 0.5) == 1.0
    assert at(STEPS, 0.51) is None
    assert at([], 0.1) is None


def test_the_mean_over_a_range_is_the_area_by_its_width() -> None:
    # Trapezia of 0.3 … 0.4 and 0.4 … 0.45.
    area = 0.1 * 2.25 + 0.05 * 1.95
    assert mean_over(STEPS, 0.3, 0.45) == pytest.approx(area / 0.15, rel=1e-4)
    assert mean_over(STEPS, 0.3, 0.6) is None


def frontiers() -> Frontiers:
    """Two curves, two seeds; `better` has 0.5 solutions more at every accuracy above the base's,
    in seed 1 0.7."""
    found = Frontiers("plain", {"accuracy": 0.3, "effective_solutions": 3.0})
    for label, gain in (("plain", (0.0, 0.0)), ("better", (0.5, 0.7))):
        found.points[label] = [
            Point(label, seed, step, accuracy, {"effective_solutions": value + gain[seed]})
            for seed in (0, 1)
            for step, (accuracy, value) in enumerate([(0.4, 2.0), (0.5, 1.0)], 1)
        ]
    return found


def test_at_equal_accuracy_seeds_are_compared_in_pairs() -> None:
    found = frontiers()
    shared = found.shared("effective_solutions")
    assert shared == (0.3, 0.5)
    assert found.at("plain", "effective_solutions", 0.45) == pytest.approx({0: 1.5, 1: 1.5})
    assert found.at("better", "effective_solutions", 0.45) == pytest.approx({0: 2.0, 1: 2.2})
    text = to_markdown(found)
    # 0.5 and 0.7: 0.6 ± 12.706·0.1·√2/√2
    assert "+0.60 ± 1.27" in text
    assert "| at 35.0 % | at 40.0 % | at 45.0 % | at 50.0 % | mean over the range |" in text
    assert "30.0 % (the base model) to 50.0 %" in text


def test_a_curve_that_does_not_rise_is_named_and_does_not_end_the_others() -> None:
    """One seed of it may have risen."""
    plain = to_markdown(frontiers())
    found = frontiers()
    found.points["worse"] = [
        Point("worse", 0, 1, 0.2, {"effective_solutions": 3.5}),
        Point("worse", 1, 1, 0.35, {"effective_solutions": 3.5}),
    ]
    left = "Left out: `worse`, of which with some seed no policy is more accurate than the base "
    text = to_markdown(found)
    assert left in text
    assert text.replace(f"{left}model.\n\n", "") == plain
    found.baseline = "worse"
    assert "| `better` | 2 |" in to_markdown(found)
    assert "Paired" not in to_markdown(found)


def test_no_curve_above_the_base_model_is_said() -> None:
    found = frontiers()
    found.points = {"worse": [Point("worse", 0, 1, 0.2, {"effective_solutions": 3.5})]}
    assert found.shared("effective_solutions") is None
    assert "No curve reaches an accuracy above the base model's" in to_markdown(found)


def test_of_few_sampled_answers_the_most_are_looked_at() -> None:
    found = Frontiers("plain", {"accuracy": 0.3, "pass@2": 0.4, "pass@4": 0.5})
    found.points["plain"] = [Point("plain", 0, 1, 0.6, {"pass@2": 0.7, "pass@4": 0.8})]
    assert found.measures() == ("pass@4",)
    assert "### pass@4 (%) at equal accuracy" in to_markdown(found)
    assert to_csv(found).splitlines()[0] == "curve,variant,seed,step,accuracy,pass@4"


def test_where_nothing_but_accuracy_is_known_that_is_said() -> None:
    found = Frontiers("plain", {"accuracy": 0.3})
    found.points["plain"] = [Point("plain", 0, 1, 0.6, {})]
    assert "Nothing is known but accuracy" in to_markdown(found)


def test_differences_count_the_seeds_that_both_have() -> None:
    found = frontiers()
    found.points["better"] = [p for p in found.points["better"] if p.seed == 1] + [
        Point("better", 2, 1, 0.6, {"effective_solutions": 2.0})
    ]
    own, paired = (line for line in to_markdown(found).splitlines() if line.startswith("| `bet"))
    assert own.startswith("| `better` | 2 |")
    assert paired.startswith("| `better` | 1 |")


def test_a_seed_of_which_runs_lack_is_named() -> None:
    found = frontiers()
    found.partial = [("better", 1, 1, 2)]
    assert "`better`, seed 1: a curve of 1 of its 2 runs so far." in to_markdown(found)


def test_runs_of_which_the_end_alone_is_known_are_named() -> None:
    found = frontiers()
    found.ends = [("better:x=1", 1)]
    assert "other questions: `better:x=1` (seed 1)." in to_markdown(found)


def test_a_label_that_markdown_would_read_is_quoted() -> None:
    found = frontiers()
    found.points["a|`x`"] = found.points.pop("plain")
    found.baseline = "a|`x`"
    assert r"Paired differences to `` a\|`x` ``, seed by seed" in to_markdown(found)


def test_every_measured_policy_is_a_line() -> None:
    rows = list(csv.DictReader(to_csv(frontiers()).splitlines()))
    assert len(rows) == 1 + 2 * 2 * 2
    assert rows[0] | {"curve": "base model", "accuracy": "0.3"} == rows[0]
    last = {"curve": "better", "seed": "1", "step": "2", "effective_solutions": "1.7"}
    assert rows[-1] | last == rows[-1]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_a_dial_with_four_values_its_own_among_them(name: str) -> None:
    ((field, values),) = PRESETS[name].dial.items()
    assert len(set(values)) == 4
    assert getattr(PRESETS[name].objective, field) in values


@pytest.fixture
def words(small: str, tmp_path: Path) -> list[str]:
    return [small, "algorithms=tba,grpo", "seeds=0", "ood=none", "jobs=1",
            "frontier={tba: {inverse_temperature: [2, 4]}, grpo: {entropy_bonus: [0, 0.1]}}",
            "baseline=grpo", f"output={tmp_path / 'cmp'}"]  # fmt: skip


def test_a_study_of_curves_runs_every_value_of_every_dial(
    words: list[str], tmp_path: Path, calls: Calls
) -> None:
    calls()
    assert main(["compare", *words]) == 0
    rows = list(csv.DictReader((tmp_path / "cmp/frontier.csv").open()))
    labels = {(row["curve"], row["variant"]) for row in rows[1:]}
    assert labels == {
        ("tba", "tba:inverse_temperature=2"),
        ("tba", "tba:inverse_temperature=4"),
        ("grpo", "grpo:entropy_bonus=0"),
        ("grpo", "grpo:entropy_bonus=0.1"),
    }
    # Measured on the way and at the end.
    assert {row["step"] for row in rows[1:]} == {"1", "2"}
    text = (tmp_path / "cmp/comparison.md").read_text()
    assert "## Frontiers" in text
    assert "Paired differences to `grpo:entropy_bonus=0`" in text


def test_a_run_that_failed_and_scores_that_are_no_numbers(
    words: list[str], tmp_path: Path, calls: Calls
) -> None:
    """The curve is one of the other run's, and of those points of which something is known."""
    calls(fail=("tba:inverse_temperature=4 seed 0",))
    assert main(["compare", *words]) == 2
    text = (tmp_path / "cmp/comparison.md").read_text()
    assert "`tba`, seed 0: a curve of 1 of its 2 runs so far." in text
    assert "`grpo`, seed 0" not in text
    calls()
    (log,) = (tmp_path / "cmp/runs").glob("tba,inverse_temperature=2*/metrics.jsonl")
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert rows[1]["step"] == 1
    assert rows[1]["test/accuracy"] is not None
    rows[1]["test/accuracy"] = None
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["compare", *words]) == 0
    left = list(csv.DictReader((tmp_path / "cmp/frontier.csv").open()))
    steps = [row["step"] for row in left if row["variant"] == "tba:inverse_temperature=2"]
    assert steps == ["2"]
    assert "so far" not in (tmp_path / "cmp/comparison.md").read_text()


def test_points_of_other_questions_are_no_part_of_a_curve(
    words: list[str], tmp_path: Path, calls: Calls
) -> None:
    """A finished study, measured again on others: what was scored along training is left out."""
    started = calls()
    assert main(["compare", *words]) == 0
    started.clear()
    assert main(["compare", *words, "evaluation.skip=4"]) == 0
    assert {state for _, state in started} == {"measuring"}
    rows = list(csv.DictReader((tmp_path / "cmp/frontier.csv").open()))[1:]
    assert [row["step"] for row in rows] == ["2"] * 4
    text = (tmp_path / "cmp/comparison.md").read_text()
    assert "other questions: `tba:inverse_temperature=2` (seed 0), " in text
    # More of the answers shown, or seldomer, is the same measurement.
    assert main(["compare", *words, "evaluation.samples=1"]) == 0
    assert "other questions:" not in (tmp_path / "cmp/comparison.md").read_text()


def test_runs_that_were_points_before_have_no_way_to_show(
    words: list[str], tmp_path: Path, calls: Calls
) -> None:
    calls()
    points = [word for word in words if not word.startswith(("frontier", "algorithms", "baseline"))]
    labels = "tba:inverse_temperature=2,tba:inverse_temperature=4"
    assert main(["compare", *points, f"algorithms={labels}"]) == 0
    curve = "frontier={tba: {inverse_temperature: [2, 4]}}"
    assert main(["compare", *points, "algorithms=tba", curve]) == 0
    assert "The end alone" in (tmp_path / "cmp/comparison.md").read_text()


@pytest.mark.parametrize(
    ("baseline", "row"),
    [
        ("grpo", "grpo:kl_coefficient=0.04"),
        ("tba", "tba:inverse_temperature=2"),
        ("tba:inverse_temperature=4", "tba:inverse_temperature=4"),
    ],
)
def test_points_are_held_against_the_presets_own_value_or_what_is_named(
    small: str, baseline: str, row: str
) -> None:
    curves = "frontier={tba: {inverse_temperature: [2, 4]}, grpo: {kl_coefficient: [0, 0.04]}}"
    request = parse([small, "algorithms=tba,grpo", curves, f"baseline={baseline}"])
    assert (request.baseline, request.point) == (row.partition(":")[0], row)


@pytest.mark.parametrize("dials", ["true", "{}", "{tba: {}}"])
def test_without_values_a_dial_has_the_presets(small: str, dials: str) -> None:
    request = parse([small, "algorithms=tba", f"frontier={dials}"])
    assert len(request.variants) == 4
    assert request.study.frontier


@pytest.mark.parametrize(
    ("dial", "sentence"),
    [
        ("{inverse_temperature: [5, 5.00]}", "5.0 stands there twice"),
        ("{inverse_temperature: [5, '5']}", "must be a valid number, not '5'"),
        ("{inverse_temperature: [true, 6]}", "must be a valid number, not true"),
        ("{cap: [1, 2]}", "of tba objective.cap: "),
        ("{objective: [{}, {inverse_temperature: 20}]}", "two values make the run tba:objective="),
        ("{head: [{}, {layers: 1}]}", "of tba head.layers: only log_z: head"),
    ],
)
def test_a_dial_that_turns_nothing_is_refused(small: str, dial: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Comparison(parse([small, "algorithms=tba", f"frontier={{tba: {dial}}}"]))


@pytest.mark.parametrize(
    "dials",
    ["curve", "1", "null", "{tba: null}", "{tba: [1, 2]}", "{tba: {inverse_temperature: 3}}"],
)
def test_what_is_no_map_of_dials_is_shown_the_form(small: str, dials: str) -> None:
    with pytest.raises(UserError, match=r"^frontier: .*e\.g\. frontier='\{grpo: ") as caught:
        parse([small, "algorithms=tba", f"frontier={dials}"])
    assert "\n" not in str(caught.value)


def test_one_sampled_answer_makes_no_curve(words: list[str], tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": f"{i}"}) + "\n" for i in range(16)))
    own = ["data.task=null", f"data.train={rows}", f"data.test={rows}"]
    with pytest.raises(UserError, match="one answer to a question shows its accuracy alone"):
        Comparison(parse([*words, *own, "evaluation.num_generations=1"]))
    Comparison(parse([*words, *own, "evaluation.num_generations=2"]))
    Comparison(parse([*words, "evaluation.num_generations=1"]))  # right answers are listed


def test_without_names_the_presets_own_dials_are_turned(small: str) -> None:
    comparison = Comparison(
        parse([small, "algorithms=tba,grpo:ratio=none:clip=none", "frontier=true"])
    )
    labels = [variant.label for variant in comparison.request.variants]
    assert labels == [
        *(f"tba:inverse_temperature={beta}" for beta in ("5.0", "10.0", "20.0", "40.0")),
        *(f"grpo:ratio=none:clip=none:kl_coefficient={c}" for c in ("0.0", "0.04", "0.2", "0.5")),
    ]
    assert {variant.curve for variant in comparison.request.variants} == {
        "tba",
        "grpo:ratio=none:clip=none",
    }


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["frontier={dapo: {kl_coefficient: [0]}}"], "'dapo' is none of the algorithms"),
        (["frontier={tba: {inverse_temperature: []}}"], "name one dial of tba"),
        (["frontier={tba: {cap: [1], epsilon: [0.1]}}"], "name one dial of tba"),
        (
            ["algorithms=tba:inverse_temperature=3", "frontier=true"],
            "inverse_temperature is set by tba:inverse_temperature=3",
        ),
        (
            ["algorithms=[{tba: {objective: {inverse_temperature: 4}}}]", "frontier=true"],
            "inverse_temperature is set by tba:objective=",
        ),
        (["frontier={tba: {inverse_temperature: [4, 4]}}"], "4 stands there twice"),
        (["frontier={tba: {inverse_temperature: [1e-1, 0.1]}}"], "0.1 stands there twice"),
        (["frontier={tba: {inverse_temperature: [2, 3, 2.0]}}"], "2.0 stands there twice"),
    ],
)
def test_what_is_no_dial_is_refused(small: str, more: list[str], sentence: str) -> None:
    given = (
        more if any(word.startswith("algorithms=") for word in more) else ["algorithms=tba", *more]
    )
    with pytest.raises(UserError, match=sentence):
        parse([small, *given])

"""A comparison from end to end with a tiny model, its processes being calls; and what is refused
before anything starts."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evenflow.cli import main
from evenflow.commands.compare import parse
from evenflow.config import TrainConfig, load
from evenflow.errors import UserError
from evenflow.run.tracking import read_jsonl
from evenflow.studies.compare.comparison import Comparison

Calls = Callable[..., list[tuple[str, str]]]
FAR = "ood={far: {targets: [41, 60]}}"


@pytest.fixture
def words(small: str, tmp_path: Path) -> list[str]:
    return [small, "algorithms=tba,flowrl:rollout.questions=1", "seeds=0,1", FAR,
            "ood_questions=2", "jobs=2", f"output={tmp_path / 'cmp'}"]  # fmt: skip


def read_csv(folder: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    with (folder / "comparison.csv").open() as file:
        return {(r["questions"], r["algorithm"], r["seed"]): r for r in csv.DictReader(file)}


def test_two_algorithms_two_seeds(words: list[str], tmp_path: Path, calls: Calls) -> None:
    """Stopped twice on the way; nothing is done twice, and all have the same budget."""
    folder = tmp_path / "cmp"
    first = calls(stop_after=2)
    assert main(["compare", *words]) == 130
    assert len(first) == 2
    second = calls(stop_after=3)
    assert main(["compare", *words]) == 130
    third = calls()
    assert main(["compare", *words]) == 0
    labels = ("tba", "flowrl:rollout.questions=1")
    expected = [("base", "measuring")] + [
        (f"{label} seed {seed}", state)
        for label in labels
        for seed in (0, 1)
        for state in ("training", "measuring")
    ]
    assert sorted(first + second + third) == sorted(expected)
    table = read_csv(folder)
    for seed in ("0", "1"):
        # Batches of 4 and of 2 answers: the budget is the same, the steps are not.
        assert [table["test", x, seed]["answers"] for x in labels] == ["8", "8"]
        assert [table["test", x, seed]["gradient_steps"] for x in labels] == ["2", "4"]
    tokens = sum(
        row["answer/length"] * 4 for row in read_jsonl(folder / "runs/tba-seed0/metrics.jsonl")
    )
    assert float(table["test", "tba", "0"]["sampled_tokens"]) == pytest.approx(tokens)
    assert {key[0] for key in table} == {"test", "far"}
    text = (folder / "comparison.md").read_text()
    assert f"algorithms={words[1].partition('=')[2]}" in text
    assert "## Out of distribution: far (2)" in text
    assert len((folder / "pass_at_k.csv").read_text().splitlines()) == 1 + 2 * 2 * 256
    assert calls() == []
    assert main(["compare", *words]) == 0  # nothing left
    assert main(["compare", str(folder / "study.yaml")]) == 0  # the same study


def test_what_dynamic_sampling_drops_counts(small: str, tmp_path: Path, calls: Calls) -> None:
    """DAPO samples as many answers as the others, and learns from fewer."""
    calls()
    folder = tmp_path / "cmp"
    words = [small, "algorithms=tba,dapo", "seeds=0", "ood=none", "train.answers=32",
             "reward.right=0.5", f"output={folder}"]  # fmt: skip
    assert main(["compare", *words]) == 0
    rows = read_jsonl(folder / "runs/dapo-seed0/metrics.jsonl")
    assert sum(row["rollout/dropped_questions"] for row in rows) > 0
    table = read_csv(folder)
    assert table["test", "tba", "0"]["answers"] == "32"
    assert (
        28 < int(table["test", "dapo", "0"]["answers"]) <= 32
    )  # what is left is less than a batch
    assert table["test", "tba", "0"]["gradient_steps"] == "8"
    assert int(table["test", "dapo", "0"]["gradient_steps"]) < 8


def test_a_half_trained_run_goes_on(words: list[str], tmp_path: Path, calls: Calls) -> None:
    """A run that was killed while it saved ends with the numbers of one that was not."""
    words = [*words[:1], "algorithms=tba", *words[2:3], "ood=none", words[-1]]
    calls()
    assert main(["compare", *words]) == 0
    folder = tmp_path / "cmp"
    before, run = read_csv(folder), folder / "runs/tba-seed1"
    for name in ("summary.json", "measured.json"):
        (run / name).unlink()
    for path in (run / "checkpoint-000002").iterdir():
        path.unlink()  # killed while it was written
    (run / "checkpoint-000002").rmdir()
    started = calls()
    assert main(["compare", *words]) == 0
    assert started == [("tba seed 1", "training"), ("tba seed 1", "measuring")]
    assert [row["step"] for row in read_jsonl(run / "metrics.jsonl")] == [1, 2]
    after = read_csv(folder)
    for table in (before, after):
        for row in table.values():
            row.pop("cpu_seconds")
    assert after == before


def test_more_seeds_may_be_added_and_nothing_changed(
    words: list[str], calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    calls()
    words = [*words[:1], "algorithms=tba", *words[2:3], "ood=none", words[-1]]
    one = [word.replace("seeds=0,1", "seeds=0") for word in words]
    assert main(["compare", *one]) == 0
    started = calls()
    assert main(["compare", *words]) == 0
    assert {name[-1] for name, _ in started} == {"1"}
    for change, said in {
        "seeds=1": "it has tba seed 0 too",
        "train.learning_rate=1e-2": "train.learning_rate of tba seed 0 was 0.001, not 0.01",
        "search=train.learning_rate=1,2": "its search is another one",
    }.items():
        kept = [word for word in words if not word.startswith(change.split("=")[0] + "=")]
        capsys.readouterr()
        assert main(["compare", *kept, change]) == 2
        assert said in capsys.readouterr().err
    measured_again = calls()
    assert main(["compare", *words, "evaluation.questions=2"]) == 0
    assert {state for _, state in measured_again} == {"measuring"}
    assert len(measured_again) == 3


def test_a_run_that_fails_is_left_out(
    words: list[str], tmp_path: Path, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*words[:1], "algorithms=tba", *words[2:3], "ood=none", words[-1]]
    calls(fail=("tba seed 1",))
    assert main(["compare", *words]) == 2
    assert "1 of 3 did not come to an end\ntba seed 1: it is out of order" in (
        capsys.readouterr().err
    )
    assert "| `tba` | 1 |" in (tmp_path / "cmp/comparison.md").read_text()


def test_search(words: list[str], tmp_path: Path, calls: Calls) -> None:
    """Trials are measured on questions of their own; each algorithm gets its own best value."""
    calls()
    words = [
        *words[:2],
        "seeds=0",
        "ood=none",
        words[-1],
        "search=train.learning_rate=1e-5,1e-1",
        "search_answers=4",
        "search_by=pass@16",
    ]
    assert main(["compare", *words]) == 0
    folder = tmp_path / "cmp"
    for label, slug in [("tba", "tba"), ("flowrl:rollout.questions=1",) * 2]:
        slug = slug.replace(":", ",")
        scores = {}
        for number, rate in enumerate((1e-5, 1e-1)):
            trial = folder / "search" / f"{slug}-trial{number}"
            config = load(TrainConfig, trial / "recipe.yaml", [])
            assert (config.train.answers, config.seed) == (4, 1000)
            assert config.train.learning_rate == rate
            result = json.loads((trial / "measured.json").read_text())
            assert result["specification"]["evaluation"]["skip"] == 4
            scores[rate] = result["sets"]["test"]["scores"]["pass@16"]
        chosen = max(scores, key=lambda rate: scores[rate])
        run = load(TrainConfig, folder / "runs" / f"{slug}-seed0" / "recipe.yaml", [])
        assert (run.train.learning_rate, run.train.answers) == (chosen, 8)
        rows = (folder / "comparison.md").read_text().partition("## Search")[2].splitlines()
        of_label = [row for row in rows if row.startswith(f"| `{label}` |")]
        assert len(of_label) == 2
        assert sum(row.endswith("| yes |") for row in of_label) == 1


def test_a_search_may_lose_trials_but_not_all(
    words: list[str], calls: Calls, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    search = [
        *words[:3],
        "ood=none",
        words[-1],
        "search=train.learning_rate=1e-5,1e-1",
        "search_answers=4",
    ]
    failing = ["tba trial 0", "tba trial 1"]
    calls(fail=(*failing, "flowrl:rollout.questions=1 trial 0"))
    assert main(["compare", *search]) == 2
    assert "every trial of tba failed" in capsys.readouterr().err
    assert not (tmp_path / "cmp/runs").exists()


def test_answers_that_nobody_can_list(small: str, tmp_path: Path, calls: Calls) -> None:
    """A file of questions: everything is sampled, the search too."""
    data, folder = tmp_path / "questions.jsonl", tmp_path / "cmp"
    data.write_text("".join(json.dumps({"prompt": f"{i},2>9:"}) + "\n" for i in range(8)))
    files = ["data.task=null", f"data.train={data}", f"data.test={data}", f"output={folder}"]
    calls()
    words = [small, "algorithms=tba", "seeds=0", "reward.right=0.5", *files]
    assert main(["compare", *words, "search=train.learning_rate=1e-3", "search_answers=4"]) == 0
    row = read_csv(folder)["test", "tba", "0"]
    assert row["accuracy"] == row["distinct@16"] == row["pass@8"] == ""
    assert 0 <= float(row["accuracy_sampled"]) <= float(row["pass@4"]) <= 1
    text = (folder / "comparison.md").read_text()
    assert "| algorithm | seeds | accuracy, sampled (%) |" in text
    assert "| `tba` | 0.001 |" in text.partition("## Search")[2]


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["algorithms=tba,tabb"], "there is no preset 'tabb'"),
        (["algorithms=flowrl:betta=5"], "flowrl:betta=5: objective.betta: there is no such field"),
        (["algorithms=grpo:log_z=head"], r"grpo:log_z=head: .*objective.log_z: not with"),
        (["train.stepps=5"], "train.stepps: there is no such field; did you mean train.steps"),
        (["algorithm=flowrl"], "compare takes algorithms="),
        (["seed=3"], "compare takes seeds="),
        (["threads=2"], "compare takes jobs="),
        (["seeds=a"], "seeds: must be a valid integer, not 'a'"),
        (["seeds=1,1"], "name different whole numbers"),
        (["jobs=0"], "jobs: must be greater than 0, not 0"),
        (["jobs=1", "jobs=2"], "jobs=: stands there twice"),
        (["baseline=grpo"], "baseline: 'grpo' is none of the algorithms"),
        (["search_by=kl_reference"], "cannot be searched by; choose accuracy"),
        (["train.answers=3"], "train.answers: 3 is less than one batch"),
        (["evaluation.top_p=0.9"], "leave top_p at 1"),
        (["evaluation.temperature=0.0"], "the temperature above 0"),
        (["ood=far"], "ood: must be a valid dictionary or 'none', not 'far'"),
        (["ood={far: {target: 3}}"], "data.task_options: there is no 'target'; there are: numbers"),
        (["ood_questions=100000"], "fewer than the 100000 asked for"),
        (["evaluation.questions=100000"], "fewer than the 100000 asked for"),
    ],
)  # fmt: skip
def test_refused_before_anything_starts(
    small: str, tmp_path: Path, calls: Calls, changes: list[str], said: str
) -> None:
    started = calls()
    words = {"algorithms": "algorithms=tba", "output": f"output={tmp_path / 'cmp'}"}
    given = [word for key, word in words.items() if not changes[0].startswith(key + "=")]
    with pytest.raises(UserError, match=said):
        Comparison(parse([small, *given, *changes])).run()
    assert started == []
    assert not (tmp_path / "cmp").exists()


def test_algorithms_must_be_named(small: str) -> None:
    with pytest.raises(UserError, match="algorithms=… is missing"):
        parse([small])


def test_a_search_needs_questions_of_its_own(small: str, tmp_path: Path) -> None:
    """A file of six questions: four are reported, two are left for the search."""
    data = tmp_path / "test.jsonl"
    data.write_text("".join(json.dumps({"prompt": f"{i},2>9:"}) + "\n" for i in range(6)))
    files: list[Any] = ["data.task=null", f"data.train={data}", f"data.test={data}"]
    asked = ["algorithms=tba", f"output={tmp_path / 'cmp'}", *files]
    Comparison(parse([small, *asked]))
    with pytest.raises(UserError, match=r"has 6 questions, fewer than the 8 .* search"):
        Comparison(parse([small, *asked, "search=train.learning_rate=1e-3,1e-4"]))


def test_the_task_s_own_sets_out_of_distribution(small: str) -> None:
    own = Comparison(parse([small, "algorithms=tba", "ood_questions=1"])).specification["ood"]
    assert own == {
        "targets 41 to 60": {"targets": [41, 60]},
        "3 numbers": {"numbers": 3},
        "5 numbers": {"numbers": 5},
    }
    none = Comparison(parse([small, "algorithms=tba", "ood=none"])).specification["ood"]
    assert none == {}


def test_the_recipe_s_objective_is_its_own_algorithm_s(small: str) -> None:
    runs = Comparison(
        parse([small, "algorithms=tba,tba:objective={},flowrl", "seeds=0", "ood=none"])
    ).runs
    betas = [run.config.build_objective().model_dump()["inverse_temperature"] for run in runs]
    assert betas == [3.0, 20.0, 15.0]

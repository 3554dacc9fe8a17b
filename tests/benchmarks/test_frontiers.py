"""benchmarks/frontiers.py: what a study adds to the points that are known."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"

OLD = """curve,variant,seed,step,accuracy,effective_solutions,distinct@16,pass@16,pass@256
base model,,,0,0.3,2.5,2,0.9,1
grpo,grpo:kl_coefficient=0.1,0,20,0.4,2.2,2,0.9,1
grpo,grpo:kl_coefficient=0.1,0,40,0.5,2.0,2,0.9,1
tba,"tba:a=1,2",0,20,0.4,2.3,2,0.9,1
"""
NEW = """curve,variant,seed,step,accuracy,effective_solutions,distinct@16,pass@16,pass@256
base model,,,0,0.3,2.5,2,0.9,1
grpo,grpo:kl_coefficient=0.1,0,20,0.45,2.1,2,0.9,1
grpo,grpo:kl_coefficient=0.1,1,20,0.41,2.2,2,0.9,1
maxrl,maxrl,0,20,0.42,2.25,2,0.9,1
"""


@pytest.fixture
def frontiers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("frontiers")


def test_a_study_adds_its_runs_and_takes_the_place_of_their_like(
    frontiers: ModuleType, tmp_path: Path
) -> None:
    assert frontiers.merged("", NEW) == NEW
    text = frontiers.merged(OLD, NEW)
    lines = NEW.splitlines()
    assert text.splitlines() == [*lines[:4], OLD.splitlines()[4], lines[4]]
    (tmp_path / "points.csv").write_text(text)
    found = frontiers.read_csv(tmp_path / "points.csv")
    assert found.baseline == "grpo"
    assert found.seeds("grpo") == [0, 1]
    assert found.points["tba"][0].variant == "tba:a=1,2"


def test_the_field_is_held_against_the_same_seeds_of_the_study(
    frontiers: ModuleType, tmp_path: Path
) -> None:
    header, base = OLD.splitlines()[:2]
    # The second seed of grpo has 0.1 effective solutions more at 40 %, the third is not asked for.
    more = ["grpo,grpo:k=1,1,20,0.5,2.1,2,0.9,1", "grpo,grpo:k=1,2,20,0.4,9,9,0.9,1"]
    (tmp_path / "study.csv").write_text("\n".join([*OLD.splitlines(), *more]))
    of_field = ["rtb,rtb:b=1,0,20,0.34,2.4,1.8,0.88,1", "ppo,ppo,0,20,0.5,2.1,2,0.92,1"]
    of_field += ["ppo,ppo,1,20,0.5,1.9,2,0.9,1"]
    of_field += ["rloo,rloo,0,20,0.36,2.4,1.8,0.88,1", "rloo,rloo,1,20,0.5,2.1,2,0.9,1"]
    (tmp_path / "field.csv").write_text("\n".join([header, base, *of_field]))
    studies = [frontiers.read_csv(tmp_path / f"{name}.csv") for name in ("study", "field")]
    rows = [
        [cell.strip() for cell in row.strip("|").split("|")]
        for row in frontiers.field(*studies, seeds=(0, 1)).splitlines()
    ]
    # tba ends at 40 %, so the stops are 32.5, 35, 37.5 and 40 %. At the second grpo has 2.35
    # (halfway from 2.5 to 2.2) with one seed and 2.4 (a quarter from 2.5 to 2.1) with the other;
    # rtb reaches the first alone, at 2.5 − 0.1·2.5/4.
    assert rows[0][3:7] == ["at 32.5 %", "at 35.0 %", "at 37.5 %", "at 40.0 %"]
    grpo = ["2.44", "2.38", "2.31", "2.25", "–", "–", "–"]
    assert rows[2] == ["`grpo`", "2", "2", *grpo, "50.0 %"]
    assert rows[4] == ["`rtb`", "1", "1", "2.44", *["–"] * 6, "34.0 %"]
    # At 37.5 % ppo has 2.35 and 2.275, grpo 2.275 and 2.35: ± 12.71 · 0.075; pass@16 92 and 90.
    differences = ["+0.00 ± 0.95", "+0.00 ± 0.00", "+1.0 ± 12.7"]
    assert rows[5][2:10] == ["2", "2.44", "2.38", "2.31", "2.25", *differences]
    # One seed of rloo ends at 36 %, where it has 2.4 (2.417 at 35 %), the other is grpo's second:
    # at 35 % they have 2.417 and 2.4, grpo 2.35 and 2.4: +0.033 ± 12.71 · 0.033.
    assert rows[6][3:8] == ["2.45", "2.41", "–", "–", "+0.03 ± 0.42 (at 35.0 %)"]


def test_where_runs_end_is_their_last_step_and_values_ascend(
    frontiers: ModuleType, tmp_path: Path
) -> None:
    header, base = OLD.splitlines()[:2]
    rows = ["rloo,rloo:kl_coefficient=0.5,0,40,0.5,2.0,1.5,0.9,1"]
    rows += ["rloo,rloo:kl_coefficient=0.5,0,20,0.6,1.0,1.0,0.8,1"]
    rows += ["rloo,rloo:kl_coefficient=0.5,1,40,0.54,2.2,1.7,0.9,1"]
    rows += ["rloo,rloo:kl_coefficient=0.08,0,40,0.7,1.2,1,0.8,1"]
    (tmp_path / "study.csv").write_text("\n".join([header, base, *rows]))
    found = frontiers.read_csv(tmp_path / "study.csv")
    table = frontiers.ends({"programs_long": found, "countdown": found}).splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in table]
    first = ["programs", "480", "`rloo`", "KL 0.08", "1", "70.0", "1.20", "1.00", "80.0"]
    # Two seeds: ± 12.706 · half of their difference.
    second = ["52.0 ± 25.4", "2.10 ± 1.27", "1.60 ± 1.27", "90.0 ± 0.0"]
    assert cells[0] == first
    assert cells[1] == ["programs", "480", "`rloo`", "KL 0.5", "2", *second]
    assert [row[:2] for row in cells[2:]] == [["countdown", "160"]] * 2


def test_scores_out_of_distribution_are_kept_and_shown_by_value(
    frontiers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frontiers, "ROOT", tmp_path)
    monkeypatch.setattr(frontiers, "RESULTS", tmp_path)
    folder = tmp_path / "runs" / "frontiers-programs_long_ood"
    folder.mkdir(parents=True)
    rows = [
        "questions,algorithm,seed,accuracy,pass@1,effective_solutions,distinct@16,pass@16",
        "test,base model,,0.3,0.3,2.5,2,0.9",
        "4 examples,base model,,0.3,0.3,2.5,2,0.9",
        "4 examples,best:inverse_temperature=3,0,0.5,0.5,2.0,1.5,0.8",
        "4 examples,best:inverse_temperature=3,1,0.5,0.5,2.2,1.5,0.8",
        "4 examples,best:inverse_temperature=3,mean,0.5,0.5,2.1,1.5,0.8",
        "4 examples,best:inverse_temperature=3,difference to grpo ±,0.5,0.5,2.1,1.5,0.8",
    ]
    (folder / "comparison.csv").write_text("\n".join(rows))
    tables = [frontiers.out_of_distribution().splitlines()]
    (folder / "comparison.csv").unlink()
    tables.append(frontiers.out_of_distribution().splitlines())  # of what was kept
    assert tables[0] == tables[1]
    assert tables[0][2:] == [
        "| programs | 4 examples | base model |  |  | 30.0 | 2.50 | 2.00 | 90.0 |",
        "| programs | 4 examples | `best` | β 3 | 2 "
        "| 50.0 ± 0.0 | 2.10 ± 1.27 | 1.50 ± 0.00 | 80.0 ± 0.0 |",
    ]


def test_what_is_ahead_out_of_distribution_is_by_seed_at_equal_accuracy(
    frontiers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GRPO's ends of seed 0 and the base model are a line from 2.5 at 30 % to 2.1 at 50 %; of
    different right answers GRPO's 2.2 counts for all below, and nothing is beyond its end."""
    monkeypatch.setattr(frontiers, "ROOT", tmp_path)
    monkeypatch.setattr(frontiers, "RESULTS", tmp_path)
    rows = [
        "questions,algorithm,seed,accuracy,effective_solutions,distinct@16,pass@16",
        "5 numbers,base model,,0.3,2.5,2,0.9",
        "5 numbers,grpo:kl_coefficient=0.5,0,0.5,2.1,2.2,0.92",
        "5 numbers,grpo:kl_coefficient=0.5,1,0.4,1.5,1.5,0.5",
        "5 numbers,best:inverse_temperature=3,0,0.4,2.4,2.5,0.9",
        "5 numbers,best:inverse_temperature=3,1,0.6,2.4,2.5,0.9",
    ]
    (tmp_path / "frontiers_countdown_long_ood.csv").write_text("\n".join(rows))
    assert frontiers.ahead().splitlines()[2:] == [
        "| countdown | 5 numbers | β 3 | 0 | 40.0 % | +0.10 | +0.30 | -2.0 |",
        "| countdown | 5 numbers | β 3 | 1 | 60.0 % | – | – | – |",
    ]

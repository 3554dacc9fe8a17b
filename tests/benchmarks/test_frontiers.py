"""benchmarks/frontiers.py: what a study adds to the points that are known."""

from __future__ import annotations

import importlib
from pathlib import Path

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


def test_a_study_adds_its_runs_and_takes_the_place_of_their_like(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    frontiers = importlib.import_module("frontiers")
    assert frontiers.merged("", NEW) == NEW
    text = frontiers.merged(OLD, NEW)
    lines = NEW.splitlines()
    assert text.splitlines() == [*lines[:4], OLD.splitlines()[4], lines[4]]
    (tmp_path / "points.csv").write_text(text)
    found = frontiers.load(tmp_path / "points.csv")
    assert found.baseline == "grpo"
    assert found.seeds("grpo") == [0, 1]
    assert found.points["tba"][0].variant == "tba:a=1,2"

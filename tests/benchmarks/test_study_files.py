"""The studies of benchmarks/ are what `evenflow compare` takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from evenflow.commands.compare import parse
from evenflow.studies.compare.plan import build_runs

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("study", "answers"),
    [
        ("frontiers/countdown", 40960),
        ("frontiers/programs", 40960),
        ("frontiers/field_countdown", 40960),
        ("frontiers/field_programs", 40960),
        ("frontiers/countdown_long", 122880),
        ("frontiers/programs_long", 122880),
        ("frontiers/rates", 40960),
        ("frontiers/larger", 122880),
        ("ablations/programs", 15360),
        ("gsm8k", 25600),
    ],
)
def test_every_study_can_be_planned(
    study: str, answers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    more = ["model.path=MODEL", "data.train=a.jsonl", "data.test=b.jsonl"]
    words = [f"benchmarks/{study}.yaml", *(more if study == "gsm8k" else [])]
    runs = build_runs(parse(words), {})
    assert {run.config.train.answers for run in runs} == {answers}
    assert len({run.folder for run in runs}) == len(runs)
    assert len({run.variant.label for run in runs}) >= 2

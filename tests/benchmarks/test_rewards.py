"""The benchmarks of rewards run from end to end, on a few questions."""

import importlib
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(FOLDER))

    def module(name: str, *arguments: object) -> ModuleType:
        monkeypatch.setattr("sys.argv", [name, *map(str, arguments)])
        return importlib.import_module(name)

    return module


def test_grading_judges_each_gold_twice_and_calls_its_own_spelling_right(
    load, monkeypatch, tmp_path, capsys
):
    file = tmp_path / "golds.jsonl"
    golds = [f"\\frac{{{n}}}{{7}}" for n in range(9)]
    file.write_text("".join(json.dumps({"answer": gold}) + "\n" for gold in golds))
    grading = load("grading", file)
    monkeypatch.setattr(grading, "hostile", lambda draw: None)
    grading.main()
    _, *lines = capsys.readouterr().out.splitlines()
    counts = [[int(n) for n in re.findall(r"([0-9]+) (?:right|wrong)", line)] for line in lines]
    assert [sum(of_line) for of_line in counts] == [20_000, 20_000, 4_000, 18]
    assert all(right >= wrong > right / 2 for right, wrong in counts)


def test_grading_begins_each_line_with_empty_caches(load):
    from evenflow.rewards.math.normalisation import _normalised
    from evenflow.rewards.math.quantities import quantity

    quantity("5 cm")
    _normalised("x=5")
    load("grading").empty_caches()
    assert quantity.cache_info().currsize == _normalised.cache_info().currsize == 0


def test_code_says_which_verdicts_are_not_as_they_should_be(load, tmp_path, capsys):
    row = {
        "entry_point": "double",
        "answer": "def double(x):\n    return 2 * x",
        "tests": {"entry_point": "double", "inputs": [[1], [2]], "outputs": [2, 4]},
    }
    file = tmp_path / "questions.jsonl"
    file.write_text(json.dumps(row) + "\n")
    assert load("code_reward", file).main() == 0
    none = {**row, "tests": {**row["tests"], "outputs": [None, None]}}
    file.write_text(json.dumps(none) + "\n")
    assert load("code_reward", file).main() == 1
    assert "double: right" in capsys.readouterr().out

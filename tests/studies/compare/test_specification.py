"""What can be measured is known before anything is trained."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from evenflow.commands.compare import parse
from evenflow.errors import UserError
from evenflow.studies.compare.comparison import Comparison
from evenflow.studies.compare.search import choose
from evenflow.studies.compare.tables import trials_table

SEARCH = "search=train.learning_rate=1e-3,2e-3"


@pytest.fixture
def sampled(small: str, tmp_path: Path) -> list[str]:
    """Questions in a file: no right answers are listed."""
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{i},2>9:"}) + "\n" for i in range(8)))
    files = ["data.task=null", f"data.train={path}", f"data.test={path}", "reward.right=0.5"]
    return [small, "algorithms=tba", *files, f"output={tmp_path / 'cmp'}"]


@pytest.mark.parametrize("by", ["pass@16", "pass@8", "accuracy", "distinct@16"])
def test_a_score_that_will_not_be_known(sampled: list[str], by: str) -> None:
    said = rf"search_by: {by} is not known .*choose accuracy_sampled, pass@1, pass@2, pass@4$"
    with pytest.raises(UserError, match=said):
        Comparison(parse([*sampled, SEARCH, f"search_by={by}"]))


def test_scores_that_will_be_known(sampled: list[str], small: str) -> None:
    assert Comparison(parse([*sampled, SEARCH])).by == "accuracy_sampled"
    assert Comparison(parse([*sampled, SEARCH, "search_by=pass@4"])).by == "pass@4"
    more = "evaluation.num_generations=16"
    assert Comparison(parse([*sampled, SEARCH, "search_by=pass@16", more])).by == "pass@16"
    listed = [small, "algorithms=tba", "ood=none", SEARCH]
    assert Comparison(parse(listed)).by == "accuracy"
    assert Comparison(parse([*listed, "search_by=pass@256"])).by == "pass@256"


def test_trials_without_a_judged_answer_did_not_fail(sampled: list[str]) -> None:
    comparison = Comparison(parse([*sampled, SEARCH]))
    folders = [str(trial.run.folder) for trial in comparison.trials]
    with pytest.raises(UserError, match="no answer of the trials of tba could be judged"):
        choose(comparison.request, comparison.trials, dict.fromkeys(folders, math.nan))
    scores: dict[str, float | None] = {folders[0]: math.nan, folders[1]: 0.0}
    chosen = choose(comparison.request, comparison.trials, scores)
    assert chosen == {"tba": [("train.learning_rate", 2e-3)]}
    table = trials_table("accuracy_sampled", [("tba", {"a": 1}, math.nan, False)])
    assert "| not known |" in table


def test_held_out_questions_that_are_trained_on(sampled: list[str], tmp_path: Path) -> None:
    """Of eight, four are measured, and four more by a search."""
    test = tmp_path / "test.jsonl"
    lines = [{"prompt": f"{i},2>9:", "answer": 1} for i in (9, 1, 8, 7, 6, 5, 11, 12)]
    test.write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = [*sampled, f"data.test={test}"]
    said = "data.test: {} of the {} held-out questions are trained on"
    assert Comparison(parse(words)).cautions == [said.format(2, 4)]
    assert Comparison(parse([*words, SEARCH])).cautions == [said.format(4, 8)]
    assert Comparison(parse([*words, "data.train_questions=1"])).cautions == []


# --- out of distribution ------------------------------------------------------------------------


def test_the_task_s_own_sets_that_cannot_be_made_are_left_out(small: str) -> None:
    options = "data.task_options={numbers: 2, targets: [10, 81]}"
    comparison = Comparison(parse([small, "algorithms=tba", options, "ood_questions=30"]))
    assert list(comparison.specification["ood"]) == ["3 numbers"]
    (sentence,) = comparison.cautions
    assert sentence.startswith("ood: targets 82 to 101 is left out: Countdown has 0 different")
    with pytest.raises(UserError, match=r"^ood: targets 82 to 101: .*\(ood_questions=… sets how"):
        Comparison(parse([small, "algorithms=tba", options, "ood_questions=31"]))
    with pytest.raises(UserError, match=r"^ood: far: .*\(ood=none leaves such sets out\)"):
        Comparison(parse([small, "algorithms=tba", options, "ood={far: {targets: [82, 99]}}"]))

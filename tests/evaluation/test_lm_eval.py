"""GSM8K's scores beside those of lm-evaluation-harness, on the same answers: its filters and its
metric, as its task names them. Skipped where it is not installed (pip install lm-eval)."""

# pyright: reportMissingImports=false
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from evenflow.rewards.math import gsm8k

pytest.importorskip("lm_eval", reason="lm-eval is not installed")


@pytest.fixture(scope="module")
def task() -> dict[str, Any]:
    import lm_eval

    folder = Path(lm_eval.__file__).parent / "tasks" / "gsm8k"
    return yaml.safe_load((folder / "gsm8k.yaml").read_text(encoding="utf-8"))


def theirs(task: dict[str, Any], name: str, answers: list[str], golds: list[str]) -> list[bool]:
    """The harness's verdict on each answer, by the filter of that name."""
    from lm_eval.api.metrics import exact_match_hf_evaluate
    from lm_eval.filters.extraction import RegexFilter

    of_name = next(each for each in task["filter_list"] if each["name"] == name)
    settings = {k: v for k, v in of_name["filter"][0].items() if k != "function"}
    found = RegexFilter(**settings).apply([[answer] for answer in answers], [{}] * len(answers))
    metric = {
        key: task["metric_list"][0][key]
        for key in ("ignore_case", "ignore_punctuation", "regexes_to_ignore")
    }
    return [
        bool(exact_match_hf_evaluate([taken[0]], [gold], **metric)["exact_match"])
        for taken, gold in zip(found, golds, strict=True)
    ]


def ours(answers: list[str], golds: list[str]) -> list[bool]:
    return [score == 1.0 for score in gsm8k(answers, golds)]


@pytest.fixture(scope="module")
def solutions(shared: Path) -> list[str]:
    """One that ends with the test set's answer, as the data set's own do, a question."""
    lines = (shared / "data" / "gsm8k_test.jsonl").read_text(encoding="utf-8").splitlines()
    numbers = [json.loads(line)["answer"] for line in lines]
    return [f"First 48/2 = <<48/2=24>>24.\nThen more.\n#### {number}" for number in numbers]


def test_solutions_in_the_data_sets_form_are_all_right(task: dict, solutions: list[str]) -> None:
    for name in ("strict-match", "flexible-extract"):
        assert all(theirs(task, name, solutions, solutions))
    assert all(ours(solutions, solutions))


def test_other_questions_solutions_are_as_seldom_right(task: dict, solutions: list[str]) -> None:
    """Each question is answered with the solution of the next."""
    others = [*solutions[1:], solutions[0]]
    expected = ours(others, solutions)
    assert 0 < sum(expected) < 0.1 * len(expected)
    for name in ("strict-match", "flexible-extract"):
        assert theirs(task, name, others, solutions) == expected


def number_of(solution: str) -> str:
    return solution.rpartition("#### ")[2].strip()


@pytest.mark.parametrize(
    "form", ["So there are {}.", "The answer is ${}.", "That makes\n\n{}", "It is {} in total"]
)
def test_a_last_number_is_what_the_flexible_filter_takes(
    task: dict, solutions: list[str], form: str
) -> None:
    answers = [form.format(number_of(solution)) for solution in solutions]
    right = ours(answers, solutions)
    flexible = theirs(task, "flexible-extract", answers, solutions)
    assert not any(theirs(task, "strict-match", answers, solutions))
    assert all(right)
    # A single digit before a full stop: its pattern takes "3." whole only from two characters on.
    assert sum(flexible) >= 0.99 * len(flexible)
    assert all(mine for mine, other in zip(right, flexible, strict=True) if other)


@pytest.mark.parametrize(
    ("answer", "gold", "strict", "flexible", "mine"),
    [
        ("#### 18.0", "18", False, False, True),  # the same number, spelled otherwise
        ("#### 36/2", "18", False, False, True),
        ("\\boxed{18}", "18", False, True, True),
        ("The answer is 18. I used 3 steps.", "18", False, False, True),
        ("#### 18\n#### 20", "18", True, False, False),  # the first, or the last
        ("5-3=2", "2", False, True, True),
        ("It is 20-18", "18", False, False, True),  # no sign: a difference
    ],
)
def test_where_they_differ_it_is_by_design(
    task: dict, answer: str, gold: str, strict: bool, flexible: bool, mine: bool
) -> None:
    gold = f"… #### {gold}"
    assert theirs(task, "strict-match", [answer], [gold]) == [strict]
    assert theirs(task, "flexible-extract", [answer], [gold]) == [flexible]
    assert ours([answer], [gold]) == [mine]

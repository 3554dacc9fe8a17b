"""What is said below the table of results."""

from __future__ import annotations

from typing import Any

from evenflow.evaluation.diversity.table import notes


def result(name: str, unknown: int = 0, **how: Any) -> dict[str, Any]:
    rows = [{"id": "q", "answers": 4}]
    return {
        "answers": name, "scores": {}, "how": how, "unknown_left_out": unknown,
        "per_question": rows,
    }  # fmt: skip


def test_cut_answers_of_every_file_are_named():
    """The first file has none: the second one's are not lost."""
    model = {"vectors": "bert", "reads_tokens": 256, "answers_read": 20}
    lines = notes([result(name, **model, answers_cut=cut) for name, cut in [("a", 0), ("b", 3)]])
    assert lines == ["b: bert reads 256 tokens: it saw only the beginning of 3 of 20 answers"]


def test_answers_left_out_are_counted_for_each_file():
    lines = notes([result("a", 2), result("b"), result("c", 1)])
    assert lines == [f"{name}: answers of unknown verdict, left out: {n}"
                     for name, n in [("a", 2), ("c", 1)]]  # fmt: skip


def test_measures_of_some_questions_alone_say_so():
    """A question with one answer has no pair; one without a right answer has no right pair."""
    some = result("a") | {"questions": 5}
    score = {"value": 0.5, "low": 0.4, "high": 0.6}
    some["scores"] = {"bigram": score | {"questions": 3}, "vendi": score | {"questions": 5}}
    assert notes([some]) == ["a: bigram says nothing of 2 of 5 questions"]

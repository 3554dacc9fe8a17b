"""Answers by solution."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evenflow.report import cases
from evenflow.report.cases import case_study, choose, effective_number, grouped, shortened, spread
from evenflow.report.maths import holds_formulas, script, style
from evenflow.report.questions import Answer
from evenflow.report.reading import Run, read_run

Make = Callable[..., Path]


def test_two_runs_side_by_side(training_run: Make, evaluation: Make) -> None:
    found = case_study([read_run(training_run()), read_run(evaluation())])
    assert [side["label"] for side in found["sides"]] == ["run, step 0", "run, step 4", "aime"]
    assert found["questions"] == [
        {"prompt": "1,2,3>3:", "gold": None},
        {"prompt": "How long?", "gold": "204"},
    ]
    assert [sorted(side["cases"]) for side in found["sides"]] == [[0], [0], [1]]
    case = found["sides"][2]["cases"][1]
    assert (case["n"], case["right"], case["unknown"], case["cut"]) == (4, 2, 1, 1)
    assert [(g["label"], g["verdict"], g["count"]) for g in case["groups"]] == [
        ("204", "right", 2),
        ("7", "wrong", 1),
        ("hm", "unknown", 1),
    ]


def test_spellings_of_one_solution_are_one_group(training_run: Make) -> None:
    (first, *_) = case_study([read_run(training_run())])["sides"]
    case = first["cases"][0]
    assert [(g["label"], g["count"], g["spellings"]) for g in case["groups"]] == [
        ("1+2", 2, 2),
        ("1*3", 1, 1),
        ("1+1=2", 1, 1),
    ]
    assert [text["text"] for text in case["groups"][0]["texts"]] == ["1+2=3", "2+1=3"]
    assert case["groups"][2]["texts"] == []  # the label is the text
    assert (case["right"], case["solutions"]) == (3, 2)
    # Shares 2/3 and 1/3 of the right answers.
    assert case["effective"] == round(math.exp(2 / 3 * math.log(3 / 2) + 1 / 3 * math.log(3)), 2)


def test_without_classes_the_text_is_the_solution() -> None:
    case = grouped(
        [Answer("a", "right", None, True), Answer("a ", "right", None, True)]
        + [Answer("b", "wrong", None, True)] * 3
    )
    assert [(g["label"], g["verdict"], g["count"]) for g in case["groups"]] == [
        ("b", "wrong", 3),
        ("a", "right", 2),
    ]


def test_effective_number() -> None:
    assert effective_number([5, 5, 5]) == pytest.approx(3)
    assert effective_number([7]) == 1
    assert effective_number([]) == 0


def test_questions_beyond_the_limit_are_those_that_differ_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cases, "CHARACTERS", 4)
    right, wrong = (Answer("x", verdict, None, True) for verdict in ("right", "wrong"))
    same, apart, half, alone = range(4)
    left = {same: [right], apart: [right], half: [right, wrong], alone: [right]}
    other = {same: [right], apart: [wrong], half: [wrong]}
    assert choose([left, other]) == [apart, half]
    assert cases.limits(2, 4).startswith("Shown are 2 of 4 questions")


def test_long_answers_leave_room_for_fewer_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "CHARACTERS", 2500)
    found = {i: [Answer("x" * 1000, "right", None, True)] * 9 for i in range(4)}
    assert choose([found]) == [0, 1]  # a text that comes up nine times stands there once
    monkeypatch.setattr(cases, "CHARACTERS", 10)
    assert choose([found]) == [0]


def test_steps_between_the_first_and_the_last() -> None:
    assert spread([0, 1, 2]) == [0, 1, 2]
    assert spread(list(range(101))) == [0, 20, 40, 60, 80, 100]


def test_long_texts() -> None:
    assert shortened("x" * 6000) == "x" * 6000
    assert shortened("x" * 7001) == "x" * 6000 + "… [1,001 further characters]"


def test_every_question_that_fits_is_kept() -> None:
    found = {i: [Answer("x", "right", None, True)] for i in range(500)}
    assert choose([found]) == list(range(500))


def test_a_group_says_why_the_grader_said_so(evaluation: Make) -> None:
    folder = evaluation()
    rows = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
    for row, reason in zip(rows, ("equal", "equal", "other value", "no answer"), strict=True):
        row["reason"] = reason
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (side,) = case_study([read_run(folder)])["sides"]
    groups = side["cases"][0]["groups"]
    assert [(g["label"], g["reason"]) for g in groups] == [
        ("204", "equal"),
        ("7", "other value"),
        ("hm", "no answer"),
    ]


def test_formulas_are_found_and_money_is_none() -> None:
    def page(text: str) -> dict[str, Any]:
        return {"questions": [{"prompt": text, "gold": None}], "sides": []}

    for text in ("so \\(x^2\\)", "$x_1$", "$$\nx\n$$", "\\[x\\]", "thus \\boxed{204}"):
        assert holds_formulas(page(text)), text
    for text in ("from $5 to $6", "a $ b $ c", "1+2=3", "$5 and $10"):
        assert not holds_formulas(page(text)), text


@pytest.mark.parametrize("mark", ["\\(", "\\[", "\\( $x "])
def test_marks_that_nothing_ends_are_looked_through_at_once(mark: str) -> None:
    page = {"questions": [{"prompt": mark * 100_000, "gold": None}], "sides": []}
    began = time.monotonic()
    assert not holds_formulas(page)
    assert time.monotonic() - began < 5  # minutes, where each is looked for to the end


def test_katex_comes_with_its_fonts_inside() -> None:
    text = style()
    assert text.count("data:font/woff2;base64,") == 11
    assert "url(fonts" not in text
    assert len(text) + len(script()) < 700_000


def test_a_long_question_is_cut_in_the_middle_and_takes_room() -> None:
    document = "word " * 20_000 + "What is the last word?"
    rows = [
        {"step": 0, "prompt": f"{i} {document}", "answers": ["a"], "rewards": [1.0], "classes": [i]}
        for i in range(600)
    ]
    study = case_study([Run("t", "training", samples=rows)])
    assert len(study["questions"]) == 499  # of 6,001 characters each
    assert study["limits"].startswith("Shown are 499 of 600 questions")
    shown = study["questions"][0]["prompt"]
    assert shown.startswith("0 word word")
    assert shown.endswith("What is the last word?")
    assert "… [94,024 further characters] …" in shown
    assert all("asked" not in found for found in study["sides"][0]["cases"].values())

"""Which questions of several runs are the same one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evenflow.report.cases import case_study
from evenflow.report.questions import Answer, Question, asked, paired, prompt_text
from evenflow.report.reading import Run, read_run

Make = Callable[..., Path]


def line(key: str | None, prompt: str, response: str = "x", **more: Any) -> dict[str, Any]:
    row = {"prompt": prompt, "response": response, "verdict": "right", "gold": "7"}
    return row | ({} if key is None else {"id": key}) | more


def evaluation_of(*rows: dict[str, Any], **result: Any) -> Run:
    return Run("e", "evaluation", answers=[*rows], result={"benchmark": "aime24"} | result)


def numbers(*runs: Run) -> list[dict[int, str]]:
    """The texts of each side's questions by number."""
    sides = [questions for run in runs for questions in asked(run).values()]
    return [{number: q.text for number, q in side.items()} for side in paired(sides)]


def test_a_benchmark_is_paired_by_its_ids_whatever_the_template() -> None:
    plain = evaluation_of(line("I-1", "How long?"), line("I-2", "How far?"))
    boxed = evaluation_of(line("I-2", "How far? Box it."), line("I-1", "How long? Box it."))
    assert numbers(plain, boxed) == [
        {0: "How long?", 1: "How far?"},
        {1: "How far? Box it.", 0: "How long? Box it."},
    ]


def test_ids_of_different_questions_are_not_paired() -> None:
    first = evaluation_of(line("1", "How long?"))
    for other in (
        evaluation_of(line("1", "How far?"), benchmark="math500"),
        evaluation_of(line("1", "How far?"), source="other/aime24.jsonl"),
        evaluation_of(line("1", "How far?"), benchmark=None),
    ):
        assert numbers(first, other) == [{0: "How long?"}, {1: "How far?"}]


def test_all_others_are_paired_by_text(training_run: Make) -> None:
    training = read_run(training_run())
    (text,) = {row["prompt"] for row in training.samples}
    first = evaluation_of(line("9", "Sum?"), line("4", text))
    other = evaluation_of(line("a", text), benchmark="mine")
    bare = evaluation_of(line(None, text))
    assert numbers(training, first, other, bare) == [
        *({0: text}, {0: text}),  # two steps
        *({1: "Sum?", 0: text}, {0: text}, {0: text}),
    ]


def test_equal_texts_within_an_evaluation_are_two_questions() -> None:
    twice = [line("1", "Sum?"), line("2", "Sum?")]
    turned = evaluation_of(*twice[::-1])
    assert numbers(evaluation_of(*twice), turned) == [
        {0: "Sum?", 1: "Sum?"},
        {1: "Sum?", 0: "Sum?"},
    ]
    # Without ids of a known benchmark: the first with the first, the second with the second.
    unknown = evaluation_of(*twice, benchmark=None)
    assert [*numbers(evaluation_of(*twice), unknown)[1]] == [0, 1]
    # A part of the benchmark: its only question is the second one, whatever its text.
    assert [*numbers(evaluation_of(*twice), evaluation_of(twice[1]))[1]] == [1]
    # A further id with the text of another one is a further question.
    third = evaluation_of(line("3", "Sum?"))
    assert [*numbers(evaluation_of(*twice), third)[1]] == [2]
    rows = [{"step": 0, "prompt": "Sum?", "answers": ["3"], "rewards": [r]} for r in (0.0, 1.0)]
    study = case_study([Run("t", "training", samples=rows)])
    assert [case["right"] for case in study["sides"][0]["cases"].values()] == [0, 1]


def test_a_text_that_two_names_share_stays_within_its_side() -> None:
    # Both texts of the third side lead to question 0; only one of them can be it.
    sides = [
        [Question("a", ("b", "1"))],
        [Question("a, boxed", ("b", "1"))],
        [Question("a"), Question("a, boxed")],
        [Question("a"), Question("a, boxed")],
    ]
    assert [[*side] for side in paired(sides)] == [[0], [0], [0, 1], [0, 1]]
    # A name goes before a text, wherever it stands.
    sides = [[Question("a", ("b", "1"))], [Question("a"), Question("a, boxed", ("b", "1"))]]
    assert [[*side] for side in paired(sides)] == [[0], [1, 0]]


def test_a_side_says_how_it_asked(evaluation: Make) -> None:
    folders = [evaluation("plain"), evaluation("boxed")]
    answers = folders[1] / "answers.jsonl"
    answers.write_text(answers.read_text().replace("How long?", "How long? Box it."))
    study = case_study([read_run(folder) for folder in folders])
    assert study["questions"] == [{"prompt": "How long?", "gold": "204"}]
    plain, boxed = (side["cases"][0] for side in study["sides"])
    assert "asked" not in plain
    assert boxed["asked"] == "How long? Box it."
    assert (plain["n"], boxed["n"]) == (4, 4)


def test_task_options_make_other_questions(evaluation: Make) -> None:
    runs = []
    for numbers_of in (3, 4):
        folder = evaluation(f"countdown-{numbers_of}")
        (folder / "config.yaml").write_text(f"task_options: {{numbers: {numbers_of}}}\n")
        answers = folder / "answers.jsonl"
        answers.write_text(answers.read_text().replace("How long?", f"of {numbers_of}"))
        runs.append(read_run(folder))
    assert numbers(*runs) == [{0: "of 3"}, {1: "of 4"}]


def test_an_answer_without_a_reward_or_a_class() -> None:
    row = {"step": 0, "prompt": "Sum?", "answers": ["3", "4", "5"], "rewards": [1.0, None]}
    run = Run("t", "training", samples=[row | {"classes": [["a"]], "finished": "no"}])
    (question,) = asked(run)[0]
    assert question.answers == [
        Answer("3", "right", None, True),
        Answer("4", "unknown", None, True),
        Answer("5", "unknown", None, True),
    ]


def test_text_of_a_chat() -> None:
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "So"}]
    assert prompt_text(chat) == "user: Hi\n\nassistant: So"
    assert json.loads(json.dumps(prompt_text("plain"))) == "plain"

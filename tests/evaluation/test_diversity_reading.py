"""Files of answers: the formats there are, bad lines named, solutions told apart."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from evenflow.data import Prompt
from evenflow.errors import UserError
from evenflow.evaluation.diversity.measure import Measures, mean, means, right_only
from evenflow.evaluation.diversity.reading import Answer, Question, read_questions
from evenflow.evaluation.diversity.solutions import (
    canonical_of,
    distinct_right,
    for_diversity,
    told_apart,
)
from evenflow.evaluation.diversity.vectors import NgramVectors
from evenflow.evaluation.heldout import sample_row
from tests.groups import make_group


def written(path: Path, rows: list) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_lines_of_an_evaluation(tmp_path):
    row = {"sample": 0, "gold": "4", "tokens": 3, "finished": True, "reason": ""}
    rows = [
        {"id": "a", "prompt": "2+2?", "response": "4", "verdict": "right", "class": "4", **row},
        {"id": "b", "prompt": "2+2?", "response": "5", "verdict": "wrong", "class": None, **row},
        {**row, "id": "a", "prompt": "2+2?", "response": "?", "verdict": "unknown", "sample": 1},
    ]
    assert read_questions(written(tmp_path / "f", rows)) == [
        Question("a", "2+2?", [Answer("4", True, "4"), Answer("?", None, None)]),
        Question("b", "2+2?", [Answer("5", False, None)]),
    ]


def test_lines_of_anything_else(tmp_path):
    """By prompt, text or chat messages, or by an id of any kind; chats give their last message."""
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}]
    said = [{"role": "assistant", "content": "no"}, {"role": "assistant", "content": "4"}]
    rows = [
        {"prompt": "2+2?", "response": "4"},
        {"prompt": chat, "response": said},
        {"id": 7, "response": "x", "other": []},
        {"prompt": "2+2?", "response": ""},
    ]
    assert read_questions(written(tmp_path / "f", rows)) == [
        Question("2+2?", "2+2?", [Answer("4", None, None), Answer("", None, None)]),
        Question("Be brief.\n\n2+2?", "Be brief.\n\n2+2?", [Answer("4", None, None)]),
        Question("7", None, [Answer("x", None, None)]),
    ]


def test_samples_of_a_run(tmp_path):
    """The last step counts, even if an older one stands after it; what reaches --right is right."""
    rows = [
        {"step": 0, "prompt": "q", "answers": ["old"], "rewards": [1.0]},
        {"step": 5, "prompt": "q", "answers": ["a", "b", "c"], "rewards": [1.0, 0.5, None]},
        {"step": 5, "prompt": "r", "answers": ["d"]},
        {"step": 0, "prompt": "r", "answers": ["old"], "rewards": [1.0]},
    ]
    path = written(tmp_path / "f", rows)
    questions = read_questions(path)
    assert [question.key for question in questions] == ["q", "r"]
    assert [answer.right for answer in questions[0].answers] == [True, False, None]
    assert [answer.right for answer in read_questions(path, 0.5)[0].answers] == [True, True, None]
    assert questions[1].answers == [Answer("d", None, None)]


def test_samples_of_a_task_have_their_solutions(tmp_path):
    """As training writes them where right answers are listed; other `classes` are not ours."""
    solutions = {"3*8+7": ["8*3=24,24+7=31", "3*8=24,24+7=31"], "31": ["31"]}
    prompt = Prompt("k", "3,7,8>31:", (1,), {})
    texts = [*solutions["3*8+7"], "31", "x"]
    group = make_group(prompt, [[1]] * 4, texts, [True] * 4, rewards=[1.0, 1.0, 1.0, 0.0])
    row = {"step": 5, **sample_row(group, solutions)}
    (question,) = read_questions(written(tmp_path / "f", [row]))
    forms = ["3*8+7", "3*8+7", "31", None]
    assert [answer.solution for answer in question.answers] == forms
    assert Measures(NgramVectors()).row(question)["distinct-right"] == 2
    for other in (None, "abcd", ["a"], {}):
        path = written(tmp_path / "f", [row | {"classes": other}])
        assert [answer.solution for answer in read_questions(path)[0].answers] == [None] * 4
    (question,) = read_questions(written(tmp_path / "f", [row | {"classes": [1, "\ud800", 0, {}]}]))
    assert [answer.solution for answer in question.answers] == ["1", "?", "0", "{}"]


def test_texts_that_are_hard_to_hold(tmp_path):
    """Line separators inside a text, an unpaired surrogate, NaN as a reward, empty lines."""
    path = tmp_path / "f"
    path.write_text(
        '{"prompt": "q", "response": "a\u2028b\\u2028c"}\n\n'
        '{"prompt": "q", "response": "\\ud83d!"}\n'
        '{"prompt": "r", "answers": ["x"], "rewards": [NaN]}\n',
        encoding="utf-8",
    )
    (q,) = [q for q in read_questions(path) if q.key == "q"]
    assert [answer.text for answer in q.answers] == ["a\u2028b\u2028c", "?!"]
    assert read_questions(path)[1].answers[0].right is None


GOOD = '{"id": 1, "prompt": "q", "response": "r", "sample": 0}\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "there are no lines"),
        (GOOD + "nothing\n", "line 2: is not JSON"),
        (GOOD + "\n[1]\n", "line 3: is list, not an object"),
        (GOOD + "[" * 100_000 + "\n", "line 2: is not JSON"),
        (GOOD + '{"id": 1}\n', "line 2: has neither 'response' nor 'answers'; its fields: id"),
        (GOOD + '{"response": "r"}\n', "line 2: has neither 'id' nor 'prompt'"),
        ('{"prompt": "q", "response": null}\n', "line 1: response must be text or chat"),
        ('{"prompt": "q", "response": [{"role": "user"}]}\n', "line 1: response must be text or"),
        ('{"prompt": 5, "response": ""}\n', "line 1: prompt must be text or chat"),
        ('{"prompt": "q", "response": "", "verdict": "yes"}\n', "line 1: verdict must be right"),
        ('{"prompt": "q", "response": "", "verdict": ["right"]}\n', "line 1: verdict must be"),
        (GOOD + GOOD, "line 2: sample 0 of question '1' comes again"),
        (GOOD + '{"id": 1, "prompt": "p", "response": ""}\n', "line 2: question '1' has another"),
        ('{"prompt": "q", "answers": "a"}\n', "line 1: answers must be a list"),
        ('{"prompt": "q", "answers": ["a"], "rewards": []}\n', "line 1: rewards must be as many"),
        ('{"prompt": "q", "answers": ["a"], "rewards": ["1"]}\n', "line 1: rewards must be num"),
        ('{"prompt": "q", "answers": ["a", 1]}\n', "line 1: answer 2 must be text"),
        ('{"step": "5", "prompt": "q", "answers": ["a"]}\n', "line 1: step must be a number"),
        ('{"step": 5, "answers": ["a"]}\n', "line 1: has neither 'id' nor 'prompt'"),
    ],
)
def test_bad_lines_are_named(tmp_path, text, says):
    path = tmp_path / "f"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_questions(path)
    assert str(error.value).startswith(str(path))
    assert says in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "f").write_bytes(b'{"prompt": "\xff"}\n')
    with pytest.raises(UserError, match="is not UTF-8"):
        read_questions(tmp_path / "f")
    with pytest.raises(UserError, match="cannot be read"):
        read_questions(tmp_path / "none")


def test_solutions_on_paper():
    """FoR's diversity of questions with 2, 0 and 1 different solutions: 3 of 2 questions."""
    found = [["a", "b", "a"], [], ["c", "c"]]
    assert [distinct_right(own) for own in found] == [2, 0, 1]
    assert mean([for_diversity(own) for own in found])["value"] == pytest.approx(3 / 2)
    assert mean([distinct_right(own) for own in found])["value"] == pytest.approx(3 / 3)


def asked(prompt: str, *texts: str) -> Question:
    return Question(prompt, prompt, [Answer(text, None, None) for text in texts])


def test_countdown_tells_solutions_apart():
    """3·9 + 6 in two spellings, another way to 33, a slip, and nothing."""
    question = asked(
        "9,6,3,9>33:", "3*9=27,27+6=33", "9*3=27,6+27=33", "9-6=3,9*3=27,27+6=33",
        "9-6=3,3*9=27,27+6=33", "9*3=27", "",
    )  # fmt: skip
    (told,) = told_apart([question], canonical_of("countdown", {}))
    forms = [answer.solution for answer in told.answers]
    assert forms[0] == forms[1] is not None
    assert [answer.right for answer in told.answers][:2] == [True, True]
    assert forms[4:] == [None, None]
    assert [answer.right for answer in told.answers][4:] == [False, False]


def test_programs_tell_solutions_apart():
    question = asked("1,2>0;1,1>1;3,0>6:", "x+x-y", "x+(x-y)", "2*x-y", "(2-y)*x", "x", ";")
    (told,) = told_apart([question], canonical_of("programs", {}))
    assert [answer.right for answer in told.answers] == [True] * 4 + [False] * 2
    assert told.answers[0].solution == told.answers[1].solution
    assert len({answer.solution for answer in told.answers[:4]}) == 3


@pytest.mark.parametrize(
    ("task", "prompt"),
    [
        ("countdown", "What is 2 + 2?"),
        ("countdown", "9,6>33"),
        ("countdown", "9,6>33: "),
        ("countdown", "９,6>33:"),
        ("countdown", ""),
        ("programs", "1,2>0;1:"),
        ("programs", ">"),
    ],
)
def test_prompts_of_another_task(task, prompt):
    with pytest.raises(UserError, match=f"task: .* is not a question of {task}"):
        told_apart([asked(prompt, "x")], canonical_of(task, {}))


def test_tasks_that_tell_nothing_apart():
    with pytest.raises(UserError, match="stories tells no solutions apart; countdown, programs do"):
        canonical_of("stories", {})
    with pytest.raises(UserError, match="task_options"):
        canonical_of("countdown", {"colour": 1})


def question(*answers: tuple[str, bool | None, str | None]) -> Question:
    return Question("q", "?", [Answer(*answer) for answer in answers])


def test_rows_of_a_question():
    """Right: twice the text a, with other spaces, of class A, and b of class A: one solution, two
    texts."""
    measures = Measures(NgramVectors())
    own = question(("a  x", True, "A"), ("a x", True, "A"), ("b y", True, "A"), ("c z", False, "C"))
    row = measures.row(own)
    assert (row["answers"], row["right"]) == (4, 3)
    assert (row["distinct-right"], row["for-diversity"]) == (1, 2)
    assert Measures(NgramVectors(), by_solution=True).row(own)["for-diversity"] == 1
    assert row["vendi"] == pytest.approx(math.exp(0.5 * math.log(2) + 2 * 0.25 * math.log(4)))
    assert row["bigram"] == pytest.approx(5 / 6)


def test_what_is_not_known_is_nan():
    measures = Measures(NgramVectors())
    row = measures.row(question(("a", None, None), ("b", None, None)))
    assert row["right"] is None
    assert math.isnan(row["distinct-right"])
    assert math.isnan(row["for-diversity"])
    row = measures.row(question(("a", True, None), ("b", True, "B")))
    assert math.isnan(row["distinct-right"])  # one right answer has no class
    assert row["for-diversity"] == 2
    row = measures.row(question(("a", False, None), ("b", None, None)))
    assert (row["right"], row["distinct-right"]) == (0, 0)
    assert math.isnan(row["for-diversity"])
    row = measures.row(question())
    assert all(math.isnan(row[name]) for name in ("vendi", "bigram"))


def test_a_right_answer_without_a_class_takes_distinct_right_from_the_file():
    """Two solved questions, of which one has no classes, and an unsolved one. The mean of the
    others would be (1 + 0)/2, and 0 without the second."""
    measures = Measures(NgramVectors())
    classless = question(("a", True, None), ("b", True, None))
    classed = question(("a", True, "A"), ("c", False, None))
    unsolved = question(("a", False, None), ("b", None, None))
    for questions, says in [
        ([classless, unsolved], "left out: 2 of 2 right answers have no class"),
        ([classless, classed, unsolved], "left out: 2 of 3 right answers have no class"),
    ]:
        rows = measures.rows(questions)
        assert all(math.isnan(row["distinct-right"]) for row in rows)
        assert "distinct-right" not in means(rows)
        assert means(rows)["for-diversity"]["questions"] == len(questions) - 1
        assert measures.describe(questions)["distinct-right"] == says
    rows = measures.rows([classed, unsolved])
    assert [row["distinct-right"] for row in rows] == [1, 0]
    assert measures.describe([classed, unsolved])["distinct-right"] == "classes of right answers"


@pytest.mark.parametrize("text", ["", "x", "the same answer, word by word"])
def test_same_answers_are_least_diverse(text):
    row = Measures(NgramVectors()).row(question(*[(text, True, "A")] * 6))
    assert row["vendi"] == pytest.approx(1)
    assert row["bigram"] == 0
    assert row["distinct-right"] == row["for-diversity"] == 1


def test_orders_give_the_same_row_to_the_last_bit():
    texts = ["a b c", "a b d", "c d", "", "a b c", "ß ü 答"]
    rows = [
        Measures(NgramVectors()).row(question(*[(text, True, text) for text in order]))
        for order in (texts, texts[::-1], sorted(texts), [*texts[3:], *texts[:3]])
    ]
    assert all(row == rows[0] for row in rows)


def test_means_leave_out_what_no_question_has():
    measures = Measures(NgramVectors())
    scores = means(measures.rows([question(("a", None, None), ("b", None, None))]))
    assert "distinct-right" not in scores
    assert scores["vendi"] == {
        "value": pytest.approx(2.0), "low": pytest.approx(math.nan, nan_ok=True),
        "high": pytest.approx(math.nan, nan_ok=True), "questions": 1,
    }  # fmt: skip


def test_right_only():
    kept = right_only([question(("a", True, None), ("b", False, None)), question(("c", False, ""))])
    assert kept == [question(("a", True, None))]


def test_rewards_that_nobody_can_compute_with_are_unknown(tmp_path):
    path = tmp_path / "samples.jsonl"
    path.write_text('{"prompt": "p", "answers": ["a", "b", "c"], "rewards": [NaN, Infinity, 1]}')
    (question,) = read_questions(path, 1.0)
    assert [answer.right for answer in question.answers] == [None, None, True]

"""Verdicts by each grader, and which answers are the same one."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from evenflow.data import Prompt
from evenflow.errors import UserError
from evenflow.evaluation.benchmarks.sampling import lines_of
from evenflow.evaluation.benchmarks.verdicts import (
    NOT_YET,
    check_grader,
    check_tests,
    classes,
    continuation,
    due,
    grade,
    has_votes,
    needs_rows,
)
from evenflow.tasks.countdown import Countdown
from tests.groups import make_group


def answers(*responses: str, gold: object = "1/2", key: str = "q") -> list[dict]:
    return [
        {"id": key, "gold": gold, "response": text, "finished": True, "sample": i}
        for i, text in enumerate(responses)
    ]


def graded(lines: list[dict], grader: str, rows: dict | None = None) -> list[dict]:
    found = grade(lines, grader, rows or {})
    return [
        line | {"verdict": verdict, "reason": reason}
        for line, (verdict, reason) in zip(lines, found, strict=True)
    ]


def test_right_answers_are_one_class_however_they_are_written() -> None:
    lines = graded(answers("\\boxed{1/2}", "\\boxed{0.5}", "\\boxed{\\frac12}"), "math")
    assert [line["verdict"] for line in lines] == ["right"] * 3
    assert len(set(classes(lines, "math", None, {}))) == 1


def test_wrong_answers_of_the_same_value_are_one_class() -> None:
    lines = graded(
        answers("\\boxed{1/4}", "\\boxed{0.25}", "\\boxed{3}", "I do not know", "\\boxed{0.5}"),
        "math",
    )
    quarter, also, three, nothing, right = classes(lines, "math", None, {})
    assert quarter == also
    assert len({quarter, three, right}) == 3
    assert nothing is None


def test_what_is_graded_wrong_never_shares_the_golds_class() -> None:
    # DAPO's grader reads "Answer:" alone: the same value elsewhere is wrong there.
    lines = graded(answers("Answer: 1/2", "\\boxed{1/2}"), "dapo")
    assert [line["verdict"] for line in lines] == ["right", "wrong"]
    right, wrong = classes(lines, "dapo", None, {})
    assert right != wrong


def test_an_unreadable_gold_is_unknown() -> None:
    (line,) = graded(answers("\\boxed{1}", gold=""), "math")
    assert line["verdict"] == "unknown"


def test_brackets_without_end_do_no_harm() -> None:
    deep = "(" * 900 + "1" + ")" * 900
    lines = graded(answers(f"\\boxed{{{deep}}}", f"\\boxed{{{deep}+0}}", ""), "math")
    assert classes(lines, "math", None, {})[2] is None


def test_tasks_name_the_solution_that_is_spelled() -> None:
    row = {"id": "q", "prompt": "9,6,3,9>33:", "numbers": [9, 6, 3, 9], "target": 33}
    row |= {"operators": "+-*", "gold": None}
    texts = ["3*9=27,27+6=33", "9*3=27,27+6=33", "9+9=18", "9-6=3,9*3=27,27+6=33"]
    right = [Countdown().verify(_question(row), text) for text in texts]
    lines = graded(answers(*texts, gold=None), "countdown", {"q": row})
    assert [line["verdict"] == "right" for line in lines] == right
    assert right[:3] == [True, True, False]
    found = classes(lines, "countdown", row, {})
    assert found[0] == found[1] == Countdown().canonical(_question(row), texts[0])
    assert found[2] is None


def test_tasks_list_their_solutions_with_the_options_of_the_questions() -> None:
    options = {"operators": "+-*/"}
    row = {"id": "q", "prompt": "9,6,3,9>11:", "numbers": [9, 3], "target": 3, "gold": None}
    text = "9/3=3"
    (line,) = graded(answers(text, gold=None), "countdown", {"q": row | options})
    assert line["verdict"] == "right"
    assert classes([line], "countdown", row | options, {}) == [None]  # what this is about
    (found,) = classes([line], "countdown", row | options, options)
    assert found is not None


def _question(row: dict):  # type: ignore[no-untyped-def]
    from evenflow.tasks.countdown import Question

    return Question(tuple(row["numbers"]), row["target"])


def test_equal_programs_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from evenflow.evaluation.benchmarks import verdicts

    ran: list[str] = []

    def run(rows):  # type: ignore[no-untyped-def]
        for row in rows:
            ran.append(row["response"])
            yield ("right" if "1" in row["response"] else "wrong"), "ran"

    monkeypatch.setattr(verdicts, "grade_code", run)
    rows = {"q": {"tests": {}}, "r": {"tests": {}}}
    lines = answers("a1", "b", "a1") + answers("a1", "b", key="r")
    found = graded(lines, "code", rows)
    assert [line["verdict"] for line in found] == ["right", "wrong", "right", "right", "wrong"]
    assert ran == ["a1", "b", "a1", "b"]  # once for each question


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("    return 1\n\n\ndef other():\n    pass", "    return 1\n\n"),
        ("    return 1\nThat is all.", "    return 1"),
        ("\treturn 1", "\treturn 1"),
        ("def up(x):\n    return 1\nprint(2)", "def up(x):\n    return 1\nprint(2)"),
        ("\n\ndef up(x):\n    return 1", "\n\ndef up(x):\n    return 1"),
        ("    return 1\n```\n\nThis adds one:\n```python\nup(1)\n```", "    return 1"),
        ("\n    return 1\n\n```", "\n    return 1\n"),
        (" Here:\n```python\nx\n```", " Here:\n```python\nx\n```"),
        ("```python\n    return 1\n```\nDone.", "```python\n    return 1\n```\nDone."),
        ("", ""),
    ],
)
def test_what_follows_a_continued_function_is_not_the_answer(text: str, kept: str) -> None:
    assert continuation(text) == kept


def test_a_continued_stub_is_graded_without_what_follows() -> None:
    row = {"id": "q", "prompt": "def up(x):\n", "entry_point": "up", "test": "inputs = [[1], [4]]"}
    row |= {"canonical_solution": "    return x + 1\n"}
    texts = [
        "    return 1 + x\nNow test it.",
        "    return 1 + x\n```\nAn example:\n```python\nprint(up(1))\n```",
        "    return 2\nNow test it.",
    ]
    found = graded(answers(*texts, gold=None), "code", {"q": row})
    assert [line["verdict"] for line in found] == ["right", "right", "wrong"]


def test_tests_are_read_before_anything_is_sampled() -> None:
    good = {"id": "a", "tests": {"inputs": ["1"], "outputs": ["2"]}}
    check_tests([good])
    for bad, says in [
        ({}, "there are no `tests`"),
        ({"tests": {"inputs": ["1"]}}, "need both inputs and outputs"),
        ({"entry_point": "f", "test": "inputs = [[1]]", "prompt": "p"}, "'answer' is missing"),
    ]:
        with pytest.raises(UserError, match=f"question b: .*{says}"):
            check_tests([good, {"id": "b"} | bad])


def test_a_question_without_tests_is_named() -> None:
    with pytest.raises(UserError, match="question q: there are no `tests`"):
        graded(answers("x"), "code", {"q": {"id": "q"}})


def length_reward(
    prompts: Sequence, completions: Sequence, level: Sequence, finished: Sequence, **_: object
) -> list[float | None]:
    """1 for texts as long as the level; None where nothing was said."""
    assert len(set(prompts)) == 1
    return [
        float(len(text) == at) if text and done else None
        for text, at, done in zip(completions, level, finished, strict=True)
    ]


def needs_ids(completion_ids: Sequence, **_: object) -> list[float]:
    return [1.0 for _ in completion_ids]


def test_reward_functions() -> None:
    path = f"{__name__}:length_reward"
    check_grader(path)
    rows = {
        "q": {"id": "q", "prompt": "p", "level": 2, "gold": None},
        "r": {"id": "r", "prompt": "s", "level": 1, "gold": None},
    }
    lines = answers("ab", "a", "") + answers("ab", "a", key="r")
    found = graded(lines, path, rows)
    assert [line["verdict"] for line in found] == ["right", "wrong", "unknown", "wrong", "right"]
    assert classes(found[:3], path, rows["q"], {}) == [None] * 3
    assert not has_votes(path)
    assert needs_rows(path)
    assert not needs_rows("math-verify")


def slow(completions: Sequence, **_: object) -> list[float]:
    time.sleep(0.3)
    return [1.0 for _ in completions]


def test_a_late_reward_names_the_field_of_an_evaluation(caplog: pytest.LogCaptureFixture) -> None:
    """`reward.timeout` is of training: here it is no field."""
    rows = {"q": {"id": "q", "prompt": "p", "gold": None}}
    list(grade(answers("a"), f"{__name__}:slow", rows, timeout=0.05))
    assert "raise grading_timeout" in caplog.text


def test_what_came_too_late_is_graded_again() -> None:
    path = f"{__name__}:slow"
    rows = {key: {"id": key, "prompt": "p", "gold": None} for key in "qr"}
    lines = answers("a", "b") + answers("a", key="r")
    late = [
        line | {"verdict": verdict, "reason": reason}
        for line, (verdict, reason) in zip(
            lines, grade(lines, path, rows, timeout=0.05), strict=True
        )
    ]
    assert {(line["verdict"], line["reason"]) for line in late} == {
        ("unknown", "no reward within 0.05 s")
    }
    assert due(late, path) == late
    in_time = [verdict for verdict, _ in grade(late, path, rows, timeout=20)]
    assert in_time == ["right"] * 3
    # A function sees all answers to a question, and no question that is done.
    late[0] |= {"verdict": "right", "reason": "reward 1"}
    late[2] |= {"verdict": "unknown", "reason": "no reward"}
    assert due(late, path) == late[:2]
    assert due([late[0], late[1] | {"reason": NOT_YET}], "math")[0]["response"] == "b"


def test_graders_that_cannot_be() -> None:
    with pytest.raises(UserError, match="asks for completion_ids"):
        check_grader(f"{__name__}:needs_ids")
    with pytest.raises(UserError, match=r"neither package\.module:function nor built in"):
        check_grader("mathh")
    for name in ("math", "dapo", "math-verify", "boxed-strict", "code", "countdown"):
        check_grader(name)


def reads_ids_if_any(completions: Sequence, completion_ids: object = None) -> list[float]:
    return [float(completion_ids is None) for _ in completions]


def reads_ids_among_all(completions: Sequence, **columns: Sequence) -> list[float]:
    return [1.0 - len(ids) / 200 for ids in columns["completion_ids"]]


def test_no_token_ids_are_made_up_for_saved_answers() -> None:
    rows = {"q": {"id": "q", "prompt": "p", "gold": None}}
    check_grader(f"{__name__}:reads_ids_if_any", rows.values())
    found = graded(answers("ab", "a"), f"{__name__}:reads_ids_if_any", rows)
    assert [line["verdict"] for line in found] == ["right"] * 2
    with pytest.raises(UserError, match="completion_ids"):
        graded(answers("ab"), f"{__name__}:reads_ids_among_all", rows)


def asks_for_the_prompt(prompt: Sequence, completions: Sequence) -> list[float]:
    return [1.0 for _ in prompt]


def by_position(completions: Sequence, /) -> list[float]:
    return [1.0 for _ in completions]


def test_what_the_questions_lack_is_said_before_anything_is_sampled() -> None:
    path = f"{__name__}:length_reward"
    rows = [{"id": key, "prompt": "p", "gold": None, "level": 2} for key in "qr"]
    check_grader(path, rows)
    lacking = {name: value for name, value in rows[1].items() if name != "level"}
    with pytest.raises(UserError, match=r"question r: the reward .* needs the column 'level'"):
        check_grader(path, [rows[0], rows[0], lacking])
    for name in ("opened_thoughts", "completion_ids"):
        with pytest.raises(UserError, match=f"question q: the data column '{name}' has a name"):
            check_grader(path, [rows[0] | {name: []}])
        check_grader("math", [rows[0] | {name: []}])
    # A column of these names is not handed on: the function gets ours.
    ours = {"prompts": 1, "completions": 2, "finished": 3}
    check_grader(path, [rows[0] | ours])
    found = graded(answers("ab"), path, {"q": rows[0] | ours})
    assert found[0]["verdict"] == "right"
    with pytest.raises(UserError, match="needs the column 'prompt'"):
        check_grader(f"{__name__}:asks_for_the_prompt", rows)
    with pytest.raises(UserError, match="must take 'completions' by name"):
        check_grader(f"{__name__}:by_position", rows)


def test_a_thought_that_the_prompt_opened_is_saved_and_graded_as_one() -> None:
    prompt = Prompt("k", "What?", (1,), {}, "<think>")
    group = make_group(prompt, [[1], [1]], ["\\boxed{1/2}", "</think>\\boxed{1/2}"], [False, True])
    lines = lines_of("q", "1/2", group)
    assert [line["opened_thought"] for line in lines] == ["<think>"] * 2
    assert [line["verdict"] for line in graded(lines, "math")] == ["wrong", "right"]
    assert classes(graded(lines, "math"), "math", None, {})[0] is None
    plain = lines_of("q", "1/2", make_group(Prompt("k", "?", (1,), {}), [[1]], ["1/2"], [True]))
    assert "opened_thought" not in plain[0]
    tests = {"entry_point": "f", "inputs": [[3]], "outputs": [9]}
    program = "```python\ndef f(x): return x * x\n```"
    group = make_group(prompt, [[1], [1]], [program, f"</think>{program}"], [False, True])
    found = graded(lines_of("q", None, group), "code", {"q": {"tests": tests}})
    assert [line["verdict"] for line in found] == ["wrong", "right"]

"""A thought answers nothing, whoever opened it, and what follows it does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evenflow.errors import UserError
from evenflow.rewards import Rewards
from evenflow.rewards.code import code
from evenflow.rewards.code import grade_rows as grade_code
from evenflow.rewards.math import boxed_strict, dapo, gsm8k, math, math_verify
from evenflow.rewards.math import grade_rows as grade_math
from evenflow.rewards.thoughts import MARKS, opened_by, spoken, whole

TESTS = {"entry_point": "f", "inputs": [[3]], "outputs": [9]}
SAID = {
    "math": (math, "So \\boxed{7}", {"answer": ["7"]}),
    "gsm8k": (gsm8k, "So #### 7", {"answer": ["7"]}),
    "dapo": (dapo, "Answer: 7", {"answer": ["7"]}),
    "boxed_strict": (boxed_strict, "So \\boxed{7}", {"answer": ["7"]}),
    "math_verify": (math_verify, "So \\boxed{7}", {"answer": ["7"]}),
    "code": (code, "```python\ndef f(x): return x * x\n```", {"tests": [TESTS]}),
}
OPENED: list[dict[str, Any]] = [
    {"opened_thoughts": ["<think>"]},
    {"opened_thoughts": "<think>"},
    {"prompts": ["What?\nAssistant: <think>\n"]},
    {"prompts": [[{"role": "assistant", "content": "<think>\nLet me see: 3 + 4"}]]},
]
NOT_OPENED: list[dict[str, Any]] = [
    {},
    {"opened_thoughts": [""]},
    {"opened_thoughts": [""], "prompts": ["<think>\n"]},  # who is told need not look
    {"prompts": ["What?\n<think>\n\n</think>\n\n"]},
    {"prompts": ["Think between <think> and </think>. What?"]},
    {"prompts": [[{"role": "user", "content": "What is <think>"}]]},
]


@pytest.mark.parametrize("opened", OPENED)
@pytest.mark.parametrize("name", SAID)
def test_a_draft_in_a_thought_is_no_answer(name: str, opened: dict[str, Any]) -> None:
    reward, right, columns = SAID[name]
    wrong = -1.0 if name == "dapo" else 0.0
    assert reward(completions=[right], **columns, **opened) == [wrong]
    assert reward(completions=[f"Hm.\n</think>\n{right}"], **columns, **opened) == [1.0]
    assert reward(completions=[f"{right}\n</think>\nHm. <think>{right}"], **columns) == [wrong]


@pytest.mark.parametrize("told", NOT_OPENED)
@pytest.mark.parametrize("name", SAID)
def test_other_prompts_open_no_thought(name: str, told: dict[str, Any]) -> None:
    reward, right, columns = SAID[name]
    assert reward(completions=[right], **columns, **told) == [1.0]


@pytest.mark.parametrize("opened", MARKS)
def test_every_pair_of_marks(opened: str) -> None:
    closed = MARKS[opened]
    assert spoken(f"{opened}\n6{closed} 7") == " 7"
    assert spoken(f"6{closed} 7") == " 7"
    assert spoken(f"{opened}6") is None
    assert spoken(f"{opened.upper()}6{closed.upper()}7") == "7"
    assert opened_by(f"<|assistant|>{opened}\n") == opened
    assert opened_by(f"{opened}\n\n{closed}\n\n") == ""


@pytest.mark.parametrize(
    ("response", "said"),
    [
        ("no thought", "no thought"),
        ("", ""),
        ("</think>", ""),
        ("a</think>b</think>c", "c"),
        ("<think>a</think>b<think>c</think>d", "d"),
        ("<think>a</think>b<think>c", None),
        ("<think>a <think> b</think>c", "c"),
        ("<think>a</thinking>b", None),
        ("<think>'</think>' or so</think>b", "b"),
        ("Use `<think>` tags: 7", "Use `<think>` tags: 7"),
        ("so 'yes'</think>no", "no"),
        ("s.split('</think>')[1]", "s.split('</think>')[1]"),
        ('re.sub(r"<think>.*?</think>", "", s)', 're.sub(r"<think>.*?</think>", "", s)'),
        ("a</think>\n```\n<think>\n```\n7", "\n```\n<think>\n```\n7"),
        ("```\nx\n</think>\n7", "\n7"),
        ("```python\nx\n```</think>7", "7"),
        ("<think>a</think>" * 100 + "7", "7"),
        ("<think>a</think>" * 100 + "7<think>", None),
    ],
)
def test_what_is_said(response: str, said: str | None) -> None:
    assert spoken(response) == said


def test_what_is_no_mark_is_refused() -> None:
    with pytest.raises(UserError, match="opened_thoughts: '<hm>' does not open a thought; <think>"):
        whole(["7"], opened_thoughts=["<hm>"])
    chat = [{"role": "assistant", "content": "7"}]
    assert whole(["7", chat], opened_thoughts=["", "<Think>"]) == ["7", "<Think>\n7"]


def test_saved_answers_have_a_column_of_it() -> None:
    rows = [
        {"response": "\\boxed{7}", "gold": "7", "opened_thought": "<think>"},
        {"response": "\\boxed{7}", "gold": "7", "opened_thought": ""},
        {"response": "\\boxed{7}", "gold": "7", "opened_thought": None},
        {"response": "\\boxed{7}", "gold": "7", "prompt": "What?<think>\n"},
        {"response": "\\boxed{6}</think>\\boxed{7}", "gold": "7", "prompt": "What?<think>\n"},
    ]
    assert [v for v, _ in grade_math(rows)] == ["wrong", "right", "right", "wrong", "right"]
    assert next(iter(grade_math(rows[:1], "dapo")))[1] == "the thought does not end"
    program = {"response": "def f(x): return x * x", "tests": TESTS}
    found = grade_code([program, program | {"opened_thought": "<think>"}])
    assert [verdict for verdict, _ in found] == ["right", "wrong"]


def test_the_trainer_tells_all_rewards() -> None:
    def seen(completions: list, opened_thoughts: list, **_: Any) -> list[float]:
        return [float(mark == "<think>") for mark in opened_thoughts]

    rewards = Rewards([("seen", seen, 1.0), ("gsm8k", gsm8k, 1.0)])
    found = rewards(
        ["p", "p"],
        ["7", "7"],
        {"answer": ["7", "7"]},
        completion_ids=[[1], [1]],
        finished=[False, False],
        opened_thoughts=["<think>", ""],
    )
    assert found.parts == {"seen": [1.0, 0.0], "gsm8k": [0.0, 1.0]}
    with pytest.raises(UserError, match="'opened_thoughts' has a name that rewards reserve"):
        rewards(["p"], ["7"], {"opened_thoughts": [1]}, completion_ids=[[1]], finished=[True])


def test_verl_is_told_by_its_own_arguments() -> None:
    given = {"solution_str": "\\boxed{7}", "ground_truth": "7", "data_source": "d"}
    assert math(**given)["score"] == 1.0
    assert math(**given, opened_thoughts="<think>")["score"] == 0.0
    assert math(**given, extra_info={"opened_thoughts": "<think>"})["score"] == 0.0


def test_sample_cases(shared: Path) -> None:
    lines = (shared / "cases" / "grading.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row["kind"] == "code"]
    assert [verdict for verdict, _ in grade_code(rows)] == [row["expect"] for row in rows]

"""Verdicts: right, wrong or unknown; presets; processes that may hang; data at hand."""

import json
import math as maths
import random
import signal
import threading
import time
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy
import pytest

from evenflow.errors import UserError
from evenflow.evaluation.benchmarks.questions import short
from evenflow.installation import how_to_install
from evenflow.rewards import Rewards, load_reward
from evenflow.rewards.math import (
    boxed_strict,
    dapo,
    grade_rows,
    math,
    math_verify,
    normalise,
    verdict,
    verdicts,
)
from evenflow.rewards.math.workers import Process, Workers

DATA = Path(__file__).parents[3] / "shared" / "data"
FILES = ["aime24", "aime25", "amc23", "math500", "math_train", "gsm8k_test", "gsm8k_train"]
at_hand = pytest.mark.skipif(not DATA.exists(), reason="the data files are not at hand")
SLOW = r"\int_0^1 9^{9^{9^9}} dx"  # for math-verify: hours


# --- one verdict -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "gold", "expected"),
    [
        (r"\boxed{4}. Wait, no. \boxed{5}", "5", "right"),
        (r"\boxed{4}. Wait, no. \boxed{5}", "4", "wrong"),
        (r"\boxed{4}. Wait, no. \boxed{5}", r"\{4,5\}", "wrong"),
        (r"<think>\boxed{5}</think> I do not know", "5", "wrong"),
        ("Page 5", "5", "wrong"),
        (r"\boxed{(1,2)}", r"\{1,2\}", "wrong"),
        (r"\boxed{1.325\times10^{-27}}", r"2.88\times10^{-19}", "wrong"),
        (r"\boxed{0.1000001}", "0.1", "wrong"),
        (r"\boxed{4.5\times10^{33}}", "4.5e33", "right"),
        ("#### 5", 5, "right"),
        ("#### 5", 5.0, "right"),
        ("5", r"A long solution ends in \boxed{5}.", "right"),
        ("5", "48/2 = 24\n#### 5", "right"),
        ("no answer. None. At all.", "5", "wrong"),
        ("5", "", "unknown"),
        ("5", "$$", "unknown"),
        ("5", None, "unknown"),
        ("5", ["5"], "unknown"),
        (r"\boxed{x>2}", r"(2,\infty)", "right"),
        (r"\boxed{\sum_{k=1}^{2} k}", "3", "right"),
        (r"\boxed{\sum_{k=1}^{3} k}", "3", "wrong"),
        (r"\boxed{\frac{}{}\foo}", r"\frac{\bar{", "unknown"),
        ("{" * 100_000, "5", "wrong"),
        (r"\boxed{" + "{" * 400 + "5" + "}" * 400 + "}", "5", "right"),
        (r"\boxed{" + "(" * 400 + "1,2" + ")" * 400 + "}", "5", "wrong"),
    ],
)
def test_verdict(response, gold, expected):
    found = verdict(response, gold)
    assert found.verdict == expected, found.reason
    assert found.reason


def test_rewards_are_numbers_and_unknown_is_nan():
    completions = [r"\boxed{1}", r"\boxed{2}", [{"role": "assistant", "content": "#### 1"}], "1"]
    scores = math(completions=completions, answer=["1", "1", "1", ""], level=[1, 2, 3, 4])
    assert scores[:3] == [1.0, 0.0, 1.0]
    assert maths.isnan(scores[3])
    assert math(["1"], gold=["1"]) == [1.0]
    with pytest.raises(UserError, match="`answer` or `gold`"):
        math(["1"])


def test_composes_with_others():
    reward = Rewards([("math", load_reward("math"), 2.0)])
    result = reward(["?"] * 3, ["1", "2", "3"], {"answer": ["1", "1", ""]},
                    completion_ids=[[0]] * 3, finished=[True] * 3)  # fmt: skip
    assert result.total[:2] == [2.0, 0.0]
    assert maths.isnan(result.total[2])


# --- presets ---------------------------------------------------------------------------------


def test_dapo():
    """By hand, from the rules of verl's math_dapo."""
    cases = [
        ("Answer: 5", "5", 1.0),
        (r"\boxed{5}", "5", -1.0),  # no "Answer:"
        ("Answer: $x = 5$", "5", 1.0),
        ("answer :\t 1,000 dollars", "1000", 1.0),
        ("Answer: 5.0", "5", -1.0),  # text, not value
        (r"Answer: \frac12", r"\frac{1}{2}", 1.0),
        ("Answer: 5\nAnswer: 6", "5", -1.0),
        ("Answer: 5" + "\n" + "." * 290, "5", 1.0),
        ("Answer: 5" + "\n" + "." * 300, "5", -1.0),
    ]
    for response, gold, score in cases:
        assert dapo([response], [gold]) == [score], response


def test_boxed_strict():
    responses = [r"\boxed{\dfrac12}", r"\boxed{0.5}", "1/2", r"<think>\boxed{1/2}</think>"]
    assert boxed_strict(responses, [r"\frac{1}{2}"] * 4) == [1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("preset", ["default", "dapo", "boxed-strict", "math-verify"])
def test_a_whole_number_is_the_same_gold_as_a_float(preset: str) -> None:
    """Of a column with a gap, which pandas makes one of floats."""
    response = "Answer: 27\n\\boxed{27}"
    assert verdict(response, 27.0, preset).verdict == verdict(response, 27, preset).verdict
    assert verdict(response, 27.0, preset).verdict == "right"
    assert verdict(response, 27.5, preset).verdict == "wrong"


@pytest.mark.parametrize("said", [r"6.02\times10^{23}", "6.02e+23", "602" + 21 * "0"])
def test_a_large_gold_is_the_number_that_the_data_name(said: str) -> None:
    """And not 601999999999999995805696, the float that is nearest."""
    assert verdict(rf"\boxed{{{said}}}", 6.02e23).verdict == "right"
    assert verdict(rf"\boxed{{{said}}}", 6.03e23).verdict == "wrong"


@pytest.mark.parametrize(
    ("gold", "said", "expected"),
    [
        (["5"], "5", "right"),
        ([5, 6.0], "6, 5", "right"),
        ((5, 6), "5", "wrong"),
        ([["5"], "so\n#### 6"], "5, 6", "right"),
        (numpy.array([0.5, 2]), "2, 1/2", "right"),
        (numpy.int64(5), "5", "right"),
        (Decimal("5.00"), "5", "right"),
        (Decimal("1E+3"), "1000", "right"),
        (Fraction(1, 2), "0.5", "right"),
        (date(2024, 3, 5), "2024-03-05", "right"),
        (b"5", "5", "right"),
        ([], "5", "unknown"),
        ([None], "None", "unknown"),
        (["5", float("nan")], "5", "unknown"),
        (Decimal("Infinity"), "5", "unknown"),
        (b"\xff", "5", "unknown"),
        ({"value": 5}, "5", "unknown"),
        (True, "True", "unknown"),
    ],
)
def test_golds_of_any_type_are_the_same_to_all(gold: Any, said: str, expected: str) -> None:
    """As a reward's column, as `grade` reads them, and as `eval` writes them first."""
    response = f"\\boxed{{{said}}}"
    for each in (gold, short(gold)):
        ((found, _),) = grade_rows([{"response": response, "gold": each}])
        assert found == expected
        (score,) = math([response], answer=[each])
        assert {1.0: "right", 0.0: "wrong"}.get(score, "unknown") == expected


def test_math_verify_is_left_as_it_is():
    """With what is wrong about it: see docs/rewards_math.md."""
    traps = [
        (r"$\boxed{(1,2)}$", r"\{1,2\}"),
        ("Page 5", "5"),
        (r"\boxed{4}. Wait, no. \boxed{5}", r"\{4,5\}"),
        (r"<think>$\boxed{5}$</think> I do not know", "5"),
        (r"$\boxed{0.1000001}$", "0.1"),
        (r"$\boxed{1.3\times10^{-27}}$", r"2.88\times10^{-19}"),
    ]
    for response, gold in traps:
        assert math_verify([response], [gold]) == [1.0], response
        assert math([response], [gold]) == [0.0], response
    assert math_verify([r"\boxed{6}"], ["5"]) == [0.0]


def test_a_preset_that_is_none():
    with pytest.raises(UserError, match="choose default, dapo, math-verify, boxed-strict"):
        verdict("1", "1", preset="strict")


# --- processes -------------------------------------------------------------------------------


def test_a_comparison_that_hangs_delays_no_other():
    workers = Workers(2, timeout=1.0)
    workers.ask("2", r"\log 100").result()  # both processes have started
    began = time.monotonic()
    slow = workers.ask("5", SLOW)
    others = [workers.ask("2", r"\log 100") for _ in range(50)]
    assert [other.result() for other in others] == [True] * 50
    assert not slow.done() or time.monotonic() - began > 1.0
    assert "1 s, tried 2 times" in str(slow.result(timeout=60))
    assert workers.ask("3", r"\log 1000").result(timeout=60) is True
    workers.close()


def test_order_is_kept_around_one_that_hangs():
    pairs = [
        ("1", "1"),
        (rf"\boxed{{{SLOW}}}", "1"),
        ("2", "1"),
        (r"\boxed{\sum_{k=1}^{2} k}", "3"),
    ]
    found = list(verdicts(pairs, timeout=3.0))  # of which the last needs its share
    assert [one.verdict for one in found] == ["right", "unknown", "wrong", "right"]


def test_many_that_hang_do_not_hold_a_batch(monkeypatch):
    monkeypatch.setattr("evenflow.rewards.math.grading.LIMIT", 1.5)
    answers = [rf"\boxed{{{SLOW}+{n}}}" for n in range(20)]
    began = time.monotonic()
    scores = math(["1", *answers, "2"], ["1"] * 22)
    assert time.monotonic() - began < 10.0
    assert scores[0] == 1.0
    assert all(maths.isnan(score) for score in scores[1:-1])
    assert scores[-1] == 0.0


def test_off_the_main_thread():
    found = []
    thread = threading.Thread(
        target=lambda: found.append(verdict(r"\boxed{\sum_{k=1}^{2} k}", "3"))
    )
    thread.start()
    thread.join(60)
    assert found[0].verdict == "right"


def test_a_process_that_dies_is_an_error_here():
    process = Process(30.0)
    process.popen.kill()
    with pytest.raises(OSError):  # noqa: PT011 (the pipe may break before or after)
        process.ask({"gold": "2", "said": "2", "whole": False}, 30.0)
    process.kill()


def test_a_process_that_nobody_waits_for_ends_itself():
    process = Process(0.1)  # its own alarm: 1.2 s
    assert process.popen.stdin is not None
    process.popen.stdin.write(
        json.dumps({"gold": "5", "said": SLOW, "whole": False}).encode() + b"\n"
    )
    process.popen.stdin.flush()
    assert process.popen.wait(timeout=30) == -signal.SIGALRM
    process.kill()


def test_without_math_verify(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert Workers(1).ask("2", r"\log 100").result() == (
        f"needs math-verify: {how_to_install('math')}"
    )


# --- data ------------------------------------------------------------------------------------


def golds(name):
    return [json.loads(line)["answer"] for line in (DATA / f"{name}.jsonl").open()]


@at_hand
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "form",
    [
        "{}",
        r"We find $x$. Therefore, $\boxed{{{}}}$.",
        r"<think>Maybe \boxed{{0}}?</think>So the result is" + "\n" + r"\[\fbox{{{}}}\]",
        "It follows.\nAnswer: {}",
        "Therefore the answer is ${}$.",
    ],
)
def test_gold_is_right(name, form):
    answers = golds(name)
    rows = [{"response": form.format(gold), "gold": gold} for gold in answers]
    found = list(grade_rows(rows))
    assert [(g, v) for g, v in zip(answers, found, strict=True) if v[0] != "right"] == []


# Golds of two questions with one value, as (gold, answer): a percentage and its fraction.
SAME_VALUE = {(r"50\%", r"\frac{1}{2}"), (r"50\%", r"\frac12")}


@at_hand
@pytest.mark.parametrize("name", FILES)
def test_answer_of_another_question_is_wrong(name):
    answers = golds(name)
    others = random.Random(1).sample(answers, len(answers))
    rows = [
        {"response": rf"So \boxed{{{other}}}.", "gold": gold}
        for gold, other in zip(answers, others, strict=True)
        if normalise(gold) != normalise(other) and (gold, other) not in SAME_VALUE
    ]
    assert len(rows) > 0.9 * len(answers) - 3
    found = list(grade_rows(rows))
    assert [(r, v) for r, v in zip(rows, found, strict=True) if v[0] != "wrong"] == []


def test_what_is_unknown_says_why(caplog: pytest.LogCaptureFixture) -> None:
    values = math(["\\boxed{1}"] * 3, answer=[None, "", "1"])
    assert [value == value for value in values] == [False, False, True]
    said = "unknown verdicts, 2 of 3: the gold is no text but NoneType (1), the gold is empty (1)"
    assert said in caplog.text


def test_each_row_has_its_own_column_of_golds():
    found = math([r"\boxed{4}"] * 3, answer=[None, "4", None], gold=["4", None, "5"])
    assert found == [1.0, 1.0, 0.0]

"""Responses of many kinds, and the verdicts that they should get: `math_cases.jsonl`."""

import contextlib
import json
import time
from pathlib import Path

import pytest

from evenflow.rewards.math import final_number, verdict
from evenflow.rewards.math.workers import Workers

CASES = [
    json.loads(line)
    for line in Path(__file__).with_name("math_cases.jsonl").read_text("utf-8").splitlines()
]
"""Lines of a kind, a gold, and what is right and wrong for it: whole responses, or, where `boxed`,
what stands in the box."""


def cases():
    for case in CASES:
        for expected in ("right", "wrong"):
            for said in case[expected]:
                response = rf"So it is $\boxed{{{said}}}$." if case["boxed"] else said
                name = f"{case['kind']}: {said!r} is {expected} for {case['gold']!r}"
                yield pytest.param(response, case["gold"], expected, id=ascii(name))


@pytest.mark.parametrize(("response", "gold", "expected"), list(cases()))
def test_verdict_by_kind(response, gold, expected):
    found = verdict(response, gold)
    assert found.verdict == expected, found.reason


@pytest.mark.parametrize(
    ("gold", "said"),
    [(c["gold"], said) for c in CASES if c["kind"] == "typed" for said in c["right"]],
    ids=ascii,
)
def test_what_people_type_is_read_in_golds_too(gold, said):
    found = verdict(rf"\boxed{{{gold}}}", said)
    assert found.verdict == "right", found.reason


@pytest.mark.parametrize(
    ("gold", "said"), [(r"1:2:3:\ldots", r"1:4:9:\ldots"), (r"\foo{3", r"\foo{4}")]
)
def test_a_gold_that_nobody_can_read_is_unknown(gold, said):
    assert verdict(rf"\boxed{{{said}}}", gold).verdict == "unknown"


@pytest.mark.parametrize("piece", [r"\sqrt", r"\frac1", "x:", r"\sin"])
def test_an_answer_that_nests_without_brackets_is_wrong(piece):
    said = piece * (900 // len(piece)) + "2"
    assert verdict(rf"\boxed{{{said}}}", "5").verdict == "wrong"


@pytest.mark.parametrize(
    "text",
    [
        r"\text{" * 150,
        r"\text " * 150,
        r"\mathrm{e" * 90,
        "mod " * 220,
        "(mod" * 220,
        "1,000 and " * 90 + "x",
        "5 e " * 220,
        r"1 \text{ percent" * 50,
    ],
    ids=ascii,
)
def test_an_answer_that_says_one_thing_again_and_again_is_judged_at_once(text):
    start = time.process_time()
    assert verdict(f"The answer is {text}", "5").verdict == "wrong"
    assert verdict(rf"\boxed{{{text}}}", "5").verdict == "wrong"
    assert time.process_time() - start < 5


@pytest.mark.parametrize("gold", [float("nan"), float("inf"), -float("inf")])
def test_a_gold_without_a_value_is_unknown(gold):
    assert verdict(r"\boxed{5}", gold).verdict == "unknown"


def test_real_samples(shared):
    lines = (shared / "cases" / "grading.jsonl").read_text("utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["kind"] == "math"]
    assert rows
    for row in rows:
        assert verdict(row["response"], row["gold"]).verdict == row["expect"], row


HOSTILE = [
    *("\\boxed{" * 25_000, "\\boxed{1} or " * 10_000, "<answer>" * 25_000),
    *("<answer>1</answer> or " * 10_000, "#### a\n" * 15_000, "#### 1\n" * 15_000),
    *("\\boxed{" + "\\text{a}" * 90 + "}", "\\boxed{" + "5 m s^{-1} " * 80 + "}"),
    *("\\boxed{" + "\\cup x>1" * 100 + "}", "\\boxed{" + "x>1," * 240 + "}"),
    *("\\boxed{" + "the answer is " * 70 + "}", "\\boxed{" + "sqrt" * 240 + "}"),
    *("\\boxed{" + "2^{39999}" * 100 + "}", "\\boxed{" + "e^" * 400 + "1}"),
    *("\\boxed{" + "\\frac{2^{39999}}{3^{25000}}" * 35 + "}", "\\boxed{" + "２" * 900 + "}"),
    *("\\boxed{" + "1_" * 400 + "2}", "\\boxed{" + "(A) " * 200 + "}", "x " * 300 + "}"),
    *(
        "\\boxed{" + "\\exp" * 190 + "9}",
        "\\boxed{\\sin(9^{9999})}",
        "\\boxed{\\ln(2^{39999}+\\pi)}",
    ),
]


@pytest.mark.parametrize("response", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_responses_take_no_long_time(response, monkeypatch):
    monkeypatch.setattr(Workers, "ask", lambda *_: None)  # what is asked there is killed in time
    began = time.process_time()
    for gold in ("5", "(3,\\infty)", r"\sqrt{2}"):
        with contextlib.suppress(AttributeError):  # nobody answered
            verdict(response, gold)
    final_number(response)
    assert time.process_time() - began < 2.0

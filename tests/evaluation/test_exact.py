"""Exact scores against hand-made numbers and enumeration; sampled ones against their formulas."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from evenflow.evaluation.exact import (
    combine,
    exact_pass_at_k,
    exact_pass_at_ks,
    exact_scores,
    solution_masses,
)
from evenflow.evaluation.heldout import pass_at_k


def test_hand_made_masses() -> None:
    scores = combine([[0.25, 0.25], [0.5]])
    assert scores.accuracy == pytest.approx(0.5)
    assert scores.pass_at_16 == pytest.approx(1 - 0.5**16)
    assert scores.distinct_at_16 == pytest.approx((2 * (1 - 0.75**16) + 1 - 0.5**16) / 2)
    assert scores.effective_solutions == pytest.approx((2 + 1) / 2)
    assert set(scores.table()) == {"accuracy", "pass@16", "distinct@16", "effective_solutions"}


def test_effective_solutions_is_the_perplexity_given_right() -> None:
    p = [0.4, 0.1, 0.1]
    entropy = -sum(x / 0.6 * math.log(x / 0.6) for x in p)
    assert combine([p]).effective_solutions == pytest.approx(math.exp(entropy))


def test_a_question_that_is_never_right() -> None:
    scores = combine([[0.0, 0.0]])
    assert (scores.accuracy, scores.pass_at_16, scores.distinct_at_16) == (0.0, 0.0, 0.0)


def test_sixteen_samples_by_enumeration() -> None:
    """All sequences of 16 draws from {right a, right b, wrong}, by how often each comes."""
    p = {"a": 0.15, "b": 0.05, "wrong": 0.8}
    some, distinct = 0.0, 0.0
    for a, b in itertools.product(range(17), repeat=2):
        if a + b > 16:
            continue
        ways = math.comb(16, a) * math.comb(16 - a, b)
        chance = ways * p["a"] ** a * p["b"] ** b * p["wrong"] ** (16 - a - b)
        some += chance * (a + b > 0)
        distinct += chance * ((a > 0) + (b > 0))
    scores = combine([[p["a"], p["b"]]])
    assert scores.pass_at_16 == pytest.approx(some, rel=1e-9)
    assert scores.distinct_at_16 == pytest.approx(distinct, rel=1e-9)


def test_spellings_of_a_solution_add_up() -> None:
    table = {("q", "1+2"): 0.1, ("q", "2+1"): 0.2, ("q", "3"): 0.3, ("r", "5"): 0.05}

    def score(prompts, answers):  # type: ignore[no-untyped-def]
        return torch.tensor([math.log(table[key]) for key in zip(prompts, answers, strict=True)])

    solutions = [{"sum": ["1+2", "2+1"], "plain": ["3"]}, {"five": ["5"]}]
    scores = exact_scores(score, ["q", "r"], solutions)
    assert scores.accuracy == pytest.approx((0.6 + 0.05) / 2)
    assert scores.effective_solutions == pytest.approx((2.0 + 1.0) / 2)


def test_masses_keep_questions_and_solutions_apart() -> None:
    def score(prompts, answers):  # type: ignore[no-untyped-def]
        return torch.tensor([-float(len(prompt + answer)) for prompt, answer in zip(
            prompts, answers, strict=True)])  # fmt: skip

    masses = solution_masses(score, ["q", "qq"], [{"a": ["x", "yy"], "b": ["zzz"]}, {"a": ["x"]}])
    assert masses == [
        {"a": pytest.approx(math.exp(-2) + math.exp(-3)), "b": pytest.approx(math.exp(-4))},
        {"a": pytest.approx(math.exp(-3))},
    ]


def test_pass_at_every_k() -> None:
    """p = ½ and ¼: 1 − mean((½)^k, (¾)^k); k = 1 is the accuracy, k = 16 the table's."""
    questions = [[0.25, 0.25], [0.25]]
    for k in (1, 2, 3, 256):
        assert exact_pass_at_k(questions, k) == pytest.approx(1 - (0.5**k + 0.75**k) / 2)
    assert exact_pass_at_ks(questions, (1, 2)) == {1: 0.375, 2: 1 - (0.25 + 0.5625) / 2}
    table = combine(questions)
    assert exact_pass_at_k(questions, 1) == pytest.approx(table.accuracy)
    assert exact_pass_at_k(questions, 16) == pytest.approx(table.pass_at_16)
    assert exact_pass_at_k([[0.7, 0.3 + 1e-7]], 3) == 1.0


def test_rounding_cannot_push_a_probability_over_one() -> None:
    scores = combine([[0.7, 0.3 + 1e-7]])
    assert scores.accuracy == 1.0
    assert scores.pass_at_16 == 1.0


@pytest.mark.parametrize(
    ("n", "correct", "k"), [(5, 0, 2), (5, 1, 2), (6, 3, 4), (4, 4, 1), (5, 3, 5)]
)
def test_pass_at_k_counts_subsets(n: int, correct: int, k: int) -> None:
    subsets = list(itertools.combinations(range(n), k))
    hits = sum(any(i < correct for i in subset) for subset in subsets)
    assert pass_at_k(n, correct, k) == pytest.approx(hits / len(subsets))


def test_where_no_right_answer_can_be_given_there_are_no_solutions() -> None:
    assert combine([[0.0, 0.0]]).effective_solutions == 0.0
    assert combine([[1e-30]]).effective_solutions == pytest.approx(1.0)

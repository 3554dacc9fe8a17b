"""avg@k, pass@k, maj@k against numbers worked out by hand and all subsets listed."""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from fractions import Fraction
from itertools import combinations, product
from statistics import fmean

import pytest

from evenflow.evaluation.benchmarks.scores import (
    Tally,
    majority,
    mean,
    passed,
    scores,
    tally,
)
from evenflow.evaluation.exact import ladder


def line(verdict: str, label: str | None = None, **fields: object) -> dict:
    return {"verdict": verdict, "class": label, "tokens": 10, "finished": True} | fields


def test_pass_at_k_by_hand() -> None:
    of_one = Tally(4, 1, (1,), ())
    assert passed(of_one, 1) == pytest.approx(1 / 4)
    assert passed(of_one, 2) == pytest.approx(1 / 2)  # 1 − C(3,2)/C(4,2) = 1 − 3/6
    assert passed(of_one, 4) == 1.0
    assert math.isnan(passed(of_one, 5))


def test_majority_by_hand() -> None:
    # Two right answers of one class, one wrong: pairs RR, RW, RW give 1, ½, ½.
    votes = Tally(3, 2, (2,), (1,))
    assert majority(votes, 1) == pytest.approx(2 / 3)
    assert majority(votes, 2) == pytest.approx((1 + 0.5 + 0.5) / 3)
    assert majority(votes, 3) == 1.0
    # One right answer against a pair of equal wrong ones and one that says nothing.
    votes = Tally(4, 1, (1,), (2,))
    assert votes.silent == 1
    assert majority(votes, 4) == 0.0
    assert majority(votes, 2) == pytest.approx((0.5 + 0.5 + 1) / 6)  # with W, with W, with silence


def by_listing(labels: list[tuple[str | None, bool]], k: int) -> float:
    won = []
    for subset in combinations(labels, k):
        votes = Counter(label for label in subset if label[0] is not None)
        top = max(votes.values(), default=0)
        winners = [label for label, count in votes.items() if count == top]
        won.append(fmean(right for _, right in winners) if winners else 0.0)
    return fmean(won)


@pytest.mark.parametrize("seed", range(12))
def test_majority_is_the_mean_over_all_subsets(seed: int) -> None:
    draw = random.Random(seed)
    kinds = [("a", True), ("b", True), ("c", False), ("d", False), ("e", False), (None, False)]
    labels = [draw.choice(kinds) for _ in range(9)]
    votes = Counter(labels)
    drawn = Tally(
        9,
        sum(right for _, right in labels),
        tuple(n for (label, right), n in votes.items() if label and right),
        tuple(n for (label, right), n in votes.items() if label and not right),
    )
    for k in range(1, 10):
        assert majority(drawn, k) == pytest.approx(by_listing(labels, k), abs=1e-12)


def by_counts(votes: Tally, k: int) -> Fraction:
    """Every way to take so many of each class, with the subsets that do, in whole numbers."""
    won = Fraction(0)
    for taken in product(*(range(min(size, k) + 1) for size in (*votes.right, *votes.wrong))):
        if (most := max(taken, default=0)) and sum(taken) <= k:
            sizes = zip((*votes.right, *votes.wrong), taken, strict=True)
            ways = math.prod(math.comb(size, x) for size, x in sizes)
            share = Fraction(taken[: len(votes.right)].count(most), taken.count(most))
            won += share * ways * math.comb(votes.silent, k - sum(taken))
    return won / math.comb(votes.n, k)


@pytest.mark.parametrize("seed", range(12))
def test_majority_of_many_answers_is_exact_but_for_rounding(seed: int) -> None:
    draw = random.Random(seed)
    right = tuple(draw.randint(1, 12) for _ in range(draw.randint(1, 2)))
    wrong = tuple(draw.choice((1, 2, 2, 9)) for _ in range(draw.randint(0, 4)))
    votes = Tally(sum(right + wrong) + draw.randint(0, 9), sum(right), right, wrong)
    for k in {1, 2, 3, votes.n // 2, votes.n - 1, votes.n} - {0}:
        assert majority(votes, k) == pytest.approx(float(by_counts(votes, k)), abs=1e-12), (
            votes,
            k,
        )


def test_majority_of_256_answers_takes_no_time() -> None:
    """Ten seconds, were the classes gone through one by one with all that can tie."""
    began = time.process_time()
    votes = Tally(256, 128, (8,) * 16, (8,) * 16)
    assert [majority(votes, k) for k in ladder(256)] == pytest.approx([0.5] * 9, abs=1e-12)
    assert time.process_time() - began < 4


def test_votes_are_by_class_and_unknown_answers_have_none() -> None:
    lines = [
        line("right", "1/2", response="0.5"),
        line("right", "1/2", response="1/2"),
        line("wrong", "3"),
        line("wrong", None),
        line("unknown", "7"),
    ]
    assert tally(lines) == Tally(4, 2, (2,), (1,))
    lines[3]["response"] = " 3-3=0 "
    assert tally(lines, by_text=True) == Tally(4, 2, (2,), (1, 1))


def test_which_k_the_majority_has() -> None:
    assert ladder(1) == [1]
    assert ladder(16) == [1, 2, 4, 8, 16]
    assert ladder(10) == [1, 2, 4, 8, 10]


def test_intervals() -> None:
    none = mean([0.0] * 30, seed=0)
    assert none == {"value": 0.0, "low": 0.0, "high": pytest.approx(0.1135, abs=5e-5),
                    "questions": 30}  # fmt: skip
    # Half of 100 questions right: a mean of 100 draws has the standard error √(¼/100) = 0.05.
    half = mean([0.0, 1.0] * 50, seed=0)
    assert half["low"] == pytest.approx(0.5 - 1.96 * 0.05, abs=0.012)
    assert half["high"] == pytest.approx(0.5 + 1.96 * 0.05, abs=0.012)
    with_silent = mean([0.0, 1.0, math.nan] * 50, seed=0)
    assert (with_silent["value"], with_silent["questions"]) == (0.5, 100)
    nothing = mean([math.nan], seed=0)
    assert math.isnan(nothing["value"])
    assert nothing["questions"] == 0


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    draw = random.Random(1)
    covered = 0
    for seed in range(200):
        sample = mean([float(draw.random() < 0.3) for _ in range(80)], seed=seed)
        covered += sample["low"] <= 0.3 <= sample["high"]
    assert 0.89 <= covered / 200 <= 0.985  # 95 %, with a standard error of 1.5 points


def test_scores_of_two_questions() -> None:
    groups = [
        [line("right", "4"), line("wrong", "5"), line("unknown", None, finished=False)],
        [line("right", "4"), line("right", "4"), line("right", "4", tokens=40)],
    ]
    found = scores(groups, 3, votes=True, by_text=False, seed=0)
    assert found["avg@k"]["value"] == pytest.approx((1 / 2 + 1) / 2)  # unknown is not wrong
    assert found["pass@k"]["1"]["value"] == pytest.approx(3 / 4)
    assert found["pass@k"]["2"]["value"] == 1.0
    assert found["pass@k"]["3"]["value"] == 1.0  # of the second question alone
    assert math.isnan(found["pass@k"]["3"]["low"])  # one question says nothing of the spread
    assert [found["pass@k"][k]["questions"] for k in "123"] == [2, 2, 1]
    assert [found["maj@k"][k]["questions"] for k in "123"] == [2, 2, 1]
    assert found["avg@k"]["questions"] == 2
    assert list(found["maj@k"]) == ["1", "2", "3"]
    assert found["maj@k"]["2"]["value"] == pytest.approx((1 / 2 + 1) / 2)
    assert found["length"] == pytest.approx(90 / 6)
    assert found["cut_off"] == found["unknown"] == pytest.approx(1 / 6)
    assert scores(groups, 3, votes=False, by_text=False, seed=0)["maj@k"] == {}


def test_majority_of_all_answers_is_the_one_vote_and_no_share_is_above_one() -> None:
    for n, right in ((256, 255), (5, 4)):
        votes = Tally(n, right, (right,), (n - right,))
        assert majority(votes, n) == 1.0
        assert all(majority(votes, k) <= 1.0 for k in (1, 2, 4, n // 2))
    assert majority(Tally(4, 2, (2,), (2,)), 4) == 0.5
    assert majority(Tally(4, 1, (1,), (3,)), 4) == 0.0
    assert majority(Tally(3, 0, (), ()), 3) == 0.0

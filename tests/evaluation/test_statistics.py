"""Intervals against printed tables and examples on paper, and how often they cover the truth."""

from __future__ import annotations

import math
import random
from statistics import stdev

import numpy as np
import pytest

from evenflow.evaluation.statistics import (
    estimate,
    estimate_of_share,
    interval,
    paired,
    share_interval,
    wilson,
)

NAN = math.nan


def t_quantile(freedom: int) -> float:
    """The t in an interval of ν + 1 values."""
    values = [float(value) for value in range(freedom + 1)]
    found = estimate(values)
    assert found is not None
    assert found.half is not None
    return found.half / stdev(values) * math.sqrt(freedom + 1)


@pytest.mark.parametrize(
    ("freedom", "printed"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (9, 2.262), (30, 2.042)],
)
def test_quantiles_of_the_printed_table(freedom: int, printed: float) -> None:
    """Two-sided 95 %, e.g. Abramowitz & Stegun, table 26.10."""
    assert t_quantile(freedom) == pytest.approx(printed, abs=6e-4)


def test_many_degrees_are_the_normal_distribution() -> None:
    assert t_quantile(10_001) == pytest.approx(1.959964, abs=3e-4)


def test_an_interval_on_paper() -> None:
    """1, 2, 6: mean 3, s² = (4 + 1 + 9)/2 = 7, half = 4.30265·√(7/3)."""
    found = estimate([1.0, 2.0, 6.0])
    assert found is not None
    assert (found.mean, found.count) == (3.0, 3)
    assert found.half == pytest.approx(4.302653 * math.sqrt(7 / 3), rel=1e-6)


def test_little_data() -> None:
    one = estimate([0.5])
    assert one is not None
    assert (one.mean, one.half) == (0.5, None)
    assert estimate([]) is None
    same = estimate([2.0, 2.0])
    assert same is not None
    assert same.half == 0.0


def test_the_interval_covers_as_often_as_it_says() -> None:
    draw = random.Random(0)
    trials = 4000
    hits = 0
    for _ in range(trials):
        found = estimate([draw.gauss(1.0, 2.0) for _ in range(4)])
        assert found is not None
        assert found.half is not None
        hits += abs(found.mean - 1.0) <= found.half
    # Four standard errors of a share: 4·√(0.95·0.05/4000) = 0.014.
    assert hits / trials == pytest.approx(0.95, abs=0.014)


def test_pairing_takes_out_what_seeds_share() -> None:
    """Differences 1, 2, 3 on seeds whose level swings by hundreds; seed 9 has no partner."""
    base = {0: 100.0, 1: -300.0, 2: 700.0}
    found = paired({0: 101.0, 1: -298.0, 2: 703.0, 9: 1e9}, base)
    assert found is not None
    assert (found.mean, found.count) == (2.0, 3)
    assert found.half == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert paired({0: 1.0}, {1: 1.0}) is None


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_seeds_that_all_get_nothing_or_all_right_are_not_certain(share: float) -> None:
    found = estimate_of_share([share] * 3, 30)
    assert found is not None
    assert found.half == pytest.approx(0.1135, abs=5e-5)
    one = estimate_of_share([share], 30)
    assert one is not None
    assert one.half is None
    assert estimate_of_share([0.0, 0.5], 30) == estimate([0.0, 0.5])


def test_nothing_to_draw_from():
    assert all(map(math.isnan, interval([])))
    assert all(map(math.isnan, interval([0.5])))
    assert all(map(math.isnan, interval([NAN, 0.5, NAN])))
    assert interval([0.25] * 7) == (0.25, 0.25)


def test_two_values_on_paper():
    """The mean of two draws from {0, 1} is 0, ½, 1 with chances ¼, ½, ¼: both tails hold 2.5 %."""
    assert interval([0.0, 1.0]) == (0.0, 1.0)


def test_quantiles_of_coin_flips():
    """100 of 0 and 1, half each: the mean of 100 draws is Binomial(100, ½)/100, whose quantiles at
    2.5 % and 97.5 % are 0.40 and 0.60."""
    low, high = interval([0.0, 1.0] * 50, resamples=20000)
    assert low == pytest.approx(0.40, abs=0.0101)
    assert high == pytest.approx(0.60, abs=0.0101)


def test_seed_and_missing_values():
    values = [0.1, 0.7, 0.2, 0.9, 0.4]
    assert interval(values) == interval(values)
    assert interval(values) == interval([NAN, *values, NAN])
    assert interval(values, seed=1) != interval(values)


def test_many_values_are_drawn_in_parts():
    """More than fit at once: the same width as 1.96·s/√n says."""
    values = np.random.default_rng(0).normal(size=1_200_000)
    low, high = interval(values.tolist(), resamples=20)
    assert (high - low) / 2 == pytest.approx(1.96 / math.sqrt(len(values)), rel=0.6)
    assert low < values.mean() < high


def test_covers_the_mean_it_estimates():
    """Of 200 samples of 40 from N(0, 1), about 95 % have the true mean inside."""
    draw = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        low, high = interval(draw.normal(size=40).tolist(), resamples=400)
        hits += low < 0 < high
    assert 180 <= hits <= 199


def test_wilson_as_printed():
    """81 of 263: Newcombe, Statistics in Medicine 17 (1998), table I, method 3; and his 0 of 20,
    1 of 29."""
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1 / 29, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_none_and_all_of_thirty():
    assert share_interval([0.0] * 30) == pytest.approx((0.0, 0.1135), abs=5e-5)
    assert share_interval([1.0] * 30) == pytest.approx((0.8865, 1.0), abs=5e-5)
    assert share_interval([0.0] * 30)[0] == 0.0
    assert share_interval([1.0] * 30)[1] == 1.0
    assert share_interval([0.0, NAN, 0.0]) == wilson(0.0, 2)


def test_which_interval_a_share_gets():
    some = [0.0, 0.25, 1.0, 0.5, 0.25]
    assert share_interval(some, seed=3) == interval(some, seed=3)
    assert share_interval([1.0, 0.0, 0.0]) == wilson(1 / 3, 3)
    low, high = share_interval([0.25] * 30)  # equal, and yet no certainty
    assert 0.1 < low < 0.25 < high < 0.45
    assert all(map(math.isnan, share_interval([1.0])))
    assert all(map(math.isnan, share_interval([NAN])))

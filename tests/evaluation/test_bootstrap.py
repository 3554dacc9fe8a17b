"""The bootstrap interval of a mean: known cases, and how often it covers the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evenflow.evaluation.bootstrap import interval, share_interval, wilson

NAN = math.nan


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

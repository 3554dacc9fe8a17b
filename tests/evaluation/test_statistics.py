"""Intervals against printed t tables, an integral and hand-computed examples."""

from __future__ import annotations

import math
import random

import pytest

from evenflow.evaluation.statistics import (
    estimate,
    estimate_of_share,
    paired,
    t_cdf_central,
    t_quantile,
)


@pytest.mark.parametrize(
    ("freedom", "printed"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (9, 2.262), (30, 2.042)],
)
def test_quantiles_of_the_printed_table(freedom: int, printed: float) -> None:
    """Two-sided 95 %, e.g. Abramowitz & Stegun, table 26.10."""
    assert t_quantile(freedom) == pytest.approx(printed, abs=6e-4)


def test_many_degrees_are_the_normal_distribution() -> None:
    assert t_quantile(10_001) == pytest.approx(1.959964, abs=3e-4)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 10])
def test_distribution_by_integration(freedom: int) -> None:
    """∫_{−t}^{t} Γ((ν+1)/2)/(√(νπ)·Γ(ν/2))·(1 + x²/ν)^{−(ν+1)/2} dx by the midpoint rule."""
    t, n = 1.7, 20_000
    scale = math.gamma((freedom + 1) / 2) / math.gamma(freedom / 2) / math.sqrt(freedom * math.pi)
    density = (
        scale * (1 + (t * (2 * i + 1) / n - t) ** 2 / freedom) ** (-(freedom + 1) / 2)
        for i in range(n)
    )
    assert t_cdf_central(t, freedom) == pytest.approx(sum(density) * 2 * t / n, rel=1e-6)


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

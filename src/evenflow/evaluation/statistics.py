"""Means over seeds and how sure they are: 95 % intervals by Student's t, paired differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, stdev

from evenflow.evaluation.bootstrap import wilson

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """mean ± half: the interval that covers the true mean in 95 % of such experiments."""

    mean: float
    half: float | None
    """None for a single value: it says nothing of the spread."""
    count: int


def estimate(values: Sequence[float]) -> Estimate | None:
    """mean ± t_{n−1}·s/√n, s the sample's standard deviation; None of nothing."""
    n = len(values)
    if n == 0:
        return None
    half = t_quantile(n - 1) * stdev(values) / math.sqrt(n) if n > 1 else None
    return Estimate(fmean(values), half, n)


def estimate_of_share(values: Sequence[float], questions: int) -> Estimate | None:
    """`estimate` of sampled shares. Where all seeds give 0, or all 1, their spread says nothing:
    the half-width is then the distance to the far end of Wilson's interval over the questions."""
    found = estimate(values)
    if found is None or found.half is None or set(values) not in ({0.0}, {1.0}) or not questions:
        return found
    low, high = wilson(found.mean, questions)
    return Estimate(found.mean, max(found.mean - low, high - found.mean), found.count)


def paired(values: Mapping[int, float], baseline: Mapping[int, float]) -> Estimate | None:
    """The mean of the differences, seed by seed, over the seeds that both have.

    What a seed does to both alike (the order of the questions, the luck of the draw) is gone.
    """
    return estimate([values[seed] - baseline[seed] for seed in values if seed in baseline])


def t_cdf_central(t: float, freedom: int) -> float:
    """P(|T| ≤ t) of Student's t with ν = `freedom` degrees, in closed form.

    With θ = arctan(t/√ν): odd ν  (2/π)·(θ + sin θ·(cos θ + ⅔ cos³ θ + … )), up to cos^{ν−2};
    even ν  sin θ·(1 + ½ cos² θ + (1·3)/(2·4) cos⁴ θ + …), up to cos^{ν−2}.
    Abramowitz & Stegun, 26.7.3 and 26.7.4.
    """
    theta = math.atan(t / math.sqrt(freedom))
    odd = freedom % 2
    term = math.cos(theta) if odd else 1.0
    total = 0.0
    for k in range(odd, freedom - 1, 2):  # k: the term's power of cos θ
        total += term
        term *= (k + 1) / (k + 2) * math.cos(theta) ** 2
    inside = math.sin(theta) * total
    return 2 / math.pi * (theta + inside) if odd else inside


@lru_cache
def t_quantile(freedom: int, confidence: float = CONFIDENCE) -> float:
    """t with P(|T| ≤ t) = `confidence`, by bisection: 12.706 for 1 degree, 1.960 in the limit."""
    low, high = 0.0, 1.0
    while t_cdf_central(high, freedom) < confidence:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        if t_cdf_central(middle, freedom) < confidence:
            low = middle
        else:
            high = middle
    return high

"""Means and how sure they are: over seeds by Student's t, over questions by drawing them again or,
of yes/no trials and where that says nothing, by Wilson's interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

import numpy as np
from scipy.special import stdtrit

CONFIDENCE = 0.95
BLOCK = 1 << 20  # drawn values held at once


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
    half = None
    if n > 1:
        t = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2))  # 12.706 of two values, 1.960 in the limit
        half = t * stdev(values) / math.sqrt(n)
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


def interval(
    values: Sequence[float], *, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The 2.5 % and 97.5 % quantiles of the mean of as many values, drawn with replacement.

    The percentile bootstrap (Efron & Tibshirani, An Introduction to the Bootstrap, ch. 13) over
    questions: what another set of questions from the same source would have given; the luck of the
    answers to each is in its value. `values` is one number a question; NaN is left out. (NaN, NaN)
    for fewer than two values: one says nothing of the spread. The same seed, the same interval.
    """
    from scipy.stats import bootstrap  # a second to import, which training has no use for

    known = np.array([value for value in values if not math.isnan(value)], dtype=np.float64)
    if len(known) < 2:
        return math.nan, math.nan
    found = bootstrap(
        (known,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, BLOCK // len(known)),
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def share_interval(values: Sequence[float], *, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of a mean of shares, a number from 0 to 1 a question; NaN is left out.

    Where every question is one yes/no trial (all values 0 or 1), Wilson's; else the bootstrap's
    (`interval`). Equal values say nothing when they are drawn again, so theirs is Wilson's, too,
    with a trial for each question: no other share of the same mean spreads further than yes and
    no, so that it errs on the side of doubt. (NaN, NaN) for fewer than two values.
    """
    known = [value for value in values if not math.isnan(value)]
    if len(known) > 1 and (set(known) <= {0.0, 1.0} or len(set(known)) == 1):
        return wilson(fmean(known), len(known))
    return interval(known, seed=seed)


def wilson(share: float, trials: int) -> tuple[float, float]:
    """The score interval of a share of independent yes/no trials (Wilson, JASA 22, 1927):
    the p for which |share − p| ≤ z·√(p(1 − p)/trials). 0 of 30 is 0 to 11.4 %.

    Not scipy's `binomtest`, which takes whole successes: the share may be a mean of shares.
    """
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    middle = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    scale = 1 + z * z / trials
    low, high = (middle - half) / scale, (middle + half) / scale
    return min(share, max(0.0, low)), max(share, min(1.0, high))  # rounding at 0 and 1

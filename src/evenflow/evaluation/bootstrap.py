"""How sure a mean over questions is: by drawing the questions again, or, of yes/no trials and where
that says nothing, by Wilson's interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean

import numpy as np

CONFIDENCE = 0.95
BLOCK = 1 << 20  # drawn values held at once


def interval(
    values: Sequence[float], *, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The 2.5 % and 97.5 % quantiles of the mean of as many values, drawn with replacement.

    The percentile bootstrap (Efron & Tibshirani, An Introduction to the Bootstrap, ch. 13) over
    questions: what another set of questions from the same source would have given; the luck of the
    answers to each is in its value. `values` is one number a question; NaN is left out. (NaN, NaN)
    for fewer than two values: one says nothing of the spread. The same seed, the same interval.
    """
    known = np.array([value for value in values if not math.isnan(value)], dtype=np.float64)
    if len(known) < 2:
        return math.nan, math.nan
    draw = np.random.default_rng(seed)
    rows = max(1, BLOCK // len(known))
    means = np.concatenate(
        [
            known[draw.integers(len(known), size=(min(rows, resamples - done), len(known)))].mean(1)
            for done in range(0, resamples, rows)
        ]
    )
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


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
    the p for which |share − p| ≤ z·√(p(1 − p)/trials). 0 of 30 is 0 to 11.4 %."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    middle = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    scale = 1 + z * z / trials
    low, high = (middle - half) / scale, (middle + half) / scale
    return min(share, max(0.0, low)), max(share, min(1.0, high))  # rounding at 0 and 1

"""How sure a mean over questions is, by drawing the questions again."""

from __future__ import annotations

import math
from collections.abc import Sequence

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

"""Whether a judge agrees with itself when it sees the same answers in another order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations
from statistics import fmean


def agreement(scores: Sequence[Sequence[float]]) -> dict[str, float]:
    """Of the scores of each question: how far two of them are apart, and how often they are equal.

    Over all pairs of scores of a question, a mean of all questions with two or more; NaN for none.
    """
    pairs = [list(combinations(of_question, 2)) for of_question in scores if len(of_question) > 1]
    if not pairs:
        return {"mean_difference": math.nan, "identical": math.nan, "alpha": math.nan}
    return {
        "mean_difference": fmean(fmean(abs(a - b) for a, b in own) for own in pairs),
        "identical": fmean(fmean(a == b for a, b in own) for own in pairs),
        "alpha": krippendorff(scores),
    }


def krippendorff(scores: Sequence[Sequence[float]]) -> float:
    """α = 1 − D_o/D_e for values on an interval scale; 1: full agreement, 0: as by chance.

    D_o = (1/n) Σ_u Σ_{i≠j} (x_i − x_j)²/(m_u − 1) within the m_u scores of question u,
    D_e = Σ_{i≠j} (x_i − x_j)²/(n(n − 1)) over all n scores of questions with two or more.
    Krippendorff, Computing Krippendorff's Alpha-Reliability (2011). NaN where all scores are equal:
    nothing then tells agreement from a judge that always says the same.
    """
    units = [of_question for of_question in scores if len(of_question) > 1]
    values = [score for of_question in units for score in of_question]
    n = len(values)
    expected = _squares(values) / (n * (n - 1)) if n else 0.0
    if not expected:
        return math.nan
    observed = sum(_squares(own) / (len(own) - 1) for own in units) / n
    return 1 - observed / expected


def _squares(values: Sequence[float]) -> float:
    """Σ_{i≠j} (x_i − x_j)², in ordered pairs: 2·(n·Σx² − (Σx)²), exact before it is rounded."""
    exact = [Fraction(value) for value in values]
    return float(2 * (len(exact) * sum(x * x for x in exact) - sum(exact) ** 2))

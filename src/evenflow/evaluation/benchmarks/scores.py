"""avg@k, pass@k and maj@k of a benchmark, from the verdicts on n answers to each question.

Answers of unknown verdict are left out of their question's n, never counted as wrong.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean
from typing import Any

import numpy as np

from evenflow.evaluation.exact import ladder
from evenflow.evaluation.heldout import pass_at_k
from evenflow.evaluation.statistics import share_interval

Line = dict[str, Any]


@dataclass(frozen=True)
class Tally:
    """The known answers to one question."""

    n: int
    correct: int
    right: tuple[int, ...]
    """Votes for each class of answers that are right."""
    wrong: tuple[int, ...]
    """Votes for each class of answers that are wrong."""

    @property
    def silent(self) -> int:
        """Answers that vote for nothing."""
        return self.n - sum(self.right) - sum(self.wrong)


def tally(lines: Iterable[Line], *, by_text: bool = False) -> Tally:
    """Count the answers to a question; `by_text`: an answer without a class votes for its text."""
    n = correct = 0
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for line in lines:
        if line["verdict"] == "unknown":
            continue
        n += 1
        is_right = line["verdict"] == "right"
        correct += is_right
        vote = line["class"]
        if vote is None and by_text:
            vote = line["response"].strip()
        if vote is not None:
            (right if is_right else wrong)[vote] += 1
    return Tally(n, correct, tuple(right.values()), tuple(wrong.values()))


def majority(tally: Tally, k: int) -> float:
    """The chance that the class with the most votes among k of the n answers is right.

    The mean over all C(n, k) subsets, where classes that share the most votes share the win.
    Answers without a class do not vote, and a subset of only those is not right.
    """
    if not 1 <= k <= tally.n:
        return math.nan
    classes = Counter(tally.right + tally.wrong)
    if k == tally.n:  # the one subset
        most = max(classes, default=0)
        return tally.right.count(most) / classes[most] if most else 0.0
    own = Counter(tally.right)  # classes of one size are alike
    won = sum(own[size] * _wins(size, classes - Counter([size]), tally.n, k) for size in own)
    return min(1.0, won)


def _wins(own: int, others: Counter[int], n: int, k: int) -> float:
    """What a class of `own` answers wins on average beside others, counted by their size: a win
    shared with t classes is 1/(1 + t) of one.

    Were each answer taken with chance k/n, whatever becomes of the others, then how many are taken
    of each class would be binomial, and the chances of classes would multiply; of the subsets with
    k answers each would be as likely as any other. 1/(1 + t) is ∫₀¹ uᵗ du, which is a sum over
    Gauss's nodes u, without any error for such a power: a class that ties counts u-fold.
    """
    taken = _chances(own, n, k)
    won, largest = 0.0, max(others, default=0)
    for votes in range(1, min(own, largest, k) + 1):
        rivals = [size for size in others.elements() if size >= votes]
        rest = _chances(n - own - sum(rivals), n, k)[: k - votes + 1]
        nodes, weights = _gauss(min(len(rivals), k // votes - 1) // 2 + 1)
        ways = np.ones((len(nodes), 1))  # by node, and by answers taken of the rivals
        for size in rivals:
            one = np.tile(_chances(size, n, k)[: votes + 1], (len(nodes), 1))
            one[:, votes] *= nodes
            ways = _product(ways, one)[:, : len(rest)]
        won += taken[votes] * (weights @ ways @ rest[::-1][: ways.shape[1]])
    alone = range(largest + 1, min(own, k) + 1)  # votes that no other class can have
    rest = _chances(n - own, n, k)
    won += sum(taken[votes] * rest[k - votes] for votes in alone)
    return float(won / _chances(n, n, k)[k])


@lru_cache(maxsize=2048)
def _chances(size: int, n: int, k: int) -> np.ndarray:
    """(k + 1,) chances that 0, 1, … k of `size` answers are taken, each with chance k/n."""
    from scipy.stats import binom  # a second to import

    return binom.pmf(np.arange(k + 1), size, k / n)


@lru_cache(maxsize=2048)
def _gauss(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes from 0 to 1 and their weights, exact for powers below 2·count."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return (nodes + 1) / 2, weights / 2


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row by row the product of polynomials, lowest power first."""
    if a.shape[1] > b.shape[1]:
        a, b = b, a
    found = np.zeros((len(a), a.shape[1] + b.shape[1] - 1))
    for power in range(a.shape[1]):
        found[:, power : power + b.shape[1]] += a[:, power, None] * b
    return found


def mean(values: Sequence[float], seed: int) -> dict[str, float]:
    """Mean of shares over questions with its interval and how many questions it is of; NaN is a
    question that says nothing."""
    known = [value for value in values if not math.isnan(value)]
    low, high = share_interval(known, seed=seed)
    value = fmean(known) if known else math.nan
    return {"value": value, "low": low, "high": high, "questions": len(known)}


def scores(
    groups: Sequence[Sequence[Line]], n: int, *, votes: bool, by_text: bool, seed: int
) -> dict[str, Any]:
    """The scores by name; `groups` are the lines of each question, `n` the answers sampled.

    A question with fewer known answers than k says nothing of pass@k and maj@k. Without `votes`
    there is no maj@k: nobody can say which answers are the same.
    """
    tallies = [tally(lines, by_text=by_text) for lines in groups]
    answers = [line for lines in groups for line in lines]
    found: dict[str, Any] = {
        "avg@k": mean([t.correct / t.n if t.n else math.nan for t in tallies], seed),
        "pass@k": {str(k): mean([passed(t, k) for t in tallies], seed) for k in range(1, n + 1)},
        "maj@k": {
            str(k): mean([majority(t, k) for t in tallies], seed)
            for k in (ladder(n) if votes else [])
        },
        "length": fmean(line["tokens"] for line in answers),
        "cut_off": fmean(not line["finished"] for line in answers),
        "unknown": fmean(line["verdict"] == "unknown" for line in answers),
    }
    return found


def passed(tally: Tally, k: int) -> float:
    """pass@k of a question; NaN for fewer than k known answers."""
    return pass_at_k(tally.n, tally.correct, k) if tally.n >= k else math.nan

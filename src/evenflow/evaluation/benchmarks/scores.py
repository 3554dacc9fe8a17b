"""avg@k, pass@k and maj@k of a benchmark, from the verdicts on n answers to each question.

Answers of unknown verdict are left out of their question's n, never counted as wrong.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import fmean
from typing import Any

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

    Exact: the mean over all C(n, k) subsets, where classes that share the most votes share the
    win. Answers without a class do not vote, and a subset of only those is not right. For each
    right class with m votes, over its votes a in the subset and the classes t that tie with it,
    Σ_a C(m, a) · #{k − a others, none above a, t at a} / (1 + t), over C(n, k).
    """
    if not 1 <= k <= tally.n:
        return math.nan
    classes = [*tally.right, *tally.wrong]
    if k == tally.n:  # the one subset
        most = max(classes, default=0)
        return tally.right.count(most) / classes.count(most) if most else 0.0
    total = Fraction(0)
    for place, own in enumerate(tally.right):
        others = [*classes[:place], *classes[place + 1 :]]
        for votes in range(1, min(own, k) + 1):
            # (answers taken from other classes, classes that tie) → ways
            ways: dict[tuple[int, int], int] = {(0, 0): 1}
            for size, may_win in [*((size, True) for size in others), (tally.silent, False)]:
                grown: dict[tuple[int, int], int] = defaultdict(int)
                for (taken, ties), count in ways.items():
                    most = min(size, k - votes - taken, votes if may_win else size)
                    for x in range(most + 1):
                        tied = ties + (may_win and x == votes)
                        grown[taken + x, tied] += count * math.comb(size, x)
                ways = grown
            won = (Fraction(n, 1 + t) for (taken, t), n in ways.items() if taken == k - votes)
            total += math.comb(own, votes) * sum(won)
    return float(total / math.comb(tally.n, k))


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

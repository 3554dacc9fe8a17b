"""How different the answers to one question are, where nobody can say which are the same."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations, pairwise
from statistics import fmean

WORD = re.compile(r"\w+(?:'\w+)?")


def bigram_diversity(texts: Sequence[str]) -> float:
    """Mean over pairs of texts of 1 − Jaccard similarity of their sets of word pairs.

    1: no two share a word pair; 0: all the same. NaN for fewer than two texts.
    """
    sets = [set(pairwise(WORD.findall(text.lower()))) for text in texts]
    distances = [1 - len(a & b) / len(a | b) if a | b else 0.0 for a, b in combinations(sets, 2)]
    return fmean(distances) if distances else float("nan")

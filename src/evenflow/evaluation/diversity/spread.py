"""How far apart answers are, as points: an effective number of them, and of clusters."""

from __future__ import annotations

import math

import numpy as np


def vendi_score(cosines: np.ndarray) -> float:
    """exp(−Σ λ_i log λ_i), λ the eigenvalues of K/n: the effective number of different texts.

    Friedman & Dieng 2023 (arXiv 2210.02410), with the cosine as the kernel. n where
    all are orthogonal, 1 where all are the same. `cosines` is K, (n, n); negative eigenvalues are
    rounding and count as 0. NaN for no text.
    """
    n = len(cosines)
    if not n:
        return math.nan
    eigenvalues = np.linalg.eigvalsh((cosines + cosines.T) / (2 * n))
    shares = eigenvalues[eigenvalues > 1e-12]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def clusters(cosines: np.ndarray, threshold: float) -> list[int]:
    """Which cluster each text is in, by average linkage: (n, n) → n numbers, counted from 0.

    The two clusters with the smallest mean of 1 − cosine over their pairs become one, until the
    smallest is above `threshold`. Of equal means the first in order merges first, so that the
    result depends on the order of the texts where there are ties: give them sorted.
    """
    members = [[i] for i in range(len(cosines))]
    apart = 1.0 - cosines
    np.fill_diagonal(apart, np.inf)
    while len(members) > 1:
        i, j = sorted(map(int, np.unravel_index(np.argmin(apart), apart.shape)))
        if apart[i, j] > threshold + 1e-9:  # rounding must not part what is at the threshold
            break
        a, b = len(members[i]), len(members[j])
        merged = (a * apart[i] + b * apart[j]) / (a + b)  # the mean over pairs, from the two means
        apart[i], apart[:, i] = merged, merged
        apart[i, i] = np.inf
        apart = np.delete(np.delete(apart, j, 0), j, 1)
        members[i] += members.pop(j)
    found = [0] * len(cosines)
    for number, own in enumerate(members):
        for text in own:
            found[text] = number
    return found


def cluster_entropy(labels: list[int]) -> float:
    """−Σ p_c log p_c in nats, p_c the share of texts in cluster c; 0 for one cluster, log n at
    most. NaN for no text."""
    if not labels:
        return math.nan
    shares = [labels.count(label) / len(labels) for label in set(labels)]
    return -sum(share * math.log(share) for share in sorted(shares)) + 0.0

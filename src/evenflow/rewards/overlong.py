"""A penalty for answers that come near the limit of their length."""

from __future__ import annotations


def overlong_penalty(length: int, limit: int, share: float) -> float:
    """DAPO's soft overlong punishment (arXiv 2503.14476, eq. 13), as a number to take off.

    With L = `limit` and C = `share`·L tokens: 0 up to L − C, then (|y| − (L − C))/C, 1 at L.
    `length` is |y| in tokens.
    """
    buffer = share * limit
    return min(1.0, max(0.0, (length - (limit - buffer)) / buffer))

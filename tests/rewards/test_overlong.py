"""The length penalty's ramp."""

import pytest

from evenflow.rewards.overlong import overlong_penalty


@pytest.mark.parametrize(
    ("length", "expected"),
    [(1, 0.0), (80, 0.0), (81, 0.05), (90, 0.5), (99, 0.95), (100, 1.0), (120, 1.0)],
)
def test_ramp_of_the_last_fifth(length: int, expected: float) -> None:
    assert overlong_penalty(length, limit=100, share=0.2) == pytest.approx(expected)


def test_dapo_numbers() -> None:
    """L = 20,480 and C = 4,096: free up to 16,384 tokens (arXiv 2503.14476, §4.1)."""
    assert overlong_penalty(16384, 20480, 0.2) == 0.0
    assert overlong_penalty(16384 + 2048, 20480, 0.2) == pytest.approx(0.5)

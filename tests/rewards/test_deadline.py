"""When functions that know of the caller's limit come back."""

import time

import pytest

from evenflow.rewards import Rewards
from evenflow.rewards.deadline import END, in_time, shortly_before


@pytest.mark.parametrize(("timeout", "seconds"), [(60, 56.5), (1, 0.85), (0.1, 0.085), (-1, 0)])
def test_in_time(timeout: float, seconds: float) -> None:
    assert in_time(timeout) == pytest.approx(seconds)


@pytest.mark.parametrize("timeout", [10.0, None])
def test_a_function_is_told_in_its_own_thread(timeout: float | None) -> None:
    told: list[float | None] = []

    def reward(completions: list[str]) -> list[float]:
        told.append(shortly_before())
        return [1.0]

    Rewards([("r", reward, 1.0)], timeout=timeout)(["p"], ["x"], {})
    (end,) = told
    assert (end is None) == (timeout is None)
    assert end is None or 5 < end - time.monotonic() < 9.01
    assert END.get() is None
    assert shortly_before() is None

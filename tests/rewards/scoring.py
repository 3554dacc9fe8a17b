"""What the tests of reward functions share."""

import math

import pytest

from evenflow.rewards import Rewards


def score(*functions, prompts=("p", "q"), completions=("one", "two"), timeout=5.0, **columns):
    named = [f if isinstance(f, tuple) else (f.__name__, f, 1.0) for f in functions]
    return Rewards(named, timeout=timeout)(
        list(prompts),
        list(completions),
        columns,
        completion_ids=[[1, 2], [3]],
        finished=[True, False],
    )


def same(actual, expected):
    assert [None if math.isnan(v) else v for v in actual] == pytest.approx(expected)

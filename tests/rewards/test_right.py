"""What counts as right: one comparison, and totals that can be reached."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from tests.groups import make_group

from evenflow.bounds import is_right
from evenflow.config import RewardConfig, TrainConfig, check, dump
from evenflow.config.effect import cautions
from evenflow.errors import UserError
from evenflow.rewards import Rewards
from evenflow.rewards.right import checks, right_total
from evenflow.rollout.metrics import rollout_metrics

Make = Callable[..., TrainConfig]
THREE = {"a": 0.7, "b": 0.2, "c": 0.1}


def total(weights: dict[str, float]) -> float:
    """Of an answer that every function gives 1."""
    functions = [(name, lambda completions: [1.0], weight) for name, weight in weights.items()]
    return Rewards(functions)(["p"], ["c"], {}, completion_ids=[[1]], finished=[True]).total[0]


def test_a_sum_that_misses_by_rounding_is_right() -> None:
    assert total(THREE) < 1.0
    assert is_right(total(THREE), 1.0)
    assert not is_right(1 - 1e-5, 1.0)
    assert not is_right(math.nan, 1.0)
    assert is_right(1e6 * total(THREE), 1e6)


def test_tensors_of_either_precision_agree_with_numbers() -> None:
    values = [total(THREE), 0.999, 1.0, math.nan, 2.0]
    expected = [True, False, True, False, True]
    for kind in (torch.float32, torch.float64):
        assert is_right(torch.tensor(values, dtype=kind), 1.0).tolist() == expected
    assert [is_right(value, 1.0) for value in values] == expected


def test_the_total_of_a_right_answer() -> None:
    assert right_total({}) == right_total({"mine:f": 0.5}) == right_total({"stories": 0.5}) == 1.0
    assert right_total({"countdown": 0.5}) == 0.5
    assert right_total({"evenflow.rewards.math:math": 2.0, "mine:brief": 0.2}) == 2.0
    assert right_total({"math": 0.1, "gsm8k": 0.2, "code": 0.7}) == 1.0
    assert checks("math")
    assert not checks("mine:math")


def test_auto_is_written_down_as_the_number_it_stands_for(recipe: Make) -> None:
    assert RewardConfig().right == 1.0
    half = recipe("reward.functions={countdown: 0.5}")
    assert half.reward.right == recipe(
        "reward.functions={countdown: 0.5}", "reward.right=auto"
    ).reward.right == 0.5  # fmt: skip
    assert "right: 0.5" in dump(half)
    lifted = recipe("reward.functions={countdown: 0.5}", "algorithm=tba", "objective.prior_lift=1")
    assert lifted.build_objective().right_reward == 0.5  # type: ignore[union-attr]
    with pytest.raises(UserError, match=r"reward\.right: must be a valid number, not 'often'"):
        recipe("reward.right=often")


@pytest.mark.parametrize(
    "overrides",
    [
        ("reward.functions={countdown: 0.5}", "reward.right=1"),
        ("reward.functions={countdown: 0.5, stories: 0.4}", "reward.right=1"),
        ("reward.functions={countdown: 1, math: -1}", "reward.right=1.5"),
        ("reward.functions={}", "reward.right=2"),
    ],
)
def test_a_total_that_cannot_be_reached_is_refused(
    recipe: Make, overrides: tuple[str, ...]
) -> None:
    with pytest.raises(UserError, match=r"reward\.right: .* no answer would count as right"):
        recipe(*overrides)


@pytest.mark.parametrize(
    ("functions", "right", "says"),
    [
        ({"countdown": 0.5, "my:form": 0.5}, 0.5, "reached without a right answer: my:form alone"),
        ({"countdown": 1.0}, 0.0, "answers that earn nothing come to 0;"),
        ({"countdown": 1.0, "my:length": -0.1}, 1.0, "missed by right answers that lose up to 0.1"),
        ({"my:score": 0.5}, 1.0, "never reached, if my:score gives 0 to 1"),
    ],
)
def test_what_is_known_of_the_total_is_said(
    recipe: Make, functions: dict[str, float], right: float, says: str
) -> None:
    values = recipe().model_dump()
    values["reward"] |= {"functions": functions, "right": right}
    (sentence,) = cautions(check(TrainConfig, values))
    assert says in sentence


@pytest.mark.parametrize(
    "functions",
    [{"countdown": 1.0, "my:form": 0.2}, {"my:a": 0.7, "my:b": 0.2, "my:c": 0.1}, {"my:a": 1.0}],
)
def test_nothing_is_said_of_usual_weights(recipe: Make, functions: dict[str, float]) -> None:
    values = recipe().model_dump()
    values["reward"] |= {"functions": functions, "right": "auto"}
    assert cautions(check(TrainConfig, values)) == []


def test_training_accuracy_goes_by_it() -> None:
    group = make_group("q", [[1], [1]], rewards=[total(THREE), 0.9])
    assert rollout_metrics([group], 1.0)["accuracy"] == 0.5

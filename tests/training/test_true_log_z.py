"""log Z from the list of right answers."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from evenflow.config import TrainConfig
from evenflow.training.facts import true_log_z

Make = Callable[..., TrainConfig]


def of(config: TrainConfig, right: list[float] | None = [0.5, 0.125]) -> dict[str, float]:  # noqa: B006
    """With two questions, whose right answers have the chances ½ and ⅛."""
    return true_log_z(config, right)


@pytest.fixture
def listed(recipe: Make) -> Make:
    """Trajectory balance with the task's own reward."""
    return lambda *overrides: recipe("algorithm=tba", "reward.functions={}", *overrides)


def test_the_mean_over_questions(listed: Make) -> None:
    # Σ π_ref·e^{βr} = (1 − p) + p·3 = 2 and 1.25 for β = log 3.
    found = of(listed(f"objective.inverse_temperature={math.log(3)}"))
    assert found == {"log_z/true": pytest.approx((math.log(2) + math.log(1.25)) / 2)}


def test_a_constant_scale(listed: Make) -> None:
    # s = 1/4: log Z = s·log Σ π_ref·e^{βr/s}, so that β = s·log 3 has the same sums.
    found = of(
        listed(
            "objective.scale=constant",
            "objective.scale_length=4",
            f"objective.inverse_temperature={math.log(3) / 4}",
        )
    )
    assert found == {"log_z/true": pytest.approx((math.log(2) + math.log(1.25)) / 8)}


@pytest.mark.parametrize(
    "change",
    [
        "algorithm=grpo",
        "algorithm=flowrl",
        "objective.reference_weight=0.5",
        "objective.prior_lift=1.0",
        "objective.reward=centred",
        "reward.functions={tests.training.rewards:digits: 1.0}",
        "reward.overlong_share=0.2",
        "evaluation.temperature=0.6",
        "objective.inverse_temperature=1000",
    ],
)
def test_where_it_is_not_known(listed: Make, change: str) -> None:
    assert of(listed(change)) == {}


def test_without_a_list_of_answers(listed: Make) -> None:
    assert of(listed(), right=None) == {}

"""The clipped surrogate on numbers worked out by hand."""

from math import exp, sqrt

import pytest
import torch

from flowbalance.objectives import PRESETS, Surrogate, normalise_rewards, surrogate_loss

# Two answers of 2 and 1 tokens; advantages ±A.
LOG_PI = torch.tensor([[-1.0, -2.0], [-0.5, 7.0]], dtype=torch.float64)
RATIO = [[1.1, 1.5], [0.7]]
OLD = LOG_PI - torch.tensor([[1.1, 1.5], [0.7, 1.0]], dtype=torch.float64).log()
REF = torch.tensor([[-1.5, -2.5], [-1.0, 0.0]], dtype=torch.float64)
MASK = torch.tensor([[1, 1], [1, 0]])
REWARDS = torch.tensor([1.0, 0.0], dtype=torch.float64)
A = 0.5 / (sqrt(0.5) + 1e-6)
K3 = [[exp(-0.5) + 0.5 - 1, exp(-0.5) + 0.5 - 1], [exp(-0.5) + 0.5 - 1]]
# −min(ρA, clip(ρ)A): the second token is capped at 1.2; ρ = 0.7 with A < 0 is lifted to 0.8
TOKENS = [[-1.1 * A, -1.2 * A], [0.8 * A]]


def run(choices: Surrogate, logprobs=LOG_PI):
    return surrogate_loss(
        logprobs,
        MASK,
        REWARDS,
        torch.zeros(2).long(),
        old_logprobs=OLD,
        ref_logprobs=REF,
        choices=choices,
    )


def test_grpo_by_hand() -> None:
    loss, metrics = run(PRESETS["grpo"].objective)
    surrogate = ((TOKENS[0][0] + TOKENS[0][1]) / 2 + TOKENS[1][0]) / 2
    assert loss.item() == pytest.approx(surrogate + 0.04 * K3[0][0])
    assert metrics["advantage"].tolist() == pytest.approx([A, -A])
    assert metrics["ratio"].tolist() == pytest.approx([1.3, 0.7])
    assert metrics["clipped"].tolist() == [0.5, 1.0]


def test_clip_stops_the_gradient() -> None:
    logprobs = LOG_PI.clone().requires_grad_()
    gradient = torch.autograd.grad(run(Surrogate(), logprobs)[0], logprobs)[0]
    # ∂/∂log π_t of −ρA/(2|y|) = −ρA/4 for the first token; the others are clipped
    assert gradient.tolist() == [[pytest.approx(-1.1 * A / 4), 0], [0, 0]]


def test_higher_upper_clip_lets_the_token_through() -> None:
    logprobs = LOG_PI.clone().requires_grad_()
    gradient = torch.autograd.grad(run(Surrogate(epsilon_high=0.6), logprobs)[0], logprobs)[0]
    assert gradient[0].tolist() == pytest.approx([-1.1 * A / 4, -1.5 * A / 4])


@pytest.mark.parametrize(
    ("aggregation", "length", "expected"),
    [
        ("token-mean", None, -1.5 * A / 3),
        ("sequence-mean", None, (-2.3 / 2 + 0.8) * A / 2),
        ("constant", 10.0, -1.5 * A / 20),
    ],
)
def test_aggregation(aggregation: str, length: float | None, expected: float) -> None:
    loss, _ = run(Surrogate(aggregation=aggregation, aggregation_length=length))
    assert loss.item() == pytest.approx(expected)


def test_geometric_ratio_is_one_number_an_answer() -> None:
    """ρ = √(1.1·1.5) = 1.2845 with clip 1.4; every token carries ρA/|y|."""
    logprobs = LOG_PI.clone().requires_grad_()
    loss, metrics = run(Surrogate(ratio="geometric", epsilon=0.4), logprobs)
    rho = sqrt(1.1 * 1.5)
    assert metrics["ratio"].tolist() == pytest.approx([rho, 0.7])
    assert loss.item() == pytest.approx((-rho * A + 0.7 * A) / 2)
    gradient = torch.autograd.grad(loss, logprobs)[0]
    assert gradient[0].tolist() == pytest.approx([-rho * A / 4] * 2)


def test_k2_is_half_the_square() -> None:
    with_kl = run(Surrogate(kl_coefficient=2.0, kl_estimator="k2"))[0]
    assert (with_kl - run(Surrogate())[0]).item() == pytest.approx(2 * 0.5**2 / 2)


def test_on_policy_gradient_is_the_policy_gradient() -> None:
    logprobs = LOG_PI.clone().requires_grad_()
    loss, _ = surrogate_loss(logprobs, MASK, REWARDS, torch.zeros(2).long())
    gradient = torch.autograd.grad(loss, logprobs)[0]
    assert gradient.tolist() == [pytest.approx([-A / 4, -A / 4]), pytest.approx([A / 2, 0])]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("raw", [3.0, 0.0, 0.0, 5.0, 2.0]),
        ("centred", [2.0, -1.0, -1.0, 1.5, -1.5]),
        ("leave-one-out", [3.0, -1.5, -1.5, 3.0, -3.0]),
        ("group", [2 / sqrt(3), -1 / sqrt(3), -1 / sqrt(3), sqrt(0.5), -sqrt(0.5)]),
    ],
)
def test_normalisation(how, expected: list[float]) -> None:
    """Two groups, {3, 0, 0} and {5, 2}: std √((4 + 1 + 1)/2) = √3 and √4.5."""
    rewards = torch.tensor([3.0, 0.0, 0.0, 5.0, 2.0], dtype=torch.float64)
    got = normalise_rewards(rewards, torch.tensor([1, 1, 1, 0, 0]), how)
    assert got.tolist() == pytest.approx(expected, rel=2e-6)


@pytest.mark.parametrize("how", ["centred", "group", "leave-one-out"])
def test_equal_rewards_and_single_answers_are_exactly_zero(how) -> None:
    rewards = torch.tensor([0.1] * 7 + [0.3])
    got = normalise_rewards(rewards, torch.tensor([0] * 7 + [1]), how)
    assert got.tolist() == [0.0] * 8

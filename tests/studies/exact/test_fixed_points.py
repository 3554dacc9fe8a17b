"""The predicted fixed points: the expected gradient of the real objective vanishes there."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from evenflow.objectives import Balance, balance_loss, normalise_rewards
from evenflow.objectives.fixed_points import DRAWS, fixed_point, normalised_in_groups, normaliser

REWARDS = torch.tensor([1.0, 0.0, 0.5, 1.0], dtype=torch.float64)
LENGTHS = torch.tensor([1, 2, 3, 2])
MASK = torch.arange(3) < LENGTHS[:, None]
LOG_REF = torch.tensor([0.1, 0.4, 0.3, 0.2], dtype=torch.float64).log()
BASE = {"scale": "sum", "reward": "raw", "importance": "none", "inverse_temperature": 1.3}
SIZE = 3


def token_rows(log_pi: Tensor) -> Tensor:
    """(4, 3) an answer's log-prob on its first token; a row of its own for each answer."""
    return torch.cat([log_pi[:, None], torch.zeros(4, 2, dtype=torch.float64)], 1)


def expected_gradient(choices: Balance, log_pi: Tensor, log_z: float) -> Tensor:
    """∇ of the expected loss over all groups of three, in the logits of a policy over 4 answers."""
    logits = log_pi.clone().requires_grad_()
    own = logits.log_softmax(-1)
    probability = own.exp().detach()
    total = torch.zeros((), dtype=torch.float64)
    given = choices.log_z in ("head", "running")
    for group in map(list, product(range(4), repeat=SIZE)):
        loss, _ = balance_loss(
            token_rows(own)[group],
            MASK[group],
            REWARDS[group],
            torch.zeros(SIZE, dtype=torch.long),
            ref_logprobs=token_rows(LOG_REF)[group],
            log_z=torch.full((SIZE,), log_z, dtype=torch.float64) if given else None,
            choices=choices,
        )
        total += probability[group].prod() * loss
    return torch.autograd.grad(total, logits)[0]


CASES = [
    {},
    {"log_z": "leave-one-out"},
    {"log_z": "head"},
    {"log_z": "none"},
    {"reference_weight": 0.4},
    {"reference_weight": 0.0},
    {"scale": "constant", "scale_length": 2.5},
    {"right_reference_weight": 0.3},
    {"reference_weight": 0.2, "right_reference_weight": 0.9, "log_z": "head"},
    {"question_weight": "inverse"},
    {"question_weight": "root", "log_z": "leave-one-out"},
    {"rarity": 0.7},
    {"rarity": 0.7, "log_z": "head"},
    {"residual_low": 0.1, "residual_high": 0.05},
    {"log_z_policy": "old"},
    {"regression": "cosh"},
    {"regression": "linex"},
    {"scale": "mean"},
    {"scale": "mean", "log_z": "head"},
    {"scale": "mean", "log_z": "none"},
    {"reward": "centred"},
    {"reward": "centred", "log_z": "leave-one-out"},
    {"reward": "centred", "log_z": "head"},
]


@pytest.mark.filterwarnings("ignore:log_z. none")
@pytest.mark.parametrize("changes", CASES, ids=str)
def test_nothing_moves_at_the_fixed_point(changes: dict) -> None:
    choices = Balance(**{"log_z": "group"} | BASE | changes)
    point = fixed_point(choices, LOG_REF, REWARDS, LENGTHS, SIZE)
    assert point.log_pi.exp().sum().item() == pytest.approx(1)
    still = expected_gradient(choices, point.log_pi, point.log_z)
    elsewhere = expected_gradient(choices, LOG_REF, point.log_z)
    assert elsewhere.norm() > 0.02
    assert still.norm() < 1e-8


@pytest.mark.parametrize("reward", ["group", "relative"])
@pytest.mark.parametrize("log_z", ["group", "head"])
@pytest.mark.parametrize("scale", ["sum", "mean"])
def test_normalised_rewards_rest_at_the_self_consistent_target(
    log_z: str, scale: str, reward: str
) -> None:
    """Up to the error of the mean over drawn groups, about 1/√DRAWS."""
    changes = {"reward": reward, "log_z": log_z, "scale": scale, "inverse_temperature": 0.5}
    choices = Balance(**BASE | changes)
    point = fixed_point(choices, LOG_REF, REWARDS, LENGTHS, SIZE)
    assert point.change < 1e-3
    still = expected_gradient(choices, point.log_pi, point.log_z)
    elsewhere = expected_gradient(choices, LOG_REF, point.log_z)
    assert still.norm() < 0.05 * elsewhere.norm()


def test_relative_rewards_rest_where_log_p_and_the_prior_balance() -> None:
    """In a large group the gap between right and wrong is 1/p: logit p = logit p₀ + β/p."""
    choices = Balance(log_z="head", **BASE | {"reward": "relative", "inverse_temperature": 0.8})
    rewards = torch.tensor([1.0, 0.0, 0.0, 1.0]).double()
    point = fixed_point(choices, LOG_REF, rewards, LENGTHS, 2048)
    p = float(point.log_pi.exp() @ rewards)  # p₀ = 0.1 + 0.2
    assert math.log(p / (1 - p)) == pytest.approx(math.log(0.3 / 0.7) + 0.8 / p, abs=5e-3)
    assert p == pytest.approx(0.61, abs=0.05)


def test_raw_rewards_rest_at_the_closed_form() -> None:
    choices = Balance(log_z="head", **BASE | {"reference_weight": 0.4})
    point = fixed_point(choices, LOG_REF, REWARDS, LENGTHS, SIZE)
    free = 0.4 * LOG_REF + 1.3 * REWARDS
    torch.testing.assert_close(point.log_pi, free.log_softmax(-1))
    assert point.log_z == pytest.approx(free.logsumexp(-1).item())


def test_normaliser_by_hand() -> None:
    # e^{-z} + e^{-2z} = 1 at e^{-z} = (√5 − 1)/2.
    z = normaliser(torch.zeros(2).double(), torch.tensor([1.0, 2.0]).double())
    assert z == pytest.approx(-math.log((math.sqrt(5) - 1) / 2))
    far = normaliser(torch.tensor([300.0, 400.0]).double(), torch.tensor([1.0, 5.0]).double())
    assert math.exp(300 - far) + math.exp(400 - 5 * far) == pytest.approx(1)


def test_binary_rewards_in_a_group_of_three_by_counting() -> None:
    """A right answer beside two others: r̃ is 1/√3·(2, 1, 0) for 0, 1, 2 right ones, by hand."""
    p = 0.3
    uniform = torch.rand(200_000, 2, generator=torch.Generator().manual_seed(1)).double()
    levels, mass = torch.tensor([0.0, 1.0]).double(), torch.tensor([1 - p, p]).double()
    wrong, right = normalised_in_groups(levels, mass, uniform).tolist()
    expected = (0.7**2 * 2 + 2 * 0.3 * 0.7 * 1) / math.sqrt(3)
    assert right == pytest.approx(expected, abs=5e-3)
    assert wrong == pytest.approx(-(0.3**2 * 2 + 2 * 0.3 * 0.7 * 1) / math.sqrt(3), abs=5e-3)


def test_relative_rewards_in_a_group_of_three_by_counting() -> None:
    """A right answer beside two others has r̃ = 2, ½, 0 for 0, 1, 2 right ones, a wrong one 0, −1,
    −1, by hand."""
    p = 0.3
    uniform = torch.rand(200_000, 2, generator=torch.Generator().manual_seed(1)).double()
    levels, mass = torch.tensor([0.0, 1.0]).double(), torch.tensor([1 - p, p]).double()
    wrong, right = normalised_in_groups(levels, mass, uniform, "relative").tolist()
    assert right == pytest.approx(0.7**2 * 2 + 2 * 0.3 * 0.7 * 0.5, abs=5e-3)
    assert wrong == pytest.approx(-(1 - 0.7**2), abs=5e-3)


def test_group_normalisation_is_the_objectives_own() -> None:
    """The drawn groups' values equal `normalise_rewards` of the same groups."""
    uniform = torch.rand(50, 3, generator=torch.Generator().manual_seed(2)).double()
    levels, mass = torch.tensor([0.0, 0.5, 1.0]).double(), torch.tensor([0.5, 0.3, 0.2]).double()
    others = levels[(uniform[..., None] > mass.cumsum(0)).sum(-1)]
    groups = torch.cat([torch.full((50, 1), 0.5).double(), others], 1)
    number = torch.arange(50).repeat_interleave(4)
    expected = normalise_rewards(groups.flatten(), number, "group").view(50, 4)[:, 0].mean()
    got = normalised_in_groups(levels, mass, uniform)[1]
    torch.testing.assert_close(got, expected)


def test_the_tilt_of_binary_rewards_is_at_most_about_the_root_of_the_group() -> None:
    """However rare wrong answers are, the gap right − wrong stays below √G + 1/√G."""
    uniform = torch.rand(DRAWS, 15, generator=torch.Generator().manual_seed(3)).double()
    levels = torch.tensor([0.0, 1.0]).double()
    for p in (0.5, 0.9, 0.99, 0.9999):
        mass = torch.tensor([1 - p, p]).double()
        wrong, right = normalised_in_groups(levels, mass, uniform).tolist()
        assert 1.8 < right - wrong < 4.25


def test_what_has_no_formula_is_refused() -> None:
    with pytest.raises(ValueError, match="no formula"):
        fixed_point(Balance(prior_lift=0.5), LOG_REF, REWARDS, LENGTHS, SIZE)

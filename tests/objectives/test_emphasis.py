"""How much an answer counts: by hand, and what the weights do to gradients."""

from math import exp, sqrt

import pytest
import torch
from torch import Tensor

from evenflow.objectives import Answers, Balance, balance_loss
from evenflow.objectives.emphasis import question_weight, rarity_weight

GROUPS = torch.tensor([7, 7, 7, 7, 2, 2, 2, 2])
RIGHT = torch.tensor([True, True, False, False, False, True, False, False])
ONES = torch.ones(8, dtype=torch.float64)
LOGPROBS = torch.tensor([-1.0, -3.0, -2.0, -9.0, -2.0, -1.5, -1.0, -0.5], dtype=torch.float64)


def test_a_question_weighs_one_over_its_share_of_right_answers() -> None:
    # p̂ is 1/2 and 1/4: weights 2 and 4, whose mean over the batch is 3.
    found = question_weight(RIGHT, GROUPS, ONES, "inverse")
    assert found.tolist() == pytest.approx([2 / 3] * 4 + [4 / 3] * 4)
    root = question_weight(RIGHT, GROUPS, ONES, "root")
    mean = (sqrt(2) + 2) / 2
    assert root.tolist() == pytest.approx([sqrt(2) / mean] * 4 + [2 / mean] * 4)


def test_a_question_without_a_right_answer_weighs_as_with_one() -> None:
    right = RIGHT & (GROUPS == 7)
    found = question_weight(right, GROUPS, ONES, "inverse")
    assert found.tolist() == pytest.approx([2 / 3] * 4 + [4 / 3] * 4)


def test_copies_that_count_once_do_not_pull_the_mean() -> None:
    share = torch.tensor([1.0, 1, 0.5, 0.5, 1, 1, 1, 1], dtype=torch.float64)
    found = question_weight(RIGHT, GROUPS, share, "inverse")
    assert (share * found).sum().item() == pytest.approx(share.sum().item())


def test_rare_right_answers_weigh_more_and_wrong_ones_the_same() -> None:
    # q ∝ (e^{−1}, e^{−3}) of the two right ones: q⁻¹ ∝ (1, e²), mean (1 + e²)/2.
    found = rarity_weight(LOGPROBS, RIGHT, GROUPS, ONES, 0.2)
    mean = (1 + exp(2)) / 2
    assert found.tolist() == pytest.approx(
        [0.8 + 0.2 / mean, 0.8 + 0.2 * exp(2) / mean, 1, 1, 1, 1, 1, 1]
    )
    assert found[:2].mean().item() == pytest.approx(1)


def test_weights_of_rarity_survive_log_probs_beyond_the_range_of_exp() -> None:
    far = torch.tensor([-1.0, -2000.0, -1.0, -1.0, -3000.0, -1.0, -1.0, -1.0], dtype=torch.float64)
    found = rarity_weight(far, RIGHT, GROUPS, ONES, 1.0)
    assert found.isfinite().all()
    assert found.tolist() == pytest.approx([0, 2, 1, 1, 1, 1, 1, 1])


def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    mask = torch.ones(8, 2, dtype=torch.bool)
    return {
        "mask": mask,
        "rewards": RIGHT.double(),
        "groups": GROUPS,
        "old_logprobs": -torch.rand(8, 2, generator=generator, dtype=torch.float64),
        "ref_logprobs": -torch.rand(8, 2, generator=generator, dtype=torch.float64),
    }


def gradient(choices: Balance) -> Tensor:
    """(8, 2), of the log-probs, which are π_old's."""
    given = batch()
    logprobs = given["old_logprobs"].clone().requires_grad_()
    loss, _ = balance_loss(logprobs, **given, choices=choices)
    return torch.autograd.grad(loss, logprobs)[0]


TB = {"scale": "sum", "importance": "none", "reward": "raw", "inverse_temperature": 2.0}


def test_a_question_weight_multiplies_the_gradient_of_its_answers() -> None:
    plain, weighed = (
        gradient(Balance(log_z="group", **TB, question_weight=how)) for how in ("none", "inverse")
    )
    factor = question_weight(RIGHT, GROUPS, ONES, "inverse")[:, None]
    torch.testing.assert_close(weighed, factor * plain)


def test_with_rarity_the_gradient_is_that_of_weighted_residuals_about_their_weighted_mean() -> None:
    given = batch()
    weighed = gradient(Balance(log_z="group", **TB, rarity=0.5))
    old, ref = given["old_logprobs"].sum(1), given["ref_logprobs"].sum(1)
    weight = rarity_weight(old / 2, RIGHT, GROUPS, ONES, 0.5)
    rest = old - ref - 2 * given["rewards"]
    expected = torch.zeros(8, dtype=torch.float64)
    for group in (7, 2):
        rows = group == GROUPS
        log_z = -(weight * rest)[rows].sum() / weight[rows].sum()
        expected[rows] = 2 * weight[rows] * (log_z + rest[rows]) / 8
    torch.testing.assert_close(weighed, expected[:, None].expand(8, 2))


@pytest.mark.parametrize("log_z", ["group", "leave-one-out"])
def test_log_z_of_the_sampler_is_the_current_ones_before_the_first_step(log_z: str) -> None:
    old, current = (
        gradient(Balance(log_z=log_z, **TB, log_z_policy=policy)) for policy in ("old", "current")
    )
    torch.testing.assert_close(old, current)


def test_log_z_of_the_sampler_is_found_once_a_batch_and_stays() -> None:
    choices = Balance(log_z="group", **TB, log_z_policy="old")
    assert not choices.needs.whole_groups
    answers = choices.prepare(Answers(**batch()))
    assert answers.log_z is not None
    moved = choices.estimate(answers.old_logprobs - 1, answers)
    assert moved.log_z is answers.log_z


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(None, None, [-3, 5]), (2.0, None, [-2, 5]), (None, 4.0, [-3, 4]), (2.0, 4.0, [-2, 4])],
)
def test_bounds_of_the_residual_by_hand(low, high, expected: list[float]) -> None:
    """One token an answer, s = 1: δ = 0 + log π − log π_ref − 3·r is −3 and 5 before the first
    step; then log π moves by 0.25 and −0.5, and so does δ, whatever it was clipped to."""
    old = torch.tensor([[-1.0], [-1.0]], dtype=torch.float64)
    ref = torch.tensor([[-1.0], [-6.0]], dtype=torch.float64)
    now = (old + torch.tensor([[0.25], [-0.5]])).requires_grad_()
    choices = Balance(
        log_z="none",
        scale="sum",
        importance="none",
        reward="raw",
        inverse_temperature=3.0,
        residual_low=low,
        residual_high=high,
    )
    given = {"old_logprobs": old, "ref_logprobs": ref, "choices": choices}
    mask, groups = torch.ones(2, 1, dtype=torch.bool), torch.tensor([0, 0])
    loss, metrics = balance_loss(now, mask, torch.tensor([1.0, 0.0]).double(), groups, **given)
    pull = [expected[0] + 0.25, expected[1] - 0.5]
    assert loss.item() == pytest.approx(sum(x * x for x in pull) / 2)
    assert torch.autograd.grad(loss, now)[0][:, 0].tolist() == pytest.approx(pull)
    assert metrics["residual"].tolist() == pytest.approx([-2.75, 4.5])
    if choices.clips:
        assert metrics["residual_clipped"].tolist() == [expected[0] != -3, expected[1] != 5]


def test_a_clipped_residual_still_teaches_the_head() -> None:
    """∂/∂log Z of w·δ̃² is 2·w·δ̃: the head is moved by what is left of the residual."""
    given = batch() | {"choices": Balance(**TB, residual_low=0.1, residual_high=0.1)}
    log_z = torch.full((8,), 5.0, dtype=torch.float64, requires_grad=True)
    loss, _ = balance_loss(given["old_logprobs"], **given, log_z=log_z)
    assert torch.autograd.grad(loss, log_z)[0].tolist() == pytest.approx([2 * 0.1 / 8] * 8)


def test_right_answers_have_a_prior_weight_of_their_own() -> None:
    given = batch()
    choices = Balance(log_z="group", reference_weight=1.0, right_reference_weight=0.25)
    prior = choices.prepare(Answers(**given)).prior
    ref = given["ref_logprobs"].sum(1)
    torch.testing.assert_close(prior, torch.where(RIGHT, 0.25 * ref, ref))
    assert Balance(reference_weight=0, right_reference_weight=0.5).needs.reference


@pytest.mark.parametrize("log_z", ["group", "leave-one-out"])
def test_its_gradient_is_that_of_another_reference(log_z: str) -> None:
    """γ_right is a reference whose right answers have γ_right times their log-prob."""
    given = batch()
    own = Balance(**TB | {"log_z": log_z, "right_reference_weight": 0.25})
    scaled = torch.where(RIGHT[:, None], 0.25 * given["ref_logprobs"], given["ref_logprobs"])
    found = []
    for choices, ref in ((own, given["ref_logprobs"]), (Balance(**TB | {"log_z": log_z}), scaled)):
        now = (given["old_logprobs"] - 0.3).requires_grad_()
        loss, _ = balance_loss(now, **given | {"choices": choices, "ref_logprobs": ref})
        found.append(torch.autograd.grad(loss, now)[0])
    torch.testing.assert_close(*found)
    plain = batch() | {"choices": Balance(**TB | {"log_z": log_z})}
    now = (given["old_logprobs"] - 0.3).requires_grad_()
    unlike = torch.autograd.grad(balance_loss(now, **plain)[0], now)[0]
    assert (unlike - found[0]).abs().max() > 0.01

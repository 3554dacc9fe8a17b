"""The successors on numbers worked out by hand, and the property that defines each of them."""

from math import exp, sqrt

import pytest
import torch
from surrogate_rows import SURROGATES
from tiny_policy import (
    MASK,
    every_group,
    every_unordered_group,
    gradient,
    log_prob,
    random_logits,
    token_logprobs,
)
from torch import Tensor

from evenflow.errors import UserError
from evenflow.objectives import PRESETS, Answers, Balance, Surrogate, balance_loss, surrogate_loss
from evenflow.objectives.groups import gain_of_best

BINARY = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0], dtype=torch.float64)
GRADED = torch.tensor([0.0, 1.0, 0.0, 0.4, 0.5, 0.0, 1.0], dtype=torch.float64)
SIZE = 4


def advantages(choices: Surrogate, rewards: list[float], old: list[list[float]]) -> list[float]:
    """Of each answer of one group, in which all tokens of an answer share theirs."""
    found = choices.prepare(one_group(rewards, old)).advantages
    assert found is not None
    torch.testing.assert_close(found, found[:, :1].expand_as(found))
    return found[:, 0].tolist()


def one_group(rewards: list[float], old: list[list[float]]) -> Answers:
    """Answers to one question, whose log-probs are those that sampled them."""
    tokens = torch.tensor(old, dtype=torch.float64)
    return Answers(
        torch.ones_like(tokens).bool(),
        torch.tensor(rewards, dtype=torch.float64),
        torch.zeros(len(rewards)).long(),
        tokens,
        tokens,
    )


def expected_ascent(choices: Surrogate, rewards: Tensor, size: int) -> Tensor:
    """E over all groups of −∇ of the group's loss, on-policy, in the scale of mean A·∇log π."""
    logits = random_logits(0).requires_grad_()
    tokens = token_logprobs(logits)
    probability = tokens.sum(-1).exp().detach()
    mean = torch.zeros((), dtype=torch.float64)
    for group, orders in every_unordered_group(size):
        loss, _ = surrogate_loss(
            tokens[group],
            MASK[group],
            rewards[group],
            torch.zeros(size).long(),
            choices=choices,
        )
        mean -= orders * probability[group].prod() * loss * (choices.aggregation_length or 1)
    return gradient(mean, logits)


def test_maxrl_by_hand() -> None:
    # mean 1/4: (1 − 1/4)/(1/4) = 3 and −1; without a right answer there is nothing to divide by
    found = advantages(SURROGATES["maxrl"], [1, 0, 0, 0], [[-1.0]] * 4)
    assert found == pytest.approx([3, -1, -1, -1])
    assert advantages(SURROGATES["maxrl"], [0, 0], [[-1.0]] * 2) == [0, 0]


def test_maxrl_climbs_the_likelihood_of_a_right_answer_to_the_order_of_its_group() -> None:
    """With p the chance of a right answer, log p = −Σ_k (1 − p)^k/k. Groups of G climb its first
    G − 1 terms: the mean taken off costs the last one."""
    found = expected_ascent(SURROGATES["maxrl"], BINARY, SIZE)
    logits = random_logits(0).requires_grad_()
    wrong = 1 - (log_prob(logits).exp() * BINARY).sum()
    terms = -sum(wrong**k / k for k in range(1, SIZE))
    assert isinstance(terms, Tensor)
    torch.testing.assert_close(found, gradient(terms, logits))


def test_pkpo_by_hand() -> None:
    """k = 2 of four answers: what each adds to another one, on average, twice."""
    choices = SURROGATES["pkpo"].model_copy(update={"best_of": 2})
    assert advantages(choices, [1, 0, 0, 1], [[-1.0]] * 4) == pytest.approx([4 / 3, 0, 0, 4 / 3])
    graded = advantages(choices, [0.5, 0, 1, 0], [[-1.0]] * 4)
    assert graded == pytest.approx([2 * (0.5 + 0.5) / 3, 0, 2 * (0.5 + 1 + 1) / 3, 0])
    # k = 3: a set of two others has no right one with chance (2·1)/(3·2) = 1/3
    choices = choices.model_copy(update={"best_of": 3})
    assert advantages(choices, [1, 0, 0, 1], [[-1.0]] * 4) == pytest.approx([1, 0, 0, 1])


@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("rewards", [BINARY, GRADED], ids=["binary", "graded"])
def test_pkpo_climbs_the_expected_best_of_k(k: int, rewards: Tensor) -> None:
    choices = SURROGATES["pkpo"].model_copy(update={"best_of": k})
    found = expected_ascent(choices, rewards, SIZE)
    logits = random_logits(0).requires_grad_()
    p = log_prob(logits).exp()
    best = torch.zeros((), dtype=torch.float64)
    for group in every_group(k):
        best = best + p[group].prod() * rewards[group].max()
    torch.testing.assert_close(found, gradient(best, logits))


def test_the_gain_of_the_best_of_a_small_group_is_that_of_all_of_it() -> None:
    rewards, groups = torch.tensor([1.0, 0.0, 0.7]).double(), torch.tensor([0, 0, 3])
    assert gain_of_best(rewards, groups, 5).tolist() == [2, 0, 0]


def test_ds_grpo_by_hand() -> None:
    """Mean log-probs −1 and −3 of the right ones, −2 of the wrong one: rewards 1.05, 1.15, 0."""
    choices = SURROGATES["ds-grpo"]
    found = advantages(choices, [1, 1, 0], [[-0.5, -1.5], [-3.0, -3.0], [-2.0, -2.0]])
    rewards = [1 + 0.05 * 1, 1 + 0.05 * 3, 0]
    mean = sum(rewards) / 3
    std = sqrt(sum((r - mean) ** 2 for r in rewards) / 2)
    assert found == pytest.approx([(r - mean) / (std + 1e-6) for r in rewards])
    wrong = Surrogate(advantage="centred", smoothing_wrong=0.1)
    # m = −2 and −4 of two wrong ones: rewards −0.2 and −0.4
    assert advantages(wrong, [0, 0], [[-2.0], [-4.0]]) == pytest.approx([0.1, -0.1])


def test_the_papers_smoothing_of_the_advantage_by_hand() -> None:
    """A' = A − γ_p·m of right answers and A + γ_n·m of wrong ones, m the mean log π_old: −1, −3 and
    −2; A that of GRPO. Where all are right A is 0, and A' = −γ_p·m."""
    old = [[-0.5, -1.5], [-3.0, -3.0], [-2.0, -2.0]]
    row = SURROGATES["ds-grpo"].model_copy(update={"smoothing_in": "advantage"})
    plain = advantages(SURROGATES["grpo"], [1, 1, 0], old)
    found = advantages(row, [1, 1, 0], old)
    assert found == pytest.approx([plain[0] + 0.05 * 1, plain[1] + 0.05 * 3, plain[2]])
    both = row.model_copy(update={"smoothing_wrong": 0.1})
    assert advantages(both, [1, 1, 0], old)[2] == pytest.approx(plain[2] - 0.1 * 2)
    assert advantages(row, [1, 1, 1], old) == pytest.approx([0.05, 0.15, 0.1])
    whitened = row.model_copy(update={"whiten": True})
    assert sum(advantages(whitened, [1, 1, 1], old)) == pytest.approx(0.05 + 0.15 + 0.1)


def test_ds_grpo_spreads_right_answers_out() -> None:
    """Of right answers the likelier learns less; of wrong ones neither more nor less."""
    likely, rare, wrong, other = advantages(
        SURROGATES["ds-grpo"], [1, 1, 0, 0], [[-0.1], [-5.0], [-0.1], [-5.0]]
    )
    assert rare > likely > 0
    assert wrong == other < 0


def test_maxrl_refuses_rewards_below_0() -> None:
    """With ±1 a group would have to be more than half right to teach anything."""
    with pytest.raises(UserError, match="a reward is below 0; give rewards of 0 and more"):
        advantages(SURROGATES["maxrl"], [1.0, -1.0], [[-1.0], [-1.0]])
    assert advantages(SURROGATES["maxrl"], [0.0, 0.0], [[-1.0], [-1.0]]) == [0, 0]
    with pytest.raises(UserError, match="reward: relative divides by a group's mean reward, and a"):
        Balance(log_z="group", reward="relative").prepare(one_group([1.0, -1.0], [[-1.0], [-1.0]]))


def test_ucpo_by_hand() -> None:
    """q ∝ (e^{−1}, e^{−3}): weights 0.8 + 0.2·2·(1, e²)/(1 + e²) on GRPO's advantages."""
    old = [[-1.0], [-3.0], [-2.0]]
    found = advantages(SURROGATES["ucpo"], [1, 1, 0], old)
    plain = advantages(SURROGATES["grpo"], [1, 1, 0], old)
    shares = [2 / (1 + exp(2)), 2 * exp(2) / (1 + exp(2))]
    weights = [0.8 + 0.2 * share for share in shares] + [1]
    assert found == pytest.approx([w * a for w, a in zip(weights, plain, strict=True)])
    assert sum(found[:2]) == pytest.approx(sum(plain[:2]))


def test_ucpo_takes_from_the_likely_right_answers_and_gives_to_the_rare() -> None:
    """The group's sum stays, the rarest is first in every case, and wrong answers, a single right
    one or ones alike learn what GRPO teaches them."""
    old = [[-0.1], [-1.0], [-6.0], [-0.1], [-6.0]]
    rewards = [1.0, 1.0, 1.0, 0.0, 0.0]
    found = advantages(SURROGATES["ucpo"], rewards, old)
    plain = advantages(SURROGATES["grpo"], rewards, old)
    assert found[2] > plain[0] > found[1] > found[0] > 0
    assert found[3:] == plain[3:]
    assert sum(found) == pytest.approx(sum(plain))
    for few in ([1.0, 0.0, 0.0, 0.0, 0.0], [0.0] * 5):
        assert advantages(SURROGATES["ucpo"], few, old) == pytest.approx(
            advantages(SURROGATES["grpo"], few, old)
        )
    alike = [[-2.0]] * 5
    assert advantages(SURROGATES["ucpo"], rewards, alike) == pytest.approx(plain)


def test_gflowrl_by_hand() -> None:
    """One token an answer; r = 1, 0; log π_old − log π_ref = 0 and 1; β 8, s = 1.

    log Z = mean of 8 − 0 and 0 − 1 = 3.5; δ at π_old is 3.5 + 0 − 8 = −4.5 and 3.5 + 1 = 4.5,
    clipped to −2 and 4; then log π moves by 0.3 and −0.1. The weights are min(e^0.3, 1.2), e^−0.1.
    """
    old = torch.tensor([[-1.0], [-1.0]], dtype=torch.float64)
    ref = torch.tensor([[-1.0], [-2.0]], dtype=torch.float64)
    now = (old + torch.tensor([[0.3], [-0.1]])).requires_grad_()
    loss, metrics = balance_loss(
        now,
        torch.ones(2, 1).bool(),
        torch.tensor([1.0, 0.0]).double(),
        torch.tensor([0, 0]),
        old_logprobs=old,
        ref_logprobs=ref,
        choices=PRESETS["gflowrl"].objective,
    )
    assert metrics["log_z"].tolist() == pytest.approx([3.5, 3.5])
    pull = [-2 + 0.3, 4 - 0.1]
    weight = [1.2, exp(-0.1)]
    assert loss.item() == pytest.approx(
        sum(w * d**2 for w, d in zip(weight, pull, strict=True)) / 2, rel=1e-6
    )
    expected = [w * d for w, d in zip(weight, pull, strict=True)]
    assert torch.autograd.grad(loss, now)[0][:, 0].tolist() == pytest.approx(expected, rel=1e-6)


def test_gflowrls_lower_bound_is_that_of_right_answers() -> None:
    """δ < 0 is an answer that should be likelier, as a right one is at first; `residual_low` limits
    how hard it is pulled up, whichever of the two bounds is the narrower."""

    def pulls(low: float, high: float) -> list[float]:
        old = torch.full((2, 1), -1.0, dtype=torch.float64)
        now = old.clone().requires_grad_()
        row = PRESETS["gflowrl"].objective
        assert isinstance(row, Balance)
        choices = row.model_copy(update={"residual_low": low, "residual_high": high})
        given = {"ref_logprobs": old, "old_logprobs": old, "choices": choices}
        mask, rewards = torch.ones(2, 1).bool(), torch.tensor([1.0, 0.0]).double()
        loss, _ = balance_loss(now, mask, rewards, torch.tensor([0, 0]), **given)
        return (-torch.autograd.grad(loss, now)[0][:, 0]).tolist()

    right, wrong = pulls(1.0, 3.0)
    assert (right, wrong) == pytest.approx((1.0, -3.0))
    right, wrong = pulls(3.0, 1.0)
    assert (right, wrong) == pytest.approx((3.0, -1.0))

"""Advantages: GAE against its definition, whitening, and the KL taken off the reward."""

from math import sqrt

import pytest
import torch
from surrogate_rows import SURROGATES
from tiny_policy import (
    MASK,
    REWARDS,
    every_group,
    gradient,
    log_prob,
    random_logits,
    token_logprobs,
)
from torch import Tensor

from evenflow.objectives import Answers, Surrogate, surrogate_loss
from evenflow.objectives.advantages import at_last_token, gae, kl_penalty, to_go, whiten

NAN = float("nan")


def test_gae_by_hand() -> None:
    """γ = ½, λ = ½; δ = 0 + ½·2 − 1 = 0, 0 + ½·3 − 2 = −½, 4 + 0 − 3 = 1; one token: 5 − 6."""
    rewards = torch.tensor([[0.0, 0.0, 4.0], [5.0, 0.0, 0.0]])
    values = torch.tensor([[1.0, 2.0, 3.0], [6.0, NAN, NAN]])
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    advantages, returns = gae(rewards, values, mask, 0.5, 0.5)
    # A_3 = 1, A_2 = −½ + ¼·1, A_1 = 0 + ¼·(−¼)
    assert advantages.tolist() == [[-0.0625, -0.25, 1.0], [-1.0, 0.0, 0.0]]
    assert returns.tolist() == [[0.9375, 1.75, 4.0], [5.0, 0.0, 0.0]]


@pytest.mark.parametrize(("discount", "lam"), [(0.9, 0.95), (1.0, 1.0), (0.8, 0.0), (1.0, 0.5)])
def test_gae_is_the_discounted_sum_of_errors(discount: float, lam: float) -> None:
    """Σ_l (γλ)^l·δ_{t+l} over the answer's own tokens, δ_t = r_t + γ·V_{t+1} − V_t."""
    generator = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(2, 6, 5, generator=generator, dtype=torch.float64)
    lengths = [5, 4, 3, 2, 1, 5]
    mask = torch.arange(5) < torch.tensor(lengths)[:, None]
    advantages, returns = gae(rewards.where(mask, 0.0), values, mask, discount, lam)
    for i, n in enumerate(lengths):
        v = [*values[i, :n].tolist(), 0.0]
        delta = [rewards[i, t].item() + discount * v[t + 1] - v[t] for t in range(n)]
        for t in range(n):
            expected = sum((discount * lam) ** k * delta[t + k] for k in range(n - t))
            assert advantages[i, t].item() == pytest.approx(expected)
            assert returns[i, t].item() == pytest.approx(expected + v[t])
        assert advantages[i, n:].tolist() == [0.0] * (5 - n)


def test_a_perfect_critic_leaves_nothing() -> None:
    """V_t = the discounted reward to come: every advantage is 0, at any λ."""
    rewards = torch.tensor([[0.0, 1.0, 8.0]], dtype=torch.float64)
    values = torch.tensor([[2.5, 5.0, 8.0]], dtype=torch.float64)  # 0 + ½·5, 1 + ½·8, 8
    for lam in (0.0, 0.3, 1.0):
        assert gae(rewards, values, torch.ones(1, 3), 0.5, lam)[0].tolist() == [[0.0] * 3]


def test_rewards_come_at_the_last_token() -> None:
    mask = torch.tensor([[1, 1, 0], [1, 1, 1], [0, 0, 0]])
    got = at_last_token(torch.tensor([2.0, 3.0, 4.0]), mask)
    assert got.tolist() == [[0, 2, 0], [0, 0, 3], [4, 0, 0]]
    # an answer without tokens keeps its reward on padding, where GAE does not look
    assert gae(got, torch.zeros(3, 3), mask, 1.0, 1.0)[0][2].tolist() == [0.0] * 3


def test_to_go() -> None:
    assert to_go(torch.tensor([[1.0, 2.0, 4.0]])).tolist() == [[7.0, 6.0, 4.0]]


def test_whitening_is_over_tokens() -> None:
    """1, 3, 5, 5, 5, 5: mean 4 and variance (9 + 1 + 4·1)/6 = 7/3; padding does not count."""
    values = torch.tensor([[1.0, 3.0, NAN], [5.0, 5.0, 5.0], [5.0, -1e9, 7.0]]).double()
    mask = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 0]])
    got = whiten(values, mask)[mask.bool()]
    assert got.tolist() == pytest.approx(
        [-3 / sqrt(7 / 3), -1 / sqrt(7 / 3)] + [1 / sqrt(7 / 3)] * 4
    )


@pytest.mark.parametrize("reward", [0.1, 5.3, 100.1, 1000.1])
def test_whitening_does_not_blow_up_the_rounding_of_equal_values(reward: float) -> None:
    values = torch.full((16, 37), reward)
    assert not whiten(values, torch.ones(16, 37)).any()


@pytest.mark.parametrize("name", SURROGATES)
def test_equal_rewards_teach_nothing(name: str) -> None:
    """At the reference and with a critic that agrees: nobody was better than expected."""
    mask = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 0]])
    zeros = torch.zeros(3, 3, dtype=torch.float64)
    rewards = torch.full((3,), 0.7, dtype=torch.float64)
    answers = Answers(mask, rewards, torch.tensor([0, 0, 1]), zeros, zeros, values=zeros + 0.7)
    advantages = SURROGATES[name].prepare(answers).advantages
    assert advantages is not None
    assert advantages[mask.bool()].abs().max() < 1e-9


@pytest.mark.parametrize(
    ("credit", "expected"),
    [
        # k1 = 0.4, 0.2 | 0.3; c = 2; A = ±½ of centred rewards 1 and 0, then what each token pays
        ("to-go", [[0.5 - 1.2, 0.5 - 0.4], [-0.5 - 0.6, -0.5]]),
        # rewards 1 − 1.2 and 0 − 0.6 before the mean
        ("answer", [[0.2, 0.2], [-0.2, -0.2]]),
    ],
)
def test_who_pays_for_the_kl(credit, expected: list[list[float]]) -> None:
    old = torch.tensor([[-1.0, -2.0], [-0.5, NAN]], dtype=torch.float64)
    ref = torch.tensor([[-1.4, -2.2], [-0.8, NAN]], dtype=torch.float64)
    choices = Surrogate(
        advantage="centred",
        kl_coefficient=2.0,
        kl_in="reward",
        kl_estimator="k1",
        kl_credit=credit,
    )
    mask, groups = torch.tensor([[1, 1], [1, 0]]), torch.zeros(2).long()
    answers = Answers(mask, torch.tensor([1.0, 0.0]), groups, old, ref)
    got = choices.prepare(answers).advantages
    assert got is not None
    for row, want in zip(got.tolist(), expected, strict=True):
        assert row == pytest.approx(want)


def kl_in_reward(**more) -> Surrogate:
    """REINFORCE with the summed log-probability and 0.3·k1 in the reward."""
    return Surrogate(
        **{"advantage": "leave-one-out", "kl_coefficient": 0.3, **more},
        ratio="none",
        clip="none",
        aggregation="constant",
        aggregation_length=1.0,
        kl_in="reward",
        kl_estimator="k1",
    )


POLICY, REFERENCE = random_logits(0), token_logprobs(random_logits(1))


def test_k1_is_the_kl_in_expectation() -> None:
    """Over all answers of the policy, by enumeration."""
    tokens = token_logprobs(POLICY)
    answers = Answers(MASK, REWARDS, torch.zeros(7).long(), tokens, REFERENCE)
    penalty = kl_penalty(answers, kl_in_reward()).sum(-1)
    log_pi = tokens.sum(-1)
    kl = (log_pi.exp() * (log_pi - REFERENCE.sum(-1))).sum()
    torch.testing.assert_close((log_pi.exp() * penalty).sum(), 0.3 * kl)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("credit", ["answer", "to-go"])
def test_kl_in_the_reward_is_descended(credit: str, size: int) -> None:
    """On-policy the expected gradient is −∇(E[r] − c·KL(π ‖ π_ref)), whoever pays for a token.

    Past tokens' KL is a baseline of the token's own log-probability, so leaving it out changes
    the variance only; and so is the others' mean, so leave-one-out has no factor.
    """
    logits = POLICY.clone().requires_grad_()
    tokens = token_logprobs(logits)
    log_pi = log_prob(logits)
    value = (log_pi.exp() * (REWARDS - 0.3 * (log_pi - REFERENCE.sum(-1)))).sum()
    expected = gradient(-value, logits)
    choices, mean = kl_in_reward(kl_credit=credit), torch.zeros((), dtype=torch.float64)
    for group in every_group(size):
        loss, _ = surrogate_loss(
            tokens[group],
            MASK[group],
            REWARDS[group],
            torch.zeros(size).long(),
            ref_logprobs=REFERENCE[group],
            choices=choices,
        )
        mean = mean + log_pi[group].sum().exp().detach() * loss
    torch.testing.assert_close(gradient(mean, logits), expected)


@pytest.mark.parametrize("size", [2, 3])
def test_a_centred_advantage_shrinks_the_gradient(size: int) -> None:
    """The group's mean holds the answer itself: a factor (G − 1)/G against leave-one-out."""
    logits = POLICY.clone().requires_grad_()
    tokens, log_pi = token_logprobs(logits), log_prob(logits)
    got = {}
    for advantage in ("leave-one-out", "centred"):
        choices = kl_in_reward(advantage=advantage)
        mean = torch.zeros((), dtype=torch.float64)
        for group in every_group(size):
            given = (tokens[group], MASK[group], REWARDS[group], torch.zeros(size).long())
            loss, _ = surrogate_loss(*given, ref_logprobs=REFERENCE[group], choices=choices)
            mean = mean + log_pi[group].sum().exp().detach() * loss
        got[advantage] = gradient(mean, logits)
    torch.testing.assert_close(got["centred"], (size - 1) / size * got["leave-one-out"])


def critic_gradient(values: Tensor, lam: float) -> Tensor:
    """(9,) E over the answers of −∇ of Σ_t A_t·log π_t, A from GAE with γ = 1."""
    logits = POLICY.clone().requires_grad_()
    tokens = token_logprobs(logits)
    rewards = at_last_token(REWARDS, MASK)
    advantages, _ = gae(rewards, values, MASK, 1.0, lam)
    weight = tokens.sum(-1).exp().detach()
    return gradient((weight * (advantages * tokens).sum(-1)).sum(), logits)


def test_gae_with_lambda_1_is_unbiased_and_with_the_true_values_any_is() -> None:
    """λ = 1: V is a baseline of each state. λ = 0: only the true V gives the gradient of E[r]."""
    logits = POLICY.clone().requires_grad_()
    expected = gradient((log_prob(logits).exp() * REWARDS).sum(), logits)
    wrong = torch.tensor([[0.4, v] for v in (0, 0.9, -0.3, 0.9, 0.9, -0.3, -0.3)]).double()
    torch.testing.assert_close(critic_gradient(wrong, 1.0), expected)
    assert (critic_gradient(wrong, 0.0) - expected).norm() > 0.1 * expected.norm()
    # the true values: of the empty prefix, and of "0" and "1"; answers e | 0e 00 01 | 1e 10 11
    p = log_prob(POLICY).exp()
    after = [[1, 3, 4], [2, 5, 6]]
    zero, one = (((p[k] * REWARDS[k]).sum() / p[k].sum()).item() for k in after)
    start = (p * REWARDS).sum().item()
    true = torch.tensor([[start, v] for v in (0, zero, one, zero, zero, one, one)]).double()
    for lam in (0.0, 0.5, 1.0):
        torch.testing.assert_close(critic_gradient(true, lam), expected)


def test_what_is_missing_is_named() -> None:
    zeros = torch.zeros(2, 2)
    answers = Answers(torch.ones(2, 2), torch.zeros(2), torch.zeros(2).long(), zeros)
    with pytest.raises(ValueError, match="kl_coefficient above 0 needs `ref_logprobs`"):
        SURROGATES["rloo"].prepare(answers)
    with pytest.raises(ValueError, match="gae needs `values`"):
        Surrogate(advantage="gae").prepare(answers)

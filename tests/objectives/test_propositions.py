"""The propositions of docs/objective.md, by enumeration in float64."""

import pytest
import torch
from tiny_policy import (
    LENGTHS,
    MASK,
    REWARDS,
    every_group,
    gradient,
    log_prob,
    logits_of,
    random_logits,
    token_logprobs,
)
from torch import Tensor

from evenflow.objectives import PRESETS, Balance, balance_loss, surrogate_loss

BETA, GAMMA, L = 1.7, 0.6, 3.0
POLICY, REFERENCE = random_logits(0), random_logits(1)
REF_TOKENS = token_logprobs(REFERENCE)
LOG_REF = REF_TOKENS.sum(-1)
CONSTANT = {
    "scale": "constant",
    "scale_length": L,
    "reward": "raw",
    "importance": "none",
    "inverse_temperature": BETA,
    "reference_weight": GAMMA,
}
FIXED = ["head", "running", "offline", "none"]


def target(beta: float = BETA, s: float = 1 / L, gamma: float = GAMMA) -> Tensor:
    """(7,) log π*, π* ∝ π_ref^γ e^{βr/s}."""
    return (gamma * LOG_REF + beta * REWARDS / s).log_softmax(-1)


def kl_to_target(logits: Tensor, **which: float) -> Tensor:
    log_pi = log_prob(logits)
    return (log_pi.exp() * (log_pi - target(**which))).sum()


def expected_gradient(
    choices: Balance,
    size: int,
    log_z: float | None = None,
    policy: Tensor = POLICY,
    rewards: Tensor = REWARDS,
) -> Tensor:
    """E over all groups of `size` answers of ∇ of the group's loss, the sampling held fixed."""
    logits = policy.clone().requires_grad_()
    tokens = token_logprobs(logits)
    probability = tokens.sum(-1).exp().detach()
    mean = torch.zeros((), dtype=torch.float64)
    for group in every_group(size):
        loss, _ = balance_loss(
            tokens[group],
            MASK[group],
            rewards[group],
            torch.zeros(size, dtype=torch.long),
            ref_logprobs=REF_TOKENS[group],
            log_z=None if log_z is None else torch.full((size,), log_z, dtype=torch.float64),
            choices=choices,
        )
        mean += probability[group].prod() * loss
    return gradient(mean, logits)


def kl_gradient(**which: float) -> Tensor:
    logits = POLICY.clone().requires_grad_()
    return gradient(kl_to_target(logits, **which), logits)


def assert_equal(got: Tensor, expected: Tensor) -> None:
    assert (got - expected).norm() < 1e-6 * expected.norm()


@pytest.mark.parametrize("log_z", FIXED)
@pytest.mark.parametrize("value", [-2.0, 3.5])
def test_proposition_1_any_log_z_is_a_baseline(log_z: str, value: float) -> None:
    choices = Balance(log_z=log_z, **CONSTANT)
    got = expected_gradient(choices, 1, None if log_z == "none" else value)
    assert_equal(got, 2 / L**2 * kl_gradient())


@pytest.mark.parametrize("size", [2, 3])
def test_proposition_1_group_mean_has_factor(size: int) -> None:
    got = expected_gradient(Balance(log_z="group", **CONSTANT), size)
    assert_equal(got, (size - 1) / size * 2 / L**2 * kl_gradient())


@pytest.mark.parametrize("size", [2, 3])
def test_proposition_1_leave_one_out_has_none(size: int) -> None:
    got = expected_gradient(Balance(log_z="leave-one-out", **CONSTANT), size)
    assert_equal(got, 2 / L**2 * kl_gradient())


@pytest.mark.parametrize("size", [2, 3])
def test_centred_reward_without_group_log_z_shrinks_beta(size: int) -> None:
    choices = Balance(log_z="head", **CONSTANT | {"reward": "centred"})
    got = expected_gradient(choices, size, 0.4)
    assert_equal(got, 2 / L**2 * kl_gradient(beta=BETA * (size - 1) / size))


def test_centred_reward_with_group_log_z_is_raw() -> None:
    raw = expected_gradient(Balance(log_z="group", **CONSTANT), 3)
    centred = expected_gradient(Balance(log_z="group", **CONSTANT | {"reward": "centred"}), 3)
    assert_equal(centred, raw)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_relative_reward_raises_the_log_likelihood_of_being_right(size: int) -> None:
    """With p the share of right answers, log p = −Σ (1 − p)^k/k; the first G − 1 terms are raised,
    whose gradient is Σ_{k < G−1} (1 − p)^k·∇p."""
    right = (REWARDS == 1).double()
    choices = Balance(log_z="group", **CONSTANT | {"reward": "relative"})
    got = expected_gradient(choices, size, rewards=right)
    logits = POLICY.clone().requires_grad_()
    p = (log_prob(logits).exp() * right).sum()
    log_p = -sum((1 - p) ** k / k for k in range(1, size))
    pull = (size - 1) / size / L * kl_gradient(beta=0)
    assert_equal(got, 2 / L * (pull - BETA * gradient(log_p, logits)))


@pytest.mark.parametrize("beta", [5.0, 0.7])
def test_trajectory_balance_is_rloo(beta: float) -> None:
    """s = γ = w = 1, leave-one-out Z: 2β × RLOO with the KL at coefficient 1/β in the reward.

    Sample by sample: the gradients by each answer's own log-probs are the same.
    """
    choices = Balance(
        log_z="leave-one-out",
        scale="sum",
        reward="raw",
        importance="none",
        inverse_temperature=beta,
    )
    rloo = PRESETS["rloo"].objective.model_copy(update={"kl_coefficient": 1 / beta})
    tokens = token_logprobs(POLICY).requires_grad_()
    given = {"mask": MASK, "rewards": REWARDS, "groups": torch.tensor([8, 3, 8, 3, 3, 8, 8])}
    balance, surrogate = (
        torch.autograd.grad(
            loss(tokens, **given, ref_logprobs=REF_TOKENS, choices=which)[0], tokens
        )
        for loss, which in ((balance_loss, choices), (surrogate_loss, rloo))
    )
    assert (balance[0].sum(-1).abs() > 0.01).all()
    torch.testing.assert_close(balance[0], 2 * beta * surrogate[0])


def test_proposition_5_is_max_entropy_rl() -> None:
    """−KL + log Z = E[βr + γ log π_ref] + H(π), s = 1, in value for any π."""
    log_pi = log_prob(POLICY)
    log_z = (GAMMA * LOG_REF + BETA * REWARDS).logsumexp(-1)
    entropy = -(log_pi.exp() * log_pi).sum()
    reward = (log_pi.exp() * (BETA * REWARDS + GAMMA * LOG_REF)).sum()
    left = log_z - kl_to_target(POLICY, s=1.0)
    torch.testing.assert_close(left, reward + entropy, rtol=1e-12, atol=0)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("log_z", ["leave-one-out", "group", *FIXED])
def test_proposition_5_the_loss_ascends_it(log_z: str, size: int) -> None:
    choices = Balance(log_z=log_z, **CONSTANT | {"scale": "sum", "scale_length": None})
    logits = POLICY.clone().requires_grad_()
    log_pi = log_prob(logits)
    value = (log_pi.exp() * (BETA * REWARDS + GAMMA * LOG_REF - log_pi)).sum()
    factor = (size - 1) / size if log_z == "group" else 1.0
    given = 1.0 if log_z in FIXED[:3] else None
    got = expected_gradient(choices, size, given)
    assert_equal(got, -2 * factor * gradient(value, logits))


def all_answers_loss(logits: Tensor, choices: Balance, log_z: Tensor | None) -> Tensor:
    """(9,) ∇ of E_π[g(δ)], the sampling held fixed, for raw rewards."""
    tokens = token_logprobs(logits)
    parts = [
        balance_loss(
            tokens[[i]],
            MASK[[i]],
            REWARDS[[i]],
            torch.zeros(1, dtype=torch.long),
            ref_logprobs=REF_TOKENS[[i]],
            log_z=None if log_z is None else log_z[None],
            choices=choices,
        )[0]
        for i in range(len(REWARDS))
    ]
    return gradient((log_prob(logits).exp().detach() * torch.stack(parts)).sum(), logits)


@pytest.mark.parametrize("scale", ["sum", "constant", "mean"])
def test_fixed_point(scale: str) -> None:
    """δ ≡ 0 at π = π_ref^γ exp((βr − log Z)/s), and nothing moves there, on or off policy."""
    s = {"sum": LENGTHS**0, "constant": LENGTHS**0 / L, "mean": 1 / LENGTHS}[scale]
    low, high = -50.0, 50.0  # log Z, by bisection of Σ π = 1
    for _ in range(200):
        z = (low + high) / 2
        mass = (GAMMA * LOG_REF + (BETA * REWARDS - z) / s).logsumexp(-1)
        low, high = (z, high) if mass > 0 else (low, z)
    log_pi = GAMMA * LOG_REF + (BETA * REWARDS - z) / s
    logits = logits_of(log_pi.exp()).requires_grad_()
    length = L if scale == "constant" else None
    choices = Balance(log_z="head", **CONSTANT | {"scale": scale, "scale_length": length})
    tokens = token_logprobs(logits)
    loss, metrics = balance_loss(
        tokens,
        MASK,
        REWARDS,
        torch.zeros(7, dtype=torch.long),
        old_logprobs=token_logprobs(random_logits(5)),
        ref_logprobs=REF_TOKENS,
        log_z=torch.full((7,), z, dtype=torch.float64),
        choices=choices,
    )
    assert metrics["residual"].abs().max() < 1e-10
    assert gradient(loss, logits).norm() < 1e-10
    group = balance_loss(
        tokens,
        MASK,
        REWARDS,
        torch.zeros(7, dtype=torch.long),
        ref_logprobs=REF_TOKENS,
        choices=choices.model_copy(update={"log_z": "group"}),
    )[1]
    torch.testing.assert_close(group["log_z"], torch.full((7,), z, dtype=torch.float64))
    if scale == "mean":  # log Z is then not the partition function of π_ref^γ e^{βr}
        assert abs(z - float((GAMMA * LOG_REF + BETA * REWARDS).logsumexp(-1))) > 0.1


@pytest.mark.filterwarnings("ignore:log_z. none")
def test_with_mean_scale_log_z_moves_the_fixed_point() -> None:
    """A wrong constant z settles at s·δ = c: an extra factor e^{c|y|²} in the policy."""
    z, choices = 0.3, Balance(log_z="head", **CONSTANT | {"scale": "mean", "scale_length": None})
    logits = POLICY.clone().requires_grad_()
    one, two = (
        all_answers_loss(logits, choices, torch.tensor(v, dtype=torch.float64)) for v in (z, 2.0)
    )
    assert (one - two).norm() > 0.1 * one.norm()

    low, high = -50.0, 50.0  # c, by bisection of Σ π = 1
    for _ in range(200):
        c = (low + high) / 2
        log_pi = GAMMA * LOG_REF + LENGTHS * (BETA * REWARDS - z) + c * LENGTHS**2
        low, high = (low, c) if log_pi.logsumexp(-1) > 0 else (c, high)
    logits = logits_of(log_pi.exp()).requires_grad_()
    still = all_answers_loss(logits, choices, torch.tensor(z, dtype=torch.float64))
    assert abs(c) > 0.05
    assert still.norm() < 1e-10


def test_two_values_of_log_z() -> None:
    """The least-squares value is the mean of own = log Z − KL; variance has weights ‖∇log π‖²."""
    logits = POLICY.clone().requires_grad_()
    log_pi = log_prob(logits)
    p = log_pi.exp().detach()
    own = (BETA * REWARDS + GAMMA * LOG_REF - log_pi).detach()
    true = (BETA * REWARDS + GAMMA * LOG_REF).logsumexp(-1)
    kl = kl_to_target(POLICY, s=1.0)
    torch.testing.assert_close((p * own).sum(), true - kl)

    jacobian = torch.stack([gradient(value, logits) for value in log_pi])  # (7, 9)
    norm = (p * jacobian.square().sum(-1)) / (p * jacobian.square().sum(-1)).sum()

    def second_moment(z: Tensor) -> Tensor:
        return (p * (2 * (z - own)[:, None] * jacobian).square().sum(-1)).sum()

    z = (norm * own).sum().requires_grad_()
    assert torch.autograd.grad(second_moment(z), z)[0].abs() < 1e-10
    assert second_moment(z) < second_moment((p * own).sum())


@pytest.mark.parametrize("alpha", [-1.0, 1.0])
def test_linex_descends_the_other_divergences(alpha: float) -> None:
    """On-policy with the true Z: α = −1 KL(π*‖π), α = 1 ½χ²(π‖π*), times 2."""
    logits = POLICY.clone().requires_grad_()
    choices = Balance(
        **CONSTANT | {"scale": "sum", "scale_length": None},
        regression="linex",
        linex_alpha=alpha,
    )
    log_z = (GAMMA * LOG_REF + BETA * REWARDS).logsumexp(-1)
    got = all_answers_loss(logits, choices, log_z)
    log_pi, log_star = log_prob(logits), target(s=1.0)
    if alpha < 0:
        divergence = (log_star.exp() * (log_star - log_pi)).sum()
    else:
        divergence = ((2 * log_pi - log_star).exp().sum() - 1) / 2
    assert_equal(got, 2 * gradient(divergence, logits))


def test_cosh_descends_their_sum() -> None:
    """cosh is the mean of linex with α = 1 and α = −1."""
    logits = POLICY.clone().requires_grad_()
    parts = CONSTANT | {"scale": "sum", "scale_length": None}
    log_z = (GAMMA * LOG_REF + BETA * REWARDS).logsumexp(-1)
    cosh = all_answers_loss(logits, Balance(**parts, regression="cosh"), log_z)
    linex = [
        all_answers_loss(logits, Balance(**parts, regression="linex", linex_alpha=a), log_z)
        for a in (-1.0, 1.0)
    ]
    assert_equal(cosh, (linex[0] + linex[1]) / 2)


def test_mara_makes_right_answers_equally_likely() -> None:
    """At δ ≡ 0 with prior_lift 1 the policy gives all right answers of a group one probability."""
    choices = Balance(
        log_z="group", **CONSTANT | {"scale": "sum", "scale_length": None}, prior_lift=1.0
    )
    logits = POLICY.clone().requires_grad_()
    optimiser = torch.optim.Adam([logits], lr=0.2)
    for _ in range(200):
        loss, _ = balance_loss(
            token_logprobs(logits),
            MASK,
            REWARDS,
            torch.zeros(7, dtype=torch.long),
            ref_logprobs=REF_TOKENS,
            choices=choices,
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    log_pi = log_prob(logits).detach()
    right = REWARDS == 1
    torch.testing.assert_close(log_pi[right], log_pi[right].mean().expand(3), atol=1e-4, rtol=0)
    gap = log_pi[~right] - log_pi[right][0]
    prior = GAMMA * (LOG_REF[~right] - LOG_REF[right].max())
    expected = prior + BETA * (REWARDS[~right] - 1)
    torch.testing.assert_close(gap, expected, atol=1e-4, rtol=0)


def test_the_lift_rests_near_equal_odds() -> None:
    """Where the lift is toward the best right answer of all and its odds are 1, groups that lack
    this answer still pull toward it: the more, the fewer answers they have and the lower β is."""
    right = REWARDS == 1
    favourite = int(LOG_REF.masked_fill(~right, -torch.inf).argmax())

    def pull(size: int, beta: float) -> float:
        """What a small step does to the log-odds of that answer and the other right ones."""
        lifted = GAMMA * torch.where(right, LOG_REF[favourite], LOG_REF) + beta * REWARDS
        choices = Balance(log_z="group", **CONSTANT | {"scale": "sum", "scale_length": None})
        choices = choices.model_copy(update={"prior_lift": 1.0, "inverse_temperature": beta})
        policy = logits_of(lifted.softmax(-1))
        step = expected_gradient(choices, size, policy=policy).view_as(policy)
        log_pi = log_prob(policy - 1e-3 * step)
        others = log_pi[right & (torch.arange(len(REWARDS)) != favourite)]
        return (log_pi[favourite] - others.mean()).item() / 1e-3

    assert pull(2, 1.0) > 0.01
    assert pull(4, 1.0) < 0.8 * pull(2, 1.0)
    assert pull(2, 6.0) < 0.2 * pull(2, 1.0)


def off_policy_gradient(choices: Balance, log_z: float, old: Tensor) -> Tensor:
    """E over answers of the policy `old` of ∇ of the weighted loss."""
    logits = POLICY.clone().requires_grad_()
    tokens, old_tokens = token_logprobs(logits), token_logprobs(old)
    mean = torch.zeros((), dtype=torch.float64)
    for i in range(len(REWARDS)):
        loss, _ = balance_loss(
            tokens[[i]],
            MASK[[i]],
            REWARDS[[i]],
            torch.zeros(1, dtype=torch.long),
            old_logprobs=old_tokens[[i]],
            ref_logprobs=REF_TOKENS[[i]],
            log_z=torch.full((1,), log_z, dtype=torch.float64),
            choices=choices,
        )
        mean += old_tokens[i].sum().exp() * loss
    return gradient(mean, logits)


@pytest.mark.parametrize("value", [-2.0, 3.5])
def test_full_weights_make_off_policy_answers_on_policy(value: float) -> None:
    choices = Balance(**CONSTANT | {"importance": "sequence"}, truncation="none")
    got = off_policy_gradient(choices, value, random_logits(7))
    assert_equal(got, 2 / L**2 * kl_gradient())


@pytest.mark.parametrize("truncation", ["symmetric", "upper"])
def test_truncated_weights_make_log_z_matter(truncation: str) -> None:
    choices = Balance(**CONSTANT | {"importance": "sequence"}, truncation=truncation, cap=1.2)
    one, two = (off_policy_gradient(choices, z, random_logits(7)) for z in (-2.0, 3.5))
    assert (one - two).norm() > 0.1 * one.norm()

"""The balance loss on numbers worked out by hand, and what each choice does to them."""

from math import e, exp, sqrt

import pytest
import torch
from torch import Tensor

from evenflow.objectives import PRESETS, Balance, balance_loss

# Two answers to one question, of 2 and 1 tokens; what the mask covers is never read.
LOG_PI = torch.tensor([[-1.0, -2.0], [-0.5, 9.0]], dtype=torch.float64)
OLD = torch.tensor([[-1.1, -2.2], [-0.4, float("nan")]], dtype=torch.float64)
REF = torch.tensor([[-1.5, -2.5], [-1.0, -float("inf")]], dtype=torch.float64)
MASK = torch.tensor([[1, 1], [1, 0]])
REWARDS = torch.tensor([1.0, 0.0], dtype=torch.float64)
GROUPS = torch.tensor([4, 4])
LOG_Z = torch.tensor([3.0, 3.0], dtype=torch.float64)
# log w = 0.1 + 0.2 and −0.1; r̃ = ±0.5 / (√0.5 + 1e-6), as std² = (0.25 + 0.25) / (2 − 1)
R = 0.5 / (sqrt(0.5) + 1e-6)
DELTA = (3 + (-3 + 4) / 2 - 15 * R, 3 + (-0.5 + 1.0) / 1 + 15 * R)


def run(choices: Balance, logprobs: Tensor = LOG_PI, **tensors: Tensor | None):
    given = {"old_logprobs": OLD, "ref_logprobs": REF, "log_z": LOG_Z} | tensors
    return balance_loss(logprobs, MASK, REWARDS, GROUPS, choices=choices, **given)


def test_paper_formula() -> None:
    loss, metrics = run(PRESETS["flowrl"].objective)
    assert metrics["residual"].tolist() == pytest.approx(DELTA)
    assert metrics["residual"].tolist() == pytest.approx([-7.1065867, 14.1065867], abs=1e-6)
    assert metrics["weight"].tolist() == pytest.approx([1.2, exp(-0.1)])
    assert metrics["truncated"].tolist() == [1, 0]
    assert metrics["log_weight"].tolist() == pytest.approx([0.3, -0.1])
    assert loss.item() == pytest.approx((1.2 * DELTA[0] ** 2 + exp(-0.1) * DELTA[1] ** 2) / 2)
    assert loss.item() == pytest.approx(120.33157, abs=1e-4)


@pytest.mark.parametrize(
    ("preset", "log_ratio", "weight"),
    [
        ("flowrl", 3.0, 1.2),
        ("flowrl-official", 3.0, e**3),
        ("flowrl-official-2", 3.0, 10.0),
        ("flowrl-official-2", 2.0, e**2),
        ("flowrl", -3.0, 0.8),
        ("flowrl-official", -3.0, e**-3),
        ("flowrl-official-2", -3.0, e**-3),
        ("tba", 3.0, 1.0),
    ],
)
def test_three_flowrls_differ_in_the_weight(preset: str, log_ratio: float, weight: float) -> None:
    old = LOG_PI - torch.tensor([[log_ratio / 2] * 2, [0.0, 0.0]])
    choices = PRESETS[preset].objective
    log_z = LOG_Z if choices.needs.head else None
    _, metrics = run(choices, old_logprobs=old, log_z=log_z)
    assert metrics["weight"].tolist() == pytest.approx([weight, 1.0])


def test_truncation_bites_on_the_gradient() -> None:
    """With w = e^3 clipped to 1.2 the gradient shrinks by that factor, and w itself has none."""
    logprobs = LOG_PI.clone().requires_grad_()
    old = LOG_PI - 1.5
    gradients = [
        torch.autograd.grad(run(Balance(truncation=t), logprobs, old_logprobs=old)[0], logprobs)[0]
        for t in ("symmetric", "none")
    ]
    torch.testing.assert_close(gradients[0][0], gradients[1][0] * 1.2 / e**3)
    torch.testing.assert_close(gradients[0][1], gradients[1][1] * 1.2 / e**1.5)
    # ∂/∂log π_t of ½·w·δ² = w·δ·s
    assert gradients[0][0].tolist() == pytest.approx([1.2 * DELTA[0] / 2] * 2)
    assert gradients[0][1].tolist() == pytest.approx([1.2 * DELTA[1], 0])


def test_geometric_weight_is_the_mean_log_ratio() -> None:
    _, metrics = run(Balance(importance="geometric"))
    assert metrics["log_weight"].tolist() == pytest.approx([0.15, -0.1])


def test_token_weights_multiply_each_token_gradient() -> None:
    logprobs = LOG_PI.clone().requires_grad_()
    choices = Balance(importance="token", epsilon=0.15)
    loss, metrics = run(choices, logprobs)
    gradient = torch.autograd.grad(loss, logprobs)[0]
    assert loss.item() == pytest.approx((DELTA[0] ** 2 + DELTA[1] ** 2) / 2)
    first = [exp(0.1) * DELTA[0] / 2, 1.15 * DELTA[0] / 2]  # w = e^0.1, e^0.2 -> 1.15
    assert gradient[0].tolist() == pytest.approx(first)
    assert gradient[1].tolist() == pytest.approx([exp(-0.1) * DELTA[1], 0])
    assert metrics["truncated"].tolist() == [0.5, 0]
    assert metrics["weight"].tolist() == pytest.approx([(exp(0.1) + 1.15) / 2, exp(-0.1)])


@pytest.mark.parametrize(
    ("scale", "length", "expected"),
    [("mean", None, (0.5, 0.5)), ("sum", None, (1.0, 0.5)), ("constant", 4.0, (0.25, 0.125))],
)
def test_scale(scale: str, length: float | None, expected: tuple[float, float]) -> None:
    """log π − log π_ref is 1 over 2 tokens and 0.5 over 1."""
    _, metrics = run(Balance(scale=scale, scale_length=length))
    assert (metrics["residual"] - 3)[0].item() + 15 * R == pytest.approx(expected[0])
    assert (metrics["residual"] - 3)[1].item() - 15 * R == pytest.approx(expected[1])


@pytest.mark.parametrize(
    ("regression", "alpha", "g"),
    [
        ("square", -1.0, lambda d: d * d),
        ("linex", -1.0, lambda d: 2 * (exp(-d) + d - 1)),
        ("linex", 0.5, lambda d: 8 * (exp(d / 2) - d / 2 - 1)),
        ("cosh", -1.0, lambda d: exp(d) + exp(-d) - 2),
    ],
)
def test_regressions(regression: str, alpha: float, g) -> None:
    choices = Balance(
        regression=regression, linex_alpha=alpha, importance="none", inverse_temperature=1.0
    )
    deltas = (3.5 - R, 3.5 + R)
    loss, _ = run(choices)
    assert loss.item() == pytest.approx((g(deltas[0]) + g(deltas[1])) / 2)


@pytest.mark.parametrize(("regression", "alpha"), [("linex", -1.0), ("linex", 1.0), ("cosh", 1.0)])
def test_exponentials_are_continued_linearly(regression: str, alpha: float) -> None:
    """At δ = 1000 a float32 exponential is infinite; the loss has the slope of |αδ| = 20.

    That slope is 2e^20/|α| for linex and e^20 for cosh, and the mean is over two answers.
    """
    log_z = torch.tensor([1000.0, -1000.0], requires_grad=True)
    choices = Balance(
        regression=regression, linex_alpha=alpha, importance="none", inverse_temperature=1e-6
    )
    loss, _ = run(
        choices, LOG_PI.float(), old_logprobs=None, ref_logprobs=LOG_PI.float(), log_z=log_z
    )
    slope = torch.autograd.grad(loss, log_z)[0]
    steep = 0 if regression == "linex" and alpha == 1.0 else 1
    expected = exp(20) / (2 if regression == "cosh" else 1)
    assert loss.isfinite()
    assert slope.abs()[steep].item() == pytest.approx(expected, rel=1e-4)


def test_head_gradient_is_twice_the_weighted_residual() -> None:
    log_z = LOG_Z.clone().requires_grad_()
    loss, metrics = run(PRESETS["flowrl"].objective, log_z=log_z)
    expected = metrics["weight"] * metrics["residual"]  # 2·w·δ / N, N = 2
    torch.testing.assert_close(torch.autograd.grad(loss, log_z)[0], expected)


@pytest.mark.parametrize("reward", ["group", "centred"])
@pytest.mark.parametrize("value", [0.1, 1.0, 0.0])
def test_equal_rewards_pull_toward_the_reference(reward: str, value: float) -> None:
    """r̃ = 0 exactly, so that δ = s·(log π − log π_ref) − its mean, and no NaN anywhere."""
    logprobs = torch.randn(7, 3).requires_grad_()
    ref = torch.randn(7, 3)
    choices = Balance(log_z="group", reward=reward, scale="sum")
    rewards = torch.full((7,), value)
    loss, metrics = balance_loss(
        logprobs,
        torch.ones(7, 3),
        rewards,
        torch.zeros(7).long(),
        ref_logprobs=ref,
        choices=choices,
    )
    gap = (logprobs.detach() - ref).sum(-1)
    torch.testing.assert_close(metrics["residual"], gap - gap.mean())
    gradient = torch.autograd.grad(loss, logprobs)[0]
    too_likely = gap > gap.mean()
    assert (gradient[too_likely] > 0).all()  # descent lowers what is above the reference
    assert (gradient[~too_likely] < 0).all()


@pytest.mark.parametrize("log_z", ["group", "leave-one-out"])
def test_group_of_one_teaches_nothing(log_z: str) -> None:
    logprobs = LOG_PI[:1].clone().requires_grad_()
    loss, metrics = balance_loss(
        logprobs,
        MASK[:1],
        REWARDS[:1],
        GROUPS[:1],
        ref_logprobs=REF[:1],
        choices=Balance(log_z=log_z),
    )
    assert metrics["residual"].item() == 0
    assert torch.autograd.grad(loss, logprobs)[0].abs().sum() == 0


def test_prior_lift_moves_right_answers_only() -> None:
    """log π_ref = −4, −2, −1 with the first two right: half way moves the first to −3."""
    logprobs = torch.zeros(3, 1)
    ref = torch.tensor([[-4.0], [-2.0], [-1.0]])
    choices = Balance(
        log_z="none", scale="sum", reward="raw", inverse_temperature=1.0, prior_lift=0.5
    )
    _, metrics = balance_loss(
        logprobs,
        torch.ones(3, 1),
        torch.tensor([1.0, 1.0, 0.0]),
        torch.zeros(3).long(),
        ref_logprobs=ref,
        choices=choices,
    )
    assert metrics["residual"].tolist() == [3 - 1, 2 - 1, 1]


def test_prior_lift_leaves_a_group_without_a_right_answer() -> None:
    choices = Balance(log_z="none", scale="sum", reward="raw", prior_lift=1.0, right_reward=2.0)
    _, metrics = run(choices, log_z=None)
    assert metrics["residual"].tolist() == pytest.approx([1 - 15, 0.5])


@pytest.mark.parametrize("log_z", ["group", "leave-one-out", "none"])
@pytest.mark.parametrize("importance", ["none", "sequence"])
def test_duplicates_once_is_the_batch_without_copies(log_z: str, importance: str) -> None:
    generator = torch.Generator().manual_seed(0)
    logprobs, old, ref = torch.randn(3, 4, 2, generator=generator, dtype=torch.float64)
    old = logprobs + 0.1 * old
    rewards = torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64)
    groups = torch.tensor([0, 0, 0, 1])
    copies = torch.tensor([0, 0, 0, 1, 2, 2, 3])
    share = torch.tensor([1 / 3, 1 / 3, 1 / 3, 1.0, 0.5, 0.5, 1.0])
    settings = {"log_z": log_z, "scale": "sum", "reward": "raw", "importance": importance}
    results = []
    for rows, duplicates, shares in (
        (torch.arange(4), "each", None),
        (copies, "once", share),
    ):
        leaf = logprobs.clone().requires_grad_()
        loss, _ = balance_loss(
            leaf[rows],
            torch.ones(len(rows), 2),
            rewards[rows],
            groups[rows],
            old_logprobs=old[rows],
            ref_logprobs=ref[rows],
            share=shares,
            choices=Balance(**settings, duplicates=duplicates),
        )
        results.append((loss, torch.autograd.grad(loss, leaf)[0]))
    torch.testing.assert_close(results[0], results[1], rtol=1e-6, atol=1e-7)


def test_divergences_by_hand() -> None:
    _, metrics = run(PRESETS["flowrl"].objective)
    k3 = [(exp(0.1) - 1.1 + exp(0.2) - 1.2) / 2, exp(-0.1) - 0.9]
    assert metrics["kl_old"].tolist() == pytest.approx(k3)
    assert metrics["kl_ref"].tolist() == pytest.approx([1.0, 0.5])


def test_binary_rewards_are_one_over_root_p_q_apart() -> None:
    """p = 1/4 of 8 answers right: r̂(right) − r̂(wrong) = √(7/8) / √(p(1 − p))."""
    rewards = torch.tensor([1.0, 1, 0, 0, 0, 0, 0, 0], dtype=torch.float64)
    flat = torch.zeros(8, 1, dtype=torch.float64)
    choices = Balance(log_z="group", inverse_temperature=1.0)
    _, metrics = balance_loss(
        flat, flat + 1, rewards, torch.zeros(8).long(), ref_logprobs=flat, choices=choices
    )
    gap = (metrics["log_z_group"][0] - metrics["log_z_group"][-1]).item()
    assert gap == pytest.approx(sqrt(7 / 8) / sqrt(3 / 16), rel=1e-5)

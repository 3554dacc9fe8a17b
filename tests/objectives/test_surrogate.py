"""The clipped surrogate's parts on numbers worked out by hand."""

from math import exp, log, sqrt

import pytest
import torch
from tiny_policy import MASK as ANSWERS
from tiny_policy import gradient as flat_gradient
from tiny_policy import log_prob, random_logits, token_logprobs
from torch import Tensor

from evenflow.objectives import Answers, Surrogate, normalise_rewards, surrogate_loss
from evenflow.objectives.clipping import (
    limit_tokens,
    log_ratio,
    reference_kl,
    token_log_ratio,
    value_loss,
)
from evenflow.objectives.objective import Scores

# Two answers of 2 and 1 tokens; advantages ±A.
LOG_PI = torch.tensor([[-1.0, -2.0], [-0.5, 7.0]], dtype=torch.float64)
OLD = LOG_PI - torch.tensor([[1.1, 1.5], [0.7, 1.0]], dtype=torch.float64).log()
REF = torch.tensor([[-1.5, -2.5], [-1.0, 0.0]], dtype=torch.float64)
MASK = torch.tensor([[1, 1], [1, 0]])
REWARDS = torch.tensor([1.0, 0.0], dtype=torch.float64)
A = 0.5 / (sqrt(0.5) + 1e-6)


def run(choices: Surrogate, logprobs=LOG_PI, **more: Tensor):
    return surrogate_loss(
        logprobs,
        MASK,
        REWARDS,
        torch.zeros(2).long(),
        old_logprobs=OLD,
        ref_logprobs=REF,
        choices=choices,
        **more,
    )


def plain(n: int = 2, t: int = 2) -> Answers:
    """Answers without padding, all numbers 0."""
    zeros = torch.zeros(n, t, dtype=torch.float64)
    return Answers(torch.ones(n, t), torch.zeros(n), torch.zeros(n).long(), zeros, zeros)


def test_metrics() -> None:
    _, metrics = run(Surrogate())
    assert metrics["advantage"].tolist() == pytest.approx([A, -A])
    assert metrics["ratio"].tolist() == pytest.approx([1.3, 0.7])
    assert metrics["clipped"].tolist() == [0.5, 1.0]
    assert metrics["kl_ref"].tolist() == [1.0, 0.5]
    k3 = [0.1 - log(1.1), 0.5 - log(1.5), -0.3 - log(0.7)]  # ρ − 1 − log ρ
    assert metrics["kl_old"].tolist() == pytest.approx([(k3[0] + k3[1]) / 2, k3[2]])


@pytest.mark.parametrize(
    ("clip", "ratios", "advantage", "expected"),
    [
        ("ratio", [0.7, 0.81, 1.2, 1.31], 1.0, [0, 0, 0, 1]),
        ("ratio", [0.7, 0.81, 1.2, 1.31], -1.0, [1, 0, 0, 0]),
        ("ratio", [0.7, 0.81, 1.2, 1.31], 0.0, [0, 0, 0, 0]),
        ("weight", [0.7, 0.81, 1.2, 1.31], 1.0, [0, 0, 0, 1]),
        ("weight", [0.7, 0.81, 1.2, 1.31], -1.0, [0, 0, 0, 1]),
        ("weight", [0.7, 0.81, 1.2, 1.31], 0.0, [0, 0, 0, 0]),
        ("log-token", [0.7, 0.83, 1.2, 1.36], 1.0, [0, 0, 0, 1]),
        ("log-token", [0.7, 0.83, 1.2, 1.36], -1.0, [1, 0, 0, 0]),
        ("log-token", [0.7, 0.83, 1.2, 1.36], 0.0, [0, 0, 0, 0]),
        ("none", [0.7, 0.81, 1.2, 1.31], -1.0, [0, 0, 0, 0]),
    ],
)
def test_the_share_of_clipped_tokens_is_counted(
    clip, ratios: list[float], advantage: float, expected: list[int]
) -> None:
    """Limits 0.8 and 1.3, or e^−0.2 and e^0.3 for log-ratios; one answer a token."""
    old = -torch.tensor(ratios, dtype=torch.float64).log()[:, None]
    answers = plain(4, 1).replace(old_logprobs=old, advantages=torch.full_like(old, advantage))
    ratio = "geometric" if clip == "log-token" else "token"
    choices = Surrogate(clip=clip, ratio=ratio, epsilon_high=0.3)
    _, metrics = choices.loss(Scores(torch.zeros_like(old)), answers, 4.0)
    assert metrics["clipped"].tolist() == expected


def test_clip_stops_the_gradient() -> None:
    logprobs = LOG_PI.clone().requires_grad_()
    gradient = torch.autograd.grad(run(Surrogate(), logprobs)[0], logprobs)[0]
    # ∂/∂log π_t of −ρA/(2|y|) = −ρA/4 for the first token; the others are clipped
    assert gradient.tolist() == [[pytest.approx(-1.1 * A / 4), 0], [0, 0]]


@pytest.mark.parametrize("advantage", [1.0, 0.0, -1.0])
@pytest.mark.parametrize("clip", ["ratio", "weight", "none", "log-token"])
def test_a_ratio_too_large_for_float32_is_no_nan(clip, advantage: float) -> None:
    """log ρ = 100: e^100 is ∞ in float32. It counts as e^20·(1 + 80), with the slope e^20."""
    leaf = torch.zeros(1, 1, requires_grad=True)
    answers = Answers(torch.ones(1, 1), torch.zeros(1), torch.zeros(1).long(), leaf.detach() - 100)
    answers = answers.replace(advantages=torch.full((1, 1), advantage))
    level = "geometric" if clip == "log-token" else "token"
    loss, _ = Surrogate(clip=clip, ratio=level).loss(Scores(leaf), answers, 1.0)
    slope = -torch.autograd.grad(loss, leaf)[0].item()
    largest, steep = 81 * exp(20) * advantage, exp(20) * advantage
    expected = {
        "ratio": (-min(largest, 1.2 * advantage), min(steep, 0.0)),
        "weight": (0.0, 1.2 * advantage),
        "none": (-largest, steep),
        "log-token": (-min(largest, exp(0.2) * advantage), min(steep, 0.0)),
    }
    # No gradient where the clip acts, and everywhere else one.
    assert (loss.item(), slope) == pytest.approx(expected[clip])


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


@pytest.mark.parametrize("clip", ["ratio", "none"])
def test_geometric_token_has_the_value_and_the_gradient_of_geometric(clip) -> None:
    """Where A is one number an answer (GSPO, eq. 13 and 14)."""
    one, two = (
        (loss.item(), torch.autograd.grad(loss, leaf)[0])
        for level in ("geometric", "geometric-token")
        for leaf in [LOG_PI.clone().requires_grad_()]
        for loss in [run(Surrogate(ratio=level, clip=clip, epsilon=0.4), leaf)[0]]
    )
    torch.testing.assert_close(one, two)


def test_geometric_token_keeps_the_advantage_of_each_token() -> None:
    """ρ̄ = √(1.1·1.5) at both tokens, but each with the gradient of its own A."""
    leaf = LOG_PI[:1].clone().requires_grad_()
    answers = Answers(MASK[:1], REWARDS[:1], torch.zeros(1).long(), OLD[:1])
    answers = answers.replace(advantages=torch.tensor([[3.0, -1.0]]).double())
    loss, _ = Surrogate(ratio="geometric-token", clip="none").loss(Scores(leaf), answers, 1.0)
    rho = sqrt(1.1 * 1.5)
    assert loss.item() == pytest.approx(-rho * (3 - 1) / 2)
    got = torch.autograd.grad(loss, leaf)[0][0].tolist()
    assert got == pytest.approx([-rho * 3 / 2, rho / 2])


def test_no_ratio_is_one_with_the_gradient_of_the_log_probability() -> None:
    leaf = LOG_PI.clone().requires_grad_()
    answers = Answers(MASK, REWARDS, torch.zeros(2).long(), OLD)
    ratio = log_ratio(leaf, answers, "none")
    assert ratio.tolist() == [[0, 0], [0, 0]]
    assert torch.autograd.grad(ratio.sum(), leaf)[0].tolist() == [[1, 1], [1, 0]]
    per_token = token_log_ratio(LOG_PI, answers).tolist()
    assert per_token == [pytest.approx([log(1.1), log(1.5)]), pytest.approx([log(0.7), 0])]


def test_limited_tokens() -> None:
    """At most 0.3 where A > 0, at least −0.2 where A < 0, each one-sided."""
    ratios = torch.tensor([[0.5, -0.5, 0.1], [0.5, -0.5, -0.1]])
    signs = torch.tensor([[1.0] * 3, [-1.0] * 3])
    limited, acts = limit_tokens(ratios, signs, low=0.2, high=0.3)
    torch.testing.assert_close(limited, torch.tensor([[0.3, -0.5, 0.1], [0.5, -0.2, -0.1]]))
    assert acts.tolist() == [[True, False, False], [False, True, False]]


@pytest.mark.parametrize(
    ("new", "expected", "slope"),
    [
        # V_old = 1, R = 2, ε = 0.2: max((V − 2)², (clip(V, 0.8, 1.2) − 2)²)/2
        (1.1, 0.9**2 / 2, -0.9),  # inside: the plain error
        (1.5, 0.8**2 / 2, 0.0),  # moved far, and well: the clipped error is larger, no gradient
        (0.5, 1.5**2 / 2, -1.5),  # moved far, and badly: its own error, full gradient
        (3.0, 1.0**2 / 2, 1.0),  # overshot: its own error again
    ],
)
def test_value_loss_is_clipped(new: float, expected: float, slope: float) -> None:
    one = torch.ones(1, 1, dtype=torch.float64)
    answers = plain(1, 1).replace(values=one, returns=2 * one)
    value = (new * one).requires_grad_()
    loss = value_loss(value, answers, 0.2)
    assert loss.item() == pytest.approx(expected)
    assert torch.autograd.grad(loss.sum(), value)[0].item() == pytest.approx(slope)
    free = value_loss(value, answers, None)
    assert free.item() == pytest.approx((new - 2) ** 2 / 2)
    assert torch.autograd.grad(free.sum(), value)[0].item() == pytest.approx(new - 2)


def test_value_metrics() -> None:
    """R = 1, 1 | 0 with γ = λ = 1; explained variance is made of these three."""
    values = torch.tensor([[0.5, 0.0], [0.25, float("nan")]], dtype=torch.float64)
    _, metrics = run(Surrogate(advantage="gae"), values=values)
    assert metrics["value_error"].tolist() == [(0.25 + 1) / 2, 0.0625]
    assert metrics["return"].tolist() == metrics["return_square"].tolist() == [1, 0]


def test_entropy_is_raised() -> None:
    """−h·H of each token, aggregated as the policy's loss: the mean of the answers' means."""
    entropy = torch.tensor([[1.0, 3.0], [5.0, float("nan")]], dtype=torch.float64).requires_grad_()
    loss, metrics = run(Surrogate(entropy_bonus=0.1), entropy=entropy)
    assert (loss - run(Surrogate())[0]).item() == pytest.approx(-0.1 * (2 + 5) / 2)
    assert torch.autograd.grad(loss, entropy)[0].tolist() == [[-0.025] * 2, [-0.05, 0]]
    assert metrics["entropy"].tolist() == [2, 5]


def state_kl(logits: Tensor, reference: Tensor, reverse: bool) -> Tensor:
    """Σ over states of how often the policy is there (held fixed) · KL of the next token."""
    p, q = logits.softmax(-1), reference.softmax(-1)
    visits = torch.cat([torch.ones(1), p[0, :2].detach()])  # the empty prefix, "0", "1"
    per_state = (p * (p / q).log() if reverse else q * (q / p).log()).sum(-1)
    return (visits * per_state).sum()


@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_what_a_kl_in_the_loss_descends(estimator: str) -> None:
    """On-policy, k2 has the gradient of KL(π ‖ π_ref) at each visited state, k3 of KL(π_ref ‖ π).

    By enumeration; the value of k3 (not of k2) is that of KL(π ‖ π_ref).
    """
    policy, reference = random_logits(0), random_logits(1)
    logits = policy.clone().requires_grad_()
    tokens, ref = token_logprobs(logits), token_logprobs(reference)
    answers = Answers(ANSWERS, torch.zeros(7), torch.zeros(7).long(), tokens.detach(), ref)
    probability = log_prob(policy).exp()
    mean = (probability * answers.token_sum(reference_kl(tokens, answers, estimator))).sum()
    expected = flat_gradient(state_kl(logits, reference, estimator == "k2"), logits)
    torch.testing.assert_close(flat_gradient(mean, logits), expected)
    kl = (probability * (log_prob(policy) - ref.sum(-1))).sum()
    assert (abs(mean.item() - kl.item()) < 1e-12) == (estimator == "k3")


def test_what_is_missing_is_named() -> None:
    answers = plain()
    with pytest.raises(ValueError, match="call prepare"):
        Surrogate().loss(Scores(answers.old_logprobs), answers, 2.0)
    ready = answers.replace(advantages=answers.old_logprobs, values=answers.old_logprobs)
    for choices, message in (
        (Surrogate(entropy_bonus=0.1), "entropy_bonus above 0 needs `entropy`"),
        (Surrogate(advantage="gae"), "gae needs `values`, the critic's with gradient"),
    ):
        with pytest.raises(ValueError, match=message):
            choices.loss(Scores(answers.old_logprobs), ready, 2.0)
    with pytest.raises(ValueError, match="`returns` is not filled"):
        Surrogate(advantage="gae").loss(Scores(ready.old_logprobs, values=ready.values), ready, 2.0)
    with pytest.raises(ValueError, match="needs aggregation_length"):
        Surrogate(aggregation="constant").total(answers)


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

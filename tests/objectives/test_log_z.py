"""log Z without a head: group minimisers, running means, reference samples."""

from math import exp, log

import pytest
import torch
from tiny_policy import REWARDS, log_prob, random_logits

from evenflow.objectives import Answers, Balance, RunningLogZ, balance_loss, offline_log_z
from evenflow.objectives.log_z import group_log_z, leave_one_out_log_z
from evenflow.objectives.objective import Scores
from evenflow.objectives.residual import regress

REST = torch.tensor([0.3, -1.2, 2.0, 0.5, 0.7], dtype=torch.float64)
WEIGHT = torch.tensor([1.0, 0.8, 1.2, 2.0, 1.0], dtype=torch.float64)
GROUPS = torch.tensor([7, 7, -1, 7, -1])


def test_square_is_minus_the_weighted_mean() -> None:
    z = group_log_z(REST, GROUPS, WEIGHT.log(), "square", 1.0)
    first = -(0.3 - 0.96 + 1.0) / 3.8
    second = -(2.4 + 0.7) / 2.2
    assert z.tolist() == pytest.approx([first, first, second, first, second])


@pytest.mark.parametrize(
    ("regression", "alpha"),
    [("square", 1.0), ("linex", -1.0), ("linex", 1.0), ("linex", 0.5), ("cosh", 1.0)],
)
def test_group_log_z_minimises_the_regression(regression: str, alpha: float) -> None:
    z = group_log_z(REST, GROUPS, WEIGHT.log(), regression, alpha)

    def value(z):
        return (WEIGHT * regress(z + REST, regression, alpha)).sum()

    leaf = z.clone().requires_grad_()
    slope = torch.autograd.grad(value(leaf), leaf)[0]
    for group in (7, -1):
        assert slope[group == GROUPS].sum().abs() < 1e-12
    assert value(z) < value(z + 0.01)
    assert value(z) < value(z - 0.01)


def test_group_log_z_does_not_overflow() -> None:
    rest = torch.tensor([500.0, -500.0])
    z = group_log_z(rest, torch.zeros(2).long(), torch.zeros(2), "linex", 1.0)
    assert z.tolist() == pytest.approx([log(2) - 500] * 2)


def test_leave_one_out_by_hand() -> None:
    z = leave_one_out_log_z(REST, GROUPS, WEIGHT.log())
    expected = [
        -(-0.96 + 1.0) / 2.8,
        -(0.3 + 1.0) / 3.0,
        -0.7,
        -(0.3 - 0.96) / 1.8,
        -2.0,
    ]
    assert z.tolist() == pytest.approx(expected)


def test_running_is_used_before_it_is_updated() -> None:
    running = RunningLogZ(rate=0.25)
    keys, groups = ["a", "a", "b"], torch.tensor([0, 0, 1])
    own = torch.tensor([1.0, 3.0, 5.0])
    # Unseen: the mean of the others; a question asked once has only itself.
    assert running.lookup(keys, own, groups).tolist() == [3.0, 1.0, 5.0]
    running.update(keys, own)
    assert running.values == {"a": 2.0, "b": 5.0}
    later = torch.tensor([10.0, 10.0, 7.0])
    assert running.lookup(["a", "a", "c"], later, groups).tolist() == [2.0, 2.0, 7.0]
    running.update(["a", "a"], later[:2])
    assert running.values["a"] == 0.75 * 2.0 + 0.25 * 10.0
    resumed = RunningLogZ(rate=0.25)
    resumed.load_state_dict(running.state_dict())
    assert resumed.values == running.values


def test_copies_count_once_in_a_running_log_z() -> None:
    """Three copies of one answer and another one are what two different answers are."""
    keys, groups, own = ["a"] * 4, torch.zeros(4).long(), torch.tensor([4.0, 4.0, 4.0, 1.0])
    share = torch.tensor([1 / 3, 1 / 3, 1 / 3, 1.0])
    copies, alone = RunningLogZ(rate=0.25), RunningLogZ(rate=0.25)
    looked_up = copies.lookup(keys, own, groups, share)
    assert looked_up.tolist() == pytest.approx([1.0, 1.0, 1.0, 4.0])
    copies.update(keys, own, share)
    alone.update(keys[:2], own[2:])
    assert copies.values == pytest.approx(alone.values) == {"a": 2.5}


def test_a_running_memory_reads_shares_where_copies_count_once() -> None:
    lp = torch.tensor([[-1.0, -2.0]] * 3 + [[-0.5, -0.5]])
    for duplicates, expected in (
        ("each", [7 / 3, 7 / 3, 7 / 3, 3.0]),
        ("once", [1.0, 1.0, 1.0, 3.0]),
    ):
        choices = Balance(log_z="running", scale="sum", reward="raw", duplicates=duplicates)
        memory = choices.memory(lambda keys: pytest.fail(str(keys)))
        answers = Answers(
            torch.ones(4, 2),
            torch.zeros(4),
            torch.zeros(4).long(),
            lp,
            torch.zeros(4, 2),
            share=torch.tensor([1 / 3, 1 / 3, 1 / 3, 1.0]),
        )
        assert memory is not None
        filled, _ = memory.fill(choices.prepare(answers), ["a"] * 4)
        got = torch.as_tensor(filled.log_z).tolist()
        assert got == pytest.approx(expected)


def test_own_log_z_is_where_the_residual_is_zero() -> None:
    lp, ref = torch.randn(4, 3), torch.randn(4, 3)
    choices = Balance(log_z="running", scale="sum", reward="raw")
    answers = Answers(torch.ones(4, 3), torch.rand(4), torch.zeros(4).long(), lp, ref)
    answers = choices.prepare(answers)
    answers = answers.replace(log_z=choices.own_log_z(lp, answers))
    loss, metrics = choices.loss(Scores(lp), answers, choices.total(answers))
    assert loss.item() < 1e-8
    torch.testing.assert_close(metrics["log_z_group"], answers.log_z)


@pytest.mark.parametrize(("s", "gamma"), [(1.0, 1.0), (0.25, 1.0), (0.5, 0.6)])
def test_offline_log_z_is_the_partition_function(s: float, gamma: float) -> None:
    """With every answer present in exact proportion the estimate is s·log Σ π_ref^γ e^{βr/s}."""
    beta, copies = 0.8, torch.tensor([1, 2, 3, 1, 2, 4, 3])
    log_ref = (copies / copies.sum()).double().log()
    samples = torch.repeat_interleave(torch.arange(7), copies)
    got, size = offline_log_z(REWARDS[samples], log_ref[samples], beta, s, gamma)
    true = s * (gamma * log_ref + beta * REWARDS / s).logsumexp(-1)
    torch.testing.assert_close(got, true)
    weight = (beta * REWARDS / s + (gamma - 1) * log_ref)[samples].exp()
    torch.testing.assert_close(size, weight.sum() ** 2 / weight.square().sum())
    both, _ = offline_log_z(
        torch.stack([REWARDS[samples]] * 2), log_ref[samples], beta, s, gamma
    )  # (2 questions, 16 samples)
    assert both.tolist() == pytest.approx([got.item()] * 2)


def test_offline_effective_sample_size_by_hand() -> None:
    """One right answer of four, weights (e^β, 1, 1, 1)."""
    _, size = offline_log_z(torch.tensor([1.0, 0, 0, 0]), torch.zeros(4), 3.0, 1.0, 1.0)
    assert size.item() == pytest.approx((exp(3) + 3) ** 2 / (exp(6) + 3), rel=1e-5)


def test_group_log_z_vanishes_for_a_normalised_reward_at_the_reference() -> None:
    """γ = 1 and r̂: log Ẑ = −mean s·log(π/π_ref), 0 where the policy is the reference."""
    flat = log_prob(random_logits(2))[:, None]
    _, metrics = balance_loss(
        flat,
        torch.ones(7, 1),
        REWARDS,
        torch.zeros(7).long(),
        ref_logprobs=flat,
        choices=Balance(log_z="group"),
    )
    assert metrics["log_z"].abs().max() < 1e-12
